"""API tokens, and what programs do with them."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from backups.models import Repository, Schedule, Snapshot
from panel.accounts.models import Account, ApiToken, Package, Role, User
from panel.accounts.services import users
from panel.accounts.services.tokens import TokenData, authenticate, token_create
from panel.audit.models import AuditEvent
from panel.core.errors import Invalid, NotAllowed
from worker.clock import now
from worker.models import Job

pytestmark = pytest.mark.django_db
PASSWORD = "a long password"


def program(text: str, **more: Any) -> Client:
    return Client(headers={"Authorization": f"Bearer {text}"}, **more)


def make(user: User, *scopes: str, **more: Any) -> str:
    data = TokenData("a script", more.pop("acts_as", user), scopes or ("read",), **more)
    return token_create(data, actor=user)[1]


def refused(text: str, **more: Any) -> bool:
    answer = program(text, **more).get("/api/v1/me")
    if answer.status_code == 401:
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
        assert answer.json()["error"]["code"] == "HF-TOKEN"
    return answer.status_code == 401


@pytest.fixture
def schedule(people: dict[str, Any]) -> Schedule:
    account = people["alice_account"]
    made = Schedule.objects.create(name="Nightly", server=people["server"], account=account, next_run_at=now())
    made.destinations.add(people["destination"])
    return made


def test_a_token_says_who_it_acts_as(people: dict[str, Any]) -> None:
    found = program(make(people["alice"])).get("/api/v1/me").json()
    assert found["user"]["username"] == "alice"
    assert found["token"]["scopes"] == ["read"]


def test_the_text_is_shown_once_and_only_its_digest_is_kept(people: dict[str, Any], browser: Any) -> None:
    client = browser("alice")
    form = {"description": "Monitoring", "scopes": ["read"], "days": "30"}
    assert b"Your password again" in client.post("/tokens/new/", form).content
    page = client.post("/tokens/new/", form | {"confirm_password": PASSWORD})
    text = page.content.decode().partition('id="token" tabindex="0">')[2].partition("<")[0]
    assert text.startswith("hf_")
    assert page.headers["Cache-Control"] == "no-store"
    token = ApiToken.objects.get()
    assert (token.user, token.scopes) == (people["alice"], ["read"])
    assert text.split("_", 2)[2] not in str(list(ApiToken.objects.values()) + list(AuditEvent.objects.values()))
    assert text not in client.get("/tokens/").content.decode()
    assert not refused(text)


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer x", "Basic YWxpY2U6", "Bearer hf_", "Bearer hf_a_b_c",
                                    "Bearer hf__", "Token hf_00000000_x", "Bearer alice:"])  # fmt: skip
def test_what_is_no_token_is_refused(people: dict[str, Any], header: str) -> None:
    assert Client(headers={"Authorization": header}).get("/api/v1/me").status_code == 401


def test_every_part_of_a_token_counts(people: dict[str, Any]) -> None:
    text, other = make(people["alice"]), make(people["mallory"])
    head, prefix, secret = text.split("_", 2)
    assert refused(f"{head}_{prefix}_{other.split('_', 2)[2]}")
    assert refused(f"{head}_{prefix}_{secret[:-1]}")
    assert refused(f"{head}_{prefix}_{secret}x")
    assert refused(f"mallory:{text}")
    assert not refused(f"ALICE:{text}")


def test_a_token_ends_with_its_time_its_user_and_its_package(people: dict[str, Any]) -> None:
    text = make(people["alice"], days=1)
    assert not refused(text)
    ApiToken.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert refused(text)
    ApiToken.objects.update(expires_at=None)
    Package.objects.update(may_use_api=False)
    assert refused(text)
    Package.objects.update(may_use_api=True)
    users.user_disable(people["alice"], actor=people["root"])
    assert refused(text)


def test_a_removed_token_is_refused_from_the_next_call_on(people: dict[str, Any], browser: Any) -> None:
    text = make(people["alice"])
    browser("alice").post(f"/tokens/{ApiToken.objects.get().pk}/delete/")
    assert refused(text)
    assert AuditEvent.objects.filter(action="token.deleted").exists()


def test_a_token_for_some_addresses_is_refused_from_others(people: dict[str, Any]) -> None:
    text = make(people["alice"], addresses=["203.0.113.7", "198.51.100.0/24", "2001:db8::/32"])
    assert not refused(text, REMOTE_ADDR="203.0.113.7")
    assert not refused(text, REMOTE_ADDR="198.51.100.200")
    assert not refused(text, REMOTE_ADDR="::ffff:203.0.113.7")
    assert refused(text, REMOTE_ADDR="203.0.113.8")
    assert refused(text, REMOTE_ADDR="203.0.113.8", HTTP_X_FORWARDED_FOR="203.0.113.7")
    assert ApiToken.objects.get().last_used_ip == "203.0.113.7"
    with pytest.raises(Invalid):
        make(people["alice"], addresses=["here"])


def test_a_token_for_any_user_names_whom_and_is_an_administrators(people: dict[str, Any]) -> None:
    text = make(people["root"], "read", acts_as=None)
    assert refused(text)
    assert program(f"alice:{text}").get("/api/v1/me").json()["user"]["username"] == "alice"
    assert program(f"alice:{text}").get("/api/v1/accounts").json()["items"][0]["name"] == "alice"
    with pytest.raises(NotAllowed):
        make(people["alice"], acts_as=None)
    with pytest.raises(NotAllowed):
        make(people["alice"], acts_as=people["root"])
    users.user_create("second", actor=None, role=Role.ADMIN)
    users.user_change(people["root"], {"role": Role.END_USER}, actor=None)
    assert refused(f"alice:{text}")


def test_scopes_are_what_a_token_may_do_and_never_more_than_its_user(people: dict[str, Any], schedule: Any) -> None:
    reader, runner = make(people["alice"]), make(people["alice"], "read", "run")
    path = f"/api/v1/schedules/{schedule.pk}/run"
    answer = program(reader).post(path)
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "HF-SCOPE")
    assert not Job.objects.exists()
    assert program(runner).post(path).status_code == 202
    for scope in ("accounts:write", "sso", "everything"):
        with pytest.raises((NotAllowed, Invalid)):
            make(people["alice"], scope)
    text = make(people["root"], "accounts:write", "sso", acts_as=None)
    assert program(f"alice:{text}").post("/api/v1/accounts", "{}", "application/json").status_code == 403


def test_the_same_idempotency_key_starts_one_job(people: dict[str, Any], schedule: Any) -> None:
    client = program(make(people["alice"], "run"))
    path = f"/api/v1/schedules/{schedule.pk}/run"
    first = client.post(path, headers={"Idempotency-Key": "tonight"})
    again = client.post(path, headers={"Idempotency-Key": "tonight"})
    assert (first.status_code, again.status_code) == (202, 200)
    assert first.json()["id"] == again.json()["id"]
    assert client.post(path).status_code == 409
    assert client.post(path, headers={"Idempotency-Key": "x" * 81}).status_code == 422
    assert Job.objects.count() == 1
    event = AuditEvent.objects.get(action="schedule.run")
    assert event.detail["token"] == ApiToken.objects.get().prefix


def test_a_token_for_one_account_knows_no_other(people: dict[str, Any], schedule: Any) -> None:
    second = Account.objects.create(
        name="two", server=people["server"], home="/home/two", owner=people["alice"],
        package=Package.objects.get(), priority=people["alice_account"].priority,
    )  # fmt: skip
    client = program(make(people["alice"], "read", "run", account=second))
    assert [each["name"] for each in client.get("/api/v1/accounts").json()["items"]] == ["two"]
    assert client.get("/api/v1/schedules").json()["items"] == []
    assert client.get(f"/api/v1/schedules/{schedule.pk}").status_code == 404
    assert client.post(f"/api/v1/schedules/{schedule.pk}/run").status_code == 404
    with pytest.raises(Invalid):
        make(people["alice"], account=people["mallory_account"])


def test_lists_come_in_pages_that_stay_true(people: dict[str, Any]) -> None:
    account = people["alice_account"]
    repository = Repository.objects.create(destination=people["destination"], path="p", account=account)
    for number in range(7):
        Snapshot.objects.create(
            repository=repository, snapshot_id=f"{number}" * 64, tree="b" * 64, account=account, scope="web",
            taken_at=now(), added=99,
        )  # fmt: skip
    client = program(make(people["alice"]))
    seen, before = [], ""
    while before is not None:
        page = client.get(f"/api/v1/snapshots?limit=3{before}").json()
        assert len(page["items"]) <= 3
        seen += [each["id"] for each in page["items"]]
        before = f"&before={page['next_before']}" if page["next_before"] else None
    assert seen == sorted(seen, reverse=True)
    assert len(seen) == 7
    assert "added" not in page["items"][0]
    assert len(client.get(f"/api/v1/snapshots?account={account.uid}").json()["items"]) == 7
    assert client.get("/api/v1/snapshots?account=other").json()["items"] == []


@pytest.mark.parametrize("query", ["limit=0", "limit=501", "limit=x", "before=-1", "limit=1e3", "before=" + "9" * 40])
def test_pages_that_cannot_be_are_refused(people: dict[str, Any], query: str) -> None:
    answer = program(make(people["alice"])).get(f"/api/v1/jobs?{query}")
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "HF-INVALID")


def test_wrong_methods_and_bodies_are_named(people: dict[str, Any]) -> None:
    client = program(make(people["root"], "read", "accounts:write"))
    wrong = client.delete("/api/v1/accounts")
    assert (wrong.status_code, wrong.headers["Allow"]) == (405, "GET, POST")
    for body in ("[]", "x", '{"strange": 1}', '{"name": []}'):
        assert client.post("/api/v1/accounts", body, "application/json").status_code == 422
    assert client.get("/api/v1/accounts?status=odd").status_code == 422
    assert client.get("/api/v1/jobs?state=odd").status_code == 422


def test_another_panel_manages_accounts_and_lets_users_in(people: dict[str, Any]) -> None:
    client = program(make(people["root"], "read", "accounts:write", "sso"))

    def send(path: str, words: dict[str, Any], method: str = "POST") -> Any:
        return client.generic(method, "/api/v1/" + path, json.dumps(words), "application/json")

    made = send("accounts", {"name": "shop", "home": "/home/shop", "owner": "alice"})
    assert made.status_code == 201
    uid = made.json()["uid"]
    assert send("accounts", {"name": "shop", "home": "/home/shop"}).status_code == 409
    assert send("accounts", {"name": "bad", "home": "/etc"}).status_code == 422
    assert send(f"accounts/{uid}", {"domain": "shop.example"}, "PATCH").json()["changed"] == ["domain"]
    assert send(f"accounts/{uid}/suspend", {"reason": "unpaid"}).json()["suspended_for"] == "unpaid"
    assert send(f"accounts/{uid}/resume", {}).json()["status"] == "active"
    assert send(f"accounts/{uid}/terminate", {}).json()["status"] == "terminated"
    link = send("sign-in-links", {"user": "alice"}).json()["url"]
    visitor = Client()
    assert visitor.get(link.partition("testserver")[2]).status_code == 302
    assert visitor.get("/me/").status_code == 200
    assert send("sign-in-links", {"user": "root"}).status_code == 422
    assert send("sign-in-links", {"user": "nobody"}).status_code == 404
    assert send("sign-in-links", {"user": "alice", "seconds": 9}).status_code == 422
    event = AuditEvent.objects.get(action="account.suspended")
    assert (event.actor_name, event.address) == ("root", "127.0.0.1")
    assert event.detail["token"]


def test_posts_with_a_token_need_no_forms_mark_and_set_no_cookie(people: dict[str, Any], schedule: Any) -> None:
    client = Client(headers={"Authorization": f"Bearer {make(people['alice'], 'run')}"}, enforce_csrf_checks=True)
    answer = client.post(f"/api/v1/schedules/{schedule.pk}/run")
    assert answer.status_code == 202
    assert not answer.cookies
    assert answer.headers["Cache-Control"] == "no-store"


def test_last_use_is_noted_with_its_address(people: dict[str, Any]) -> None:
    header = f"Bearer {make(people['alice'])}"
    authenticate(header, "203.0.113.9")
    token = ApiToken.objects.get()
    assert token.last_used_ip == "203.0.113.9"
    assert token.last_used_at is not None


def test_a_token_is_changed_without_a_new_text(people: dict[str, Any], browser: Any) -> None:
    text = make(people["alice"])
    token = ApiToken.objects.get()
    client = browser("alice")
    form = {"description": "Other", "scopes": ["read", "run"], "addresses": "203.0.113.7", "confirm_password": PASSWORD}
    assert client.post(f"/tokens/{token.pk}/", form).status_code == 302
    token.refresh_from_db()
    assert (token.description, token.scopes, token.addresses) == ("Other", ["read", "run"], ["203.0.113.7"])
    assert not refused(text, REMOTE_ADDR="203.0.113.7")
    assert client.post(f"/tokens/{token.pk}/", form | {"scopes": ["sso"]}).status_code == 422
