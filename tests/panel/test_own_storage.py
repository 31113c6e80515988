"""Storage of a schedule's own: entered in its form, sealed, tested, really used, and let go without losing anything."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings

from backups.models import Schedule, Snapshot
from destinations.factory import plain_config
from destinations.models import Destination, S3Defaults
from panel.accounts.models import Account
from panel.core.sealing import MasterKey
from tests.contract.places import make_bucket, s3_config
from tests.panel.test_destinations_runs import log_of, run, site  # noqa: F401 - site is a fixture
from tests.panel.test_schedules import filled
from worker.models import Job
from worker.states import Kind, State

pytestmark = pytest.mark.django_db
SECRET = "never-written-anywhere"


@pytest.fixture(autouse=True)
def sealed(keys: Any) -> None:
    """Secrets can be sealed."""


@pytest.fixture
def gold(people: dict[str, Any]) -> Account:
    """Alice's account, whose package has storage of its own and schedules of its own."""
    account: Account = people["alice_account"]
    account.package.custom_storage = account.package.may_schedule = True
    account.package.save()
    return account


def own(**fields: str) -> dict[str, str]:
    return {f"own-{name}": value for name, value in fields.items()}


S3 = own(
    kind="s3", endpoint="https://s3.example", bucket="alice", prefix="panel", access_key="AK", secret_key=SECRET
)  # fmt: skip


def test_a_bucket_entered_in_the_form_is_the_schedules_own_and_its_secret_is_sealed(
    people: dict[str, Any], browser: Any
) -> None:
    root = browser("root")
    answer = root.post("/backups/schedules/new/", filled(people, destinations=[], **S3))
    assert answer.status_code == 302, answer.context["form"].own.errors
    schedule = Schedule.objects.get()
    place = schedule.own_storage
    assert answer["Location"] == f"/destinations/{place.pk}/", "its test is shown"
    assert list(schedule.destinations.all()) == [place]
    assert (place.kind, place.account, place.name) == ("s3", None, f"{schedule.name} (S3)")
    assert (place.config["bucket"], place.config["disk_limit"], place.config["connections"]) == ("alice", 95, 5)
    assert Job.objects.get(kind=Kind.TEST).subject == f"destination:{place.pk}"
    assert SECRET not in json.dumps(place.sealed)
    assert plain_config(place, MasterKey.read(settings.MASTER_KEY_FILE))["secret_key"] == SECRET
    page = root.get(f"/backups/schedules/{schedule.pk}/edit/").content.decode()
    assert SECRET not in page
    assert 'value="AK"' in page
    # Nobody else chooses it: not in the form, and not past it.
    assert f'name="destinations" value="{place.pk}"' not in root.get("/backups/schedules/new/").content.decode()
    answer = root.post("/backups/schedules/new/", filled(people, destinations=[str(place.pk)]))
    assert answer.status_code == 422


def test_empty_fields_are_the_global_ones_and_a_change_keeps_the_rest(people: dict[str, Any], browser: Any) -> None:
    root = browser("root")
    S3Defaults.objects.create(pk=1, endpoint="https://global.example", region="eu-1", access_key="GLOBAL")
    root.post("/backups/schedules/new/", filled(people, **own(kind="s3", bucket="nightly")))
    schedule = Schedule.objects.get()
    place = schedule.own_storage
    assert set(schedule.destinations.all()) == {place, people["destination"]}
    plain = plain_config(place, MasterKey.read(settings.MASTER_KEY_FILE))
    assert (plain["endpoint"], plain["access_key"], plain["bucket"]) == ("https://global.example", "GLOBAL", "nightly")
    Destination.objects.filter(pk=place.pk).update(config=place.config | {"storage_class": "STANDARD_IA"})
    Job.objects.all().delete()
    change = filled(people, **own(kind="s3", bucket="nightly", endpoint="https://other.example"))
    root.post(f"/backups/schedules/{schedule.pk}/edit/", change)
    place.refresh_from_db()
    assert (place.config["endpoint"], place.config["storage_class"]) == ("https://other.example", "STANDARD_IA")
    assert Destination.objects.filter(kind="s3").count() == 1


@pytest.mark.parametrize(
    ("fields", "field", "words"),
    [
        (own(kind="s3"), "bucket", "Fill this in"),
        (own(kind="s3", bucket="b", access_key="AK"), "secret_key", "belong together"),
        (own(kind="sftp", host="h"), "user", "Fill this in"),
        (own(kind="sftp", host="h", user="u"), "password", "password or a private key"),
        (own(kind="ftp", host="h", user="u", port="70000"), "port", "65535"),
        (own(kind="local"), "kind", "valid choice"),
    ],
)
def test_what_is_wrong_is_said_at_its_field_and_nothing_is_stored(
    people: dict[str, Any], browser: Any, fields: dict[str, str], field: str, words: str
) -> None:
    answer = browser("root").post("/backups/schedules/new/", filled(people, **fields))
    assert answer.status_code == 422
    assert words in " ".join(answer.context["form"].own.errors[field])
    assert words in answer.content.decode() or field == "kind"
    assert not Schedule.objects.exists()
    assert not Destination.objects.exclude(pk=people["destination"].pk).exists()


def test_a_customer_enters_storage_only_with_the_packages_permission(
    people: dict[str, Any], browser: Any, gold: Account
) -> None:
    alice, form = browser("alice"), filled(people, mode="account", account=gold.uid, **S3)
    assert b'name="own-kind"' in alice.get("/backups/schedules/new/").content
    assert alice.post("/backups/schedules/new/", form).status_code == 302
    place = Schedule.objects.get().own_storage
    assert place.account == gold
    plain = plain_config(place, MasterKey.read(settings.MASTER_KEY_FILE))
    assert plain["public_only"], "it reaches public addresses only"
    gold.package.custom_storage = False
    gold.package.save()
    assert b'name="own-kind"' not in alice.get("/backups/schedules/new/").content
    answer = alice.post("/backups/schedules/new/", form)
    assert Schedule.objects.exclude(own_storage=None).count() == 1, answer.status_code
    number = Schedule.objects.get(own_storage=place).pk
    alice.post(f"/backups/schedules/{number}/edit/", form | own(endpoint="https://elsewhere.example"))
    place.refresh_from_db()
    assert place.config["endpoint"] == "https://s3.example"


def test_a_customer_neither_sees_nor_changes_what_an_administrator_entered(
    people: dict[str, Any], browser: Any, gold: Account
) -> None:
    form = filled(people, mode="account", account=gold.uid, destinations=[], **S3)
    browser("root").post("/backups/schedules/new/", form)
    schedule = Schedule.objects.get()
    page = browser("alice").get(f"/backups/schedules/{schedule.pk}/edit/").content.decode()
    assert "set by the administrator" in page
    assert "s3.example" not in page
    change = form | own(kind="", bucket="mine") | {"name": "Renamed"}
    assert browser("alice").post(f"/backups/schedules/{schedule.pk}/edit/", change).status_code == 302
    schedule.refresh_from_db()
    assert schedule.name == "Renamed"
    assert schedule.own_storage.config["bucket"] == "alice"
    assert list(schedule.destinations.all()) == [schedule.own_storage]


def test_the_run_writes_there_and_what_is_let_go_keeps_its_restore_points(
    people: dict[str, Any],
    site: Account,  # noqa: F811
    browser: Any,
    tmp_path: Path,
) -> None:
    given = s3_config("ceph-rgw", tmp_path)
    make_bucket(given)
    storage = own(kind="s3", endpoint=given.endpoint, bucket=given.bucket, prefix="mine")
    storage |= own(access_key=given.access_key, secret_key=given.secret_key.reveal())
    form = filled(people, mode="account", account=site.uid, scope="web", destinations=[])
    root = browser("root")
    root.post("/backups/schedules/new/", form | storage)
    schedule = Schedule.objects.get()
    Job.objects.all().delete()
    job = run(people, schedule)
    assert job.state == State.SUCCESS, log_of(job)
    snapshot = Snapshot.objects.get()
    place = schedule.own_storage
    assert snapshot.repository.destination == place
    edit = f"/backups/schedules/{schedule.pk}/edit/"
    moved = root.post(edit, form | storage | own(prefix="elsewhere"))
    assert "Backups are stored there" in " ".join(moved.context["form"].own.errors["prefix"])
    assert root.post(edit, form | own(kind="")).status_code == 422, "it would have no destination"
    root.post(edit, form | own(kind="") | {"destinations": [str(people["destination"].pk)]})
    schedule.refresh_from_db()
    place.refresh_from_db()
    assert (schedule.own_storage, list(schedule.destinations.all())) == (None, [people["destination"]])
    assert (place.removed_at, Snapshot.objects.present().get()) == (None, snapshot)
    page = root.get("/backups/schedules/new/").content.decode()
    assert f'name="destinations" value="{place.pk}"' in page, "it is one like others now"


def test_no_run_starts_to_a_server_whose_identity_was_not_confirmed(people: dict[str, Any], browser: Any) -> None:
    sftp = own(kind="sftp", host="backup.example", user="u", password=SECRET)
    browser("root").post("/backups/schedules/new/", filled(people, run="on", **sftp))
    assert set(Job.objects.values_list("kind", flat=True)) == {Kind.TEST}
    browser("root").post("/backups/schedules/new/", filled(people, run="on", **S3))
    assert Job.objects.filter(kind=Kind.BACKUP).exists()


def test_what_was_never_used_goes_when_it_is_let_go(people: dict[str, Any], browser: Any) -> None:
    root = browser("root")
    root.post("/backups/schedules/new/", filled(people, **S3))
    schedule = Schedule.objects.get()
    place = schedule.own_storage
    Job.objects.all().delete()
    sftp = own(kind="sftp", host="backup.example", user="u", password=SECRET, path="here")
    root.post(f"/backups/schedules/{schedule.pk}/edit/", filled(people, **sftp))
    schedule.refresh_from_db()
    place.refresh_from_db()
    assert place.removed_at
    assert place.sealed == {}
    assert (schedule.own_storage.kind, schedule.own_storage.config["port"]) == ("sftp", 22)
    assert set(schedule.destinations.all()) == {schedule.own_storage, people["destination"]}
