"""Every address, walked as everybody.

A new address belongs into exactly one of the lists below; the first test fails until it does.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import redis
from django.conf import settings
from django.db import transaction
from django.http import HttpResponseBase
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver

from backups.models import Repository, Schedule, Snapshot
from panel.accounts.models import ApiToken, Role, User
from panel.accounts.services.tokens import TokenData, token_create
from panel.core.errors import Invalid
from restores.models import Download, FilePermissionRule, Restore, RestoreCondition
from restores.services import checked_path
from worker.clock import now
from worker.enqueue import ItemRequest, JobRequest, job_enqueue
from worker.states import Kind

pytestmark = pytest.mark.django_db

# Who has not signed in gets these, and the sign-in page instead of everything else.
OPEN = {"sign-in/", "sign-in/code/", "health", "password/forgot/", "welcome/<slug:secret>/", "sso/<slug:secret>/"}
# Everybody who signed in; what is on them is each person's own.
ALL = {"", "sign-out/", "me/", "me/sessions/end/", "theme/", "tasks/active/", "backups/schedules/",
       "backups/schedules/new/", "backups/schedules/preview/", "choices/",
       "backups/schedules/run/", "backups/history/",
       "backups/restore/", "restore/", "restores/new/", "restores/basket/", "restores/basket/add/",
       "restores/basket/remove/", "downloads/", "acting/stop/", "me/two-factor/", "me/two-factor/off/",
       "tokens/", "tokens/new/"}  # fmt: skip
# Administrators; for everybody else they do not exist, whatever the number.
ADMIN = {"system/", "queue/", "backups/history/clear/", "destinations/", "destinations/new/",
         "destinations/<int:number>/", "destinations/<int:number>/test/", "destinations/s3/",
         "destinations/jobs/<int:number>/", "destinations/<int:number>/trust/", "destinations/<int:number>/toggle/",
         "destinations/<int:number>/remove/", "settings/", "settings/<slug:group>/",
         "audit/", "accounts/new/", "accounts/refresh/", "accounts/orphans/", "accounts/<int:number>/suspend/",
         "accounts/<int:number>/resume/", "accounts/<int:number>/terminate/", "accounts/<int:number>/reassign/",
         "packages/", "packages/new/", "packages/<int:number>/", "packages/<int:number>/delete/", "priorities/",
         "priorities/new/", "priorities/<int:number>/", "priorities/<int:number>/default/",
         "settings/restore/conditions/", "settings/restore/conditions/new/", "settings/restore/permissions/",
         "settings/restore/permissions/new/", "settings/restore/conditions/<int:number>/",
         "settings/restore/conditions/<int:number>/delete/", "settings/restore/permissions/<int:number>/",
         "settings/restore/permissions/<int:number>/delete/",
         "priorities/<int:number>/delete/", "mail/", "mail/test/", "audit/check/"}  # fmt: skip
# Administrators and resellers.
MANAGERS = {"accounts/", "users/", "users/new/"}
# Administrators, and the reseller of the account.
KEPT = {"accounts/<int:number>/edit/"}
# Somebody's reseller and administrators; the person themselves does not get there.
PEOPLE = {"users/<int:number>/", "users/<int:number>/act/", "users/<int:number>/disable/",
          "users/<int:number>/enable/", "users/<int:number>/link/", "users/<int:number>/sessions/end/",
          "users/<int:number>/two-factor/off/"}  # fmt: skip
# The owner and administrators, not the reseller.
PERSONAL = {"tokens/<int:number>/": "token", "tokens/<int:number>/delete/": "token",
            "me/sessions/<slug:mark>/end/": "session"}  # fmt: skip
# Programs with a token; a browser's session counts for nothing there.
API = {"me", "accounts", "accounts/<uid:uid>", "accounts/<uid:uid>/<verb:verb>", "sign-in-links", "schedules",
       "schedules/<int:number>", "schedules/<int:number>/run", "snapshots", "snapshots/<int:number>", "jobs",
       "jobs/<int:number>", "jobs/<int:number>/cancel"}  # fmt: skip
# The owner of the account a thing belongs to, the account's reseller, and administrators.
OWNED = {
    "accounts/<int:number>/": "account", "backups/history/<int:number>/": "job",
    "backups/history/<int:number>/log/": "job",
    "backups/history/<int:number>/cancel/": "job", "backups/schedules/<int:number>/edit/": "schedule",
    "backups/schedules/<int:number>/run/": "schedule", "backups/schedules/<int:number>/toggle/": "schedule",
    "backups/schedules/<int:number>/delete/": "schedule", "backups/schedules/<int:number>/key/": "schedule",
    "backups/schedules/<int:number>/key/rotate/": "schedule", "backups/schedules/<int:number>/key/try/": "schedule",
    "backups/schedules/<int:number>/key/use/": "schedule", "backups/schedules/<int:number>/undo/": "schedule",
    "snapshots/<int:number>/browse/": "snapshot", "snapshots/<int:number>/restore/": "snapshot",
    "snapshots/<int:number>/versions/": "snapshot", "snapshots/<int:number>/preview/": "snapshot",
    "snapshots/<int:number>/picture/": "snapshot",
    "restores/<int:number>/undo/": "restore", "downloads/<int:number>/file/": "download",
    "downloads/<int:number>/remove/": "download",
}  # fmt: skip
POSTED = (
    "stop/",
    "check/",
    "suspend/",
    "resume/",
    "terminate/",
    "reassign/",
    "refresh/",
    "default/",
    "disable/",
    "enable/",
    "link/",
    "act/",
    "off/",
    "run/",
    "toggle/",
    "delete/",
    "cancel/",
    "clear/",
    "undo/",
    "test/",
    "trust/",
    "theme/",
    "sign-out/",
    "end/",
    "basket/add/",
    "remove/",
)


def addresses(patterns: Any = None, prefix: str = "") -> list[str]:
    found: list[str] = []
    for pattern in patterns if patterns is not None else get_resolver().url_patterns:
        if isinstance(pattern, URLResolver):
            found += addresses(pattern.url_patterns, prefix + str(pattern.pattern))
        elif isinstance(pattern, URLPattern):
            found.append(prefix + str(pattern.pattern))
    return found


@pytest.fixture
def things(people: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    account = people["alice_account"]
    schedule = Schedule.objects.create(name="S", server=people["server"], account=account, next_run_at=now())
    repository = Repository.objects.create(destination=people["destination"], path=account.uid, account=account)
    snapshot = Snapshot.objects.create(
        repository=repository, snapshot_id="a" * 64, tree="b" * 64, account=account, scope="web", taken_at=now()
    )
    items = [ItemRequest(account=account)]
    request = JobRequest(kind=Kind.RESTORE, name="n", server=people["server"], items=items, account=account)
    job = job_enqueue(request)
    restore = Restore.objects.create(job=job, account=account, snapshot=snapshot, target="in_place")
    monkeypatch.setattr(settings, "DOWNLOADS_DIR", tmp_path)
    (tmp_path / "a.zip").write_bytes(b"PK")
    taken = job_enqueue(JobRequest(kind=Kind.DOWNLOAD, name="d", server=people["server"], items=[], account=account))
    download = Download.objects.create(job=taken, account=account, snapshot=snapshot, name="a.zip", file="a.zip")
    for name in ("rex", "otto"):
        people[name] = User.objects.create_user(name, "a long password", role=Role.RESELLER)
    User.objects.filter(pk=people["alice"].pk).update(reseller=people["rex"])
    type(account).objects.filter(pk=account.pk).update(reseller=people["rex"])
    people["alice"].refresh_from_db()
    token, _ = token_create(TokenData("t", people["alice"]), actor=people["alice"])
    return {
        "alice": people["alice"].pk,
        "token": token.pk,
        "session": 0,
        "download": download.pk,
        "account": account.pk,
        "package": account.package.pk,
        "group": account.priority.pk,
        "destination": people["destination"].pk,
        "schedule": schedule.pk,
        "snapshot": snapshot.pk,
        "job": job.pk,
        "restore": restore.pk,
        "condition": RestoreCondition.objects.create(text="Read this.").pk,
        "rule": FilePermissionRule.objects.create(pattern="x", file_mode="600").pk,
    }


WALKERS = ("alice", "mallory", "rex", "otto", "root")
# What answers 404 to everybody when nothing was chosen.
EMPTY = {"me/sessions/<slug:mark>/end/", "restores/basket/add/"}
# What asks first, on a page of its own, and does it when that is sent.
ASKS_FIRST = {"backups/schedules/<int:number>/delete/", "restores/<int:number>/undo/",
              "destinations/<int:number>/test/", "destinations/<int:number>/remove/"}  # fmt: skip
SEEN_BY = {
    "ALL": set(WALKERS), "ADMIN": {"root"}, "MANAGERS": {"rex", "otto", "root"}, "KEPT": {"rex", "root"},
    "PEOPLE": {"rex", "root"}, "PERSONAL": {"alice", "root"}, "OWNED": {"alice", "rex", "root"},
}  # fmt: skip


def path_of(address: str, number: int = 1) -> str:
    path = "/" + address.replace("<int:number>", str(number)).replace("<slug:group>", "general")
    path = path.replace("<uid:uid>", "alice-0000").replace("<verb:verb>", "suspend")
    return path.replace("<slug:secret>", "x" * 43).replace("<slug:mark>", "0" * 20)


def visit(client: Client, address: str, number: int = 1, method: str = "") -> HttpResponseBase:
    verb = method or ("POST" if address.endswith(POSTED) else "GET")
    with transaction.atomic():
        answer: HttpResponseBase = client.generic(verb, path_of(address, number))
        for _ in getattr(answer, "streaming_content", ()):
            """A file that is sent is closed at its end."""
        transaction.set_rollback(True)
    return answer


@pytest.fixture
def seated(people: dict[str, Any]) -> Any:
    """Return a function that gives clients of one sitting: signing in for each address would take longer than it."""
    cookies: dict[str, str] = {}

    def client_of(name: str, **options: Any) -> Client:
        if name not in cookies:
            first = Client()
            first.force_login(people[name], backend="panel.accounts.backends.NameOrMailBackend")
            cookies[name] = first.cookies.output(header="", sep=";")
        client = Client(**options)
        client.cookies.load(cookies[name])
        return client

    return client_of


def status(client: Client, address: str, number: int = 1, method: str = "") -> int:
    return visit(client, address, number, method).status_code


def seen_by(address: str) -> set[str]:
    for name, walkers in SEEN_BY.items():
        if address in globals()[name]:
            return set(walkers)
    return set(WALKERS) if address in OPEN else set()


def number_for(address: str, things: dict[str, int]) -> int:
    thing = (OWNED | PERSONAL).get(address) or ("alice" if address in PEOPLE else "")
    if address in ADMIN or address in KEPT:
        words = {"account": "account", "destination": "destination", "priorities/": "group"}
        words |= {"settings/restore/conditions/": "condition", "settings/restore/permissions/": "rule"}
        thing = next((thing for word, thing in words.items() if address.startswith(word)), "package")
        thing = "job" if address.startswith("destinations/jobs/") else thing
    return things.get(thing, 1)


def _silent(*_: object, **__: object) -> None:
    raise redis.ConnectionError


def test_every_address_is_listed_here() -> None:
    listed = [*OPEN, *ALL, *ADMIN, *MANAGERS, *KEPT, *PEOPLE, *PERSONAL, *OWNED, *("api/v1/" + each for each in API)]
    assert sorted(addresses()) == sorted(listed)


def test_what_belongs_to_somebody_is_open_to_nobody_by_its_number() -> None:
    assert not [address for address in ALL if "<" in address]
    assert {address for address in OPEN if "<" in address} == {"welcome/<slug:secret>/", "sso/<slug:secret>/"}


@pytest.mark.parametrize("method", ["", "HEAD", "OPTIONS"])
def test_strangers_get_to_the_sign_in_page_only(things: dict[str, int], method: str) -> None:
    for address in addresses():
        answer = visit(Client(), address, number_for(address, things), method)
        if address.startswith("api/"):
            assert answer.status_code == 401, address
        elif address not in OPEN:
            assert answer.status_code == 302, address
            assert answer.headers["Location"].startswith("/sign-in/?next="), address


@pytest.mark.parametrize("walker", WALKERS)
def test_everybody_reaches_what_is_theirs_and_nothing_else_exists(
    things: dict[str, int], seated: Any, walker: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis.Redis, "execute_command", _silent)
    mine = set(addresses()) - OPEN - {"api/v1/" + each for each in API}
    for address in sorted(mine, key=lambda each: each.endswith("remove/")):
        found = status(seated(walker), address, number_for(address, things))
        if walker in seen_by(address) and address not in EMPTY:
            assert found in (200, 204, 302, 409, 410, 422, 503), f"{address} as {walker}: {found}"
        else:
            assert found == 404, f"{address} as {walker}: {found}"


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS"])
def test_other_methods_tell_a_stranger_no_more(things: dict[str, int], seated: Any, method: str) -> None:
    for address in [*OWNED, *PEOPLE, *ADMIN]:
        found = status(seated("mallory"), address, number_for(address, things), method)
        assert found in ((404, 405) if address.endswith(POSTED) else (404,)), address


def test_what_changes_something_does_not_do_it_on_get(things: dict[str, int], seated: Any) -> None:
    for address in addresses():
        if address.endswith(POSTED) and address not in ASKS_FIRST and not address.startswith("api/"):
            assert status(seated("root"), address, number_for(address, things), "GET") in (405, 404), address


def test_every_post_of_a_browser_needs_the_forms_mark(things: dict[str, int], seated: Any) -> None:
    for address in addresses():
        if address.startswith("api/"):
            continue
        found = status(seated("root", enforce_csrf_checks=True), address, number_for(address, things), "POST")
        assert found == 403, f"{address}: {found}"


def test_a_browsers_session_is_no_key_to_the_api(things: dict[str, int], seated: Any) -> None:
    for each in API:
        assert status(seated("root"), "api/v1/" + each) == 401, each


@pytest.mark.parametrize("walker", WALKERS)
def test_tokens_reach_what_their_user_sees_and_nothing_else(
    things: dict[str, int], people: dict[str, Any], walker: str
) -> None:
    ApiToken.objects.all().delete()
    user, owner = people[walker], walker in SEEN_BY["OWNED"]
    _, text = token_create(TokenData("t", user, ("read", "run")), actor=user)
    client = Client(headers={"Authorization": f"Bearer {text}"})
    uid = people["alice_account"].uid
    for path in (f"accounts/{uid}", f"schedules/{things['schedule']}", f"snapshots/{things['snapshot']}",
                 f"jobs/{things['job']}"):  # fmt: skip
        assert client.get("/api/v1/" + path).status_code == (200 if owner else 404), path
    for path in (f"schedules/{things['schedule']}/run", f"jobs/{things['job']}/cancel"):
        assert client.post("/api/v1/" + path).status_code == (202 if owner else 404), path
    for path in ("accounts", "schedules", "snapshots", "jobs"):
        assert bool(client.get("/api/v1/" + path).json()["items"]) == (
            owner or (path, walker) == ("accounts", "mallory")
        )
    for path in ("accounts", f"accounts/{uid}/suspend", "sign-in-links"):
        assert client.post("/api/v1/" + path, "{}", "application/json").status_code == 403, path


def test_a_server_wide_schedule_is_unknown_to_customers(people: dict[str, Any], browser: Any) -> None:
    made = Schedule.objects.create(name="Whole server", server=people["server"], next_run_at=now())
    assert "Whole server" not in browser("alice").get("/backups/schedules/").content.decode()
    assert status(browser("alice"), "backups/schedules/<int:number>/edit/", made.pk) == 404


def test_pages_carry_a_strict_policy(browser: Any) -> None:
    policy = browser("root").get("/").headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


def test_a_wrong_password_says_how_many_tries_are_left(people: dict[str, Any]) -> None:
    client = Client()
    for tries in range(5):
        answer = client.post("/sign-in/", {"username": "alice", "password": "no"})
        assert answer.status_code == (422 if tries < 4 else 429)
    assert client.post("/sign-in/", {"username": "alice", "password": "a long password"}).status_code == 429


@pytest.mark.parametrize("path", ["config/etc/passwd", "web/home/bob/x", "web/home/alice/../bob", "web/home/alicex/y"])
def test_a_restore_stays_in_the_accounts_home(path: str) -> None:
    with pytest.raises(Invalid):
        checked_path(path, "/home/alice")
