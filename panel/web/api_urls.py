"""Where the REST API, version 1, is mounted.  Within a version nothing is taken away or renamed."""

from __future__ import annotations

from django.urls import path, register_converter
from django.urls.converters import StringConverter

from backups import api as backups
from panel.accounts import api as people
from worker import api as work


class UidConverter(StringConverter):
    """An account's uid, such as ``alice-7f3k``."""

    regex = r"[a-z0-9][a-z0-9_.-]{0,39}"


class VerbConverter(StringConverter):
    """What may be done to an account."""

    regex = "suspend|resume|terminate"


register_converter(UidConverter, "uid")
register_converter(VerbConverter, "verb")

app_name = "api"
urlpatterns = [
    path("me", people.me, name="me"),
    path("accounts", people.accounts, name="accounts"),
    path("accounts/<uid:uid>", people.account, name="account"),
    path("accounts/<uid:uid>/<verb:verb>", people.account_move, name="account_move"),
    path("sign-in-links", people.sso, name="sign_in_links"),
    path("schedules", backups.schedules, name="schedules"),
    path("schedules/<int:number>", backups.schedule, name="schedule"),
    path("schedules/<int:number>/run", backups.run, name="schedule_run"),
    path("snapshots", backups.snapshots, name="snapshots"),
    path("snapshots/<int:number>", backups.snapshot, name="snapshot"),
    path("jobs", work.jobs, name="jobs"),
    path("jobs/<int:number>", work.job, name="job"),
    path("jobs/<int:number>/cancel", work.cancel, name="job_cancel"),
]
