"""Administrators and resellers looking after people; acting as somebody; the audit of it all."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from backups.models import Schedule
from panel.accounts.models import Account, Role, User
from panel.accounts.services import users
from panel.accounts.services.acting import is_shut
from panel.audit.models import AuditEvent
from panel.audit.services import first_break, record
from panel.core.errors import Conflict, Invalid, NotAllowed
from worker.clock import now

pytestmark = pytest.mark.django_db
PASSWORD = "a long password"


@pytest.fixture
def resellers(people: dict[str, Any]) -> dict[str, Any]:
    for name in ("rex", "otto"):
        people[name] = users.user_create(name, actor=None, role=Role.RESELLER, password=PASSWORD)
    users.user_change(people["alice"], {"reseller": people["rex"]}, actor=people["root"])
    return people


def act(client: Client, user: User) -> None:
    answer = client.post(f"/users/{user.pk}/act/")
    if answer.status_code == 200:
        answer = client.post(f"/users/{user.pk}/act/", {"confirm_password": PASSWORD})
    assert answer.headers["Location"] == "/"


def test_the_last_administrator_stays_one(people: dict[str, Any]) -> None:
    with pytest.raises(Conflict):
        users.user_change(people["root"], {"role": Role.END_USER}, actor=people["root"])
    with pytest.raises(Conflict):
        users.user_disable(people["root"], actor=None)
    users.user_create("second", actor=None, role=Role.ADMIN)
    users.user_disable(people["root"], actor=None)
    assert not User.objects.get(username="root").is_active


def test_nobody_locks_out_themselves(people: dict[str, Any], browser: Any) -> None:
    users.user_create("second", actor=None, role=Role.ADMIN)
    assert browser("root").post(f"/users/{people['root'].pk}/disable/").status_code == 409


def test_a_reseller_makes_customers_of_their_own_and_nothing_more(resellers: dict[str, Any], browser: Any) -> None:
    rex = browser("rex")
    rex.post("/users/new/", {"username": "nina", "email": "nina@example.com", "role": "admin", "reseller": "1"})
    nina = User.objects.get(username="nina")
    assert (nina.role, nina.reseller) == (Role.END_USER, resellers["rex"])
    with pytest.raises(NotAllowed):
        users.user_create("boss", actor=resellers["rex"], role=Role.ADMIN)
    with pytest.raises(NotAllowed):
        users.user_change(nina, {"role": Role.ADMIN}, actor=resellers["rex"])
    rex.post(f"/users/{nina.pk}/", {"username": "nina", "email": "n@example.com", "role": "admin"})
    nina.refresh_from_db()
    assert (nina.role, nina.email) == (Role.END_USER, "n@example.com")


def test_a_reseller_sees_their_customers_and_no_others(resellers: dict[str, Any], browser: Any) -> None:
    page = browser("rex").get("/users/").content.decode()
    assert "alice" in page
    assert "mallory" not in page
    assert "root" not in page
    assert "alice" not in browser("otto").get("/users/").content.decode()


def test_an_account_under_a_reseller_does_not_hand_over_its_owner(resellers: dict[str, Any], browser: Any) -> None:
    Account.objects.filter(owner=resellers["mallory"]).update(reseller=resellers["rex"])
    assert browser("rex").get(f"/accounts/{resellers['mallory_account'].pk}/").status_code == 200
    assert browser("rex").get(f"/users/{resellers['mallory'].pk}/").status_code == 404
    assert browser("rex").post(f"/users/{resellers['mallory'].pk}/act/").status_code == 404


def test_a_reseller_gives_an_account_to_own_customers_only(resellers: dict[str, Any], browser: Any) -> None:
    account = resellers["mallory_account"]
    Account.objects.filter(pk=account.pk).update(reseller=resellers["rex"])
    path = f"/accounts/{account.pk}/edit/"
    browser("rex").post(path, {"owner": resellers["alice"].pk, "home": "/root", "package": 999})
    account.refresh_from_db()
    assert (account.owner, account.home) == (resellers["alice"], "/home/mallory")
    assert browser("rex").post(path, {"owner": resellers["otto"].pk}).status_code == 422
    account.refresh_from_db()
    assert account.owner == resellers["alice"]


@pytest.mark.parametrize("name", ["", "a b", "-x", "x" * 61, "a/b", "<b>", "other@example.com"])
def test_names_that_cannot_be_are_refused(people: dict[str, Any], name: str) -> None:
    with pytest.raises(Invalid):
        users.user_create(name, actor=None, email="me@example.com")


def test_a_name_is_taken_whatever_its_case(people: dict[str, Any]) -> None:
    with pytest.raises(Conflict):
        users.user_create("ALICE", actor=None)


def test_acting_asks_for_the_password_shows_a_bar_and_ends_by_one_click(people: dict[str, Any], browser: Any) -> None:
    client = browser("root")
    alice = people["alice"]
    assert b"Your password again" in client.post(f"/users/{alice.pk}/act/").content
    assert client.post(f"/users/{alice.pk}/act/", {"confirm_password": "wrong"}).status_code == 422
    act(client, alice)
    for path in ("/", "/backups/history/", "/me/"):
        page = client.get(path).content.decode()
        assert "You see what alice sees." in page
        assert "You are root" in page
    assert client.get("/system/").status_code == 404
    assert client.get(f"/accounts/{people['mallory_account'].pk}/").status_code == 404
    assert client.post("/acting/stop/").headers["Location"] == f"/users/{alice.pk}/"
    assert client.get("/system/").status_code == 200
    assert "You see what" not in client.get("/me/").content.decode()


def test_both_names_stand_in_the_audit_log(people: dict[str, Any], browser: Any) -> None:
    client = browser("root")
    schedule = Schedule.objects.create(
        name="S", server=people["server"], account=people["alice_account"], next_run_at=now()
    )
    act(client, people["alice"])
    client.post(f"/backups/schedules/{schedule.pk}/toggle/")
    client.post("/acting/stop/")
    event = AuditEvent.objects.get(action="schedule.disabled")
    assert (event.actor_name, event.acting_as, event.actor_id) == ("root", "alice", people["root"].pk)
    assert event.address == "127.0.0.1"
    began, ended = AuditEvent.objects.filter(action__startswith="acting.").order_by("id")
    assert (began.action, began.actor_name, began.subject) == ("acting.began", "root", "user:alice")
    assert (ended.action, ended.actor_name) == ("acting.ended", "root")
    assert first_break() is None
    page = client.get("/audit/?q=schedule.disabled").content.decode()
    assert "root" in page
    assert "as alice" in page


SHUT = [
    ("GET", "/backups/schedules/{schedule}/key/"), ("POST", "/backups/schedules/{schedule}/key/"),
    ("POST", "/backups/schedules/{schedule}/key/rotate/"), ("POST", "/me/"), ("POST", "/me/sessions/end/"),
    ("GET", "/me/two-factor/"), ("POST", "/me/two-factor/"), ("POST", "/me/two-factor/off/"), ("GET", "/tokens/"),
    ("POST", "/tokens/new/"), ("GET", "/tokens/new/"),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path"), SHUT)
def test_what_is_another_persons_alone_is_shut_while_acting(
    people: dict[str, Any], browser: Any, method: str, path: str
) -> None:
    client = browser("root")
    schedule = Schedule.objects.create(
        name="S", server=people["server"], account=people["alice_account"], next_run_at=now()
    )
    act(client, people["alice"])
    answer = client.generic(method, path.format(schedule=schedule.pk))
    assert answer.status_code == 403
    assert b"HF-ACTING" in answer.content


def test_nobody_enters_storage_in_anothers_name(people: dict[str, Any], browser: Any) -> None:
    client = browser("root")
    act(client, people["alice"])
    answer = client.post("/backups/schedules/new/", {"own-kind": "s3", "own-bucket": "b"})
    assert answer.status_code == 403
    assert b"HF-ACTING" in answer.content
    assert client.post("/backups/schedules/new/", {"own-kind": ""}).status_code == 422


def test_acting_is_never_nested_and_never_upwards(resellers: dict[str, Any], browser: Any) -> None:
    second = users.user_create("second", actor=None, role=Role.ADMIN, password=PASSWORD)
    client = browser("root")
    client.post(f"/users/{second.pk}/act/")
    answer = client.post(f"/users/{second.pk}/act/", {"confirm_password": PASSWORD})
    assert answer.status_code == 403
    act(client, resellers["rex"])
    assert client.post(f"/users/{resellers['alice'].pk}/act/").status_code == 403
    page = client.get("/users/").content.decode()
    assert "You see what rex sees." in page


def test_a_reseller_acts_as_a_customer(resellers: dict[str, Any], browser: Any) -> None:
    client = browser("rex")
    act(client, resellers["alice"])
    assert "You see what alice sees." in client.get("/").content.decode()
    assert browser("otto").post(f"/users/{resellers['alice'].pk}/act/").status_code == 404


def test_who_loses_the_right_to_act_is_back_at_once(resellers: dict[str, Any], browser: Any) -> None:
    client = browser("rex")
    act(client, resellers["alice"])
    User.objects.filter(pk=resellers["alice"].pk).update(reseller=None)
    page = client.get("/me/").content.decode()
    assert "You see what" not in page
    assert "rex" in page


def test_signing_out_while_acting_signs_the_person_out(people: dict[str, Any], browser: Any) -> None:
    client = browser("root")
    act(client, people["alice"])
    client.post("/sign-out/")
    assert client.get("/me/").status_code == 302
    assert AuditEvent.objects.get(action="signed_out").actor_name == "root"


def test_what_is_shut_is_told_by_the_pages_name() -> None:
    assert is_shut("backups:schedule_key_rotate", "POST")
    assert is_shut("accounts:token_list", "GET")
    assert not is_shut("accounts:mine", "GET")
    assert not is_shut("accounts:acting_stop", "POST")
    assert not is_shut("accounts:sign_out", "POST")


def test_the_audit_log_is_searched_by_person_thing_time_and_address(people: dict[str, Any], browser: Any) -> None:
    record("account.added", actor=people["root"], subject="account:shop-1234", address="203.0.113.5")
    record("token.created", actor=people["alice"], subject="token:abcd", address="198.51.100.1", name="<b>x</b>")
    client = browser("root")

    def found(query: str) -> str:
        page = client.get(f"/audit/?{query}").content.decode()
        return page[page.index('id="rows"') :] if 'id="rows"' in page else ""

    assert "shop-1234" in found("who=root")
    assert "token:abcd" not in found("who=root")
    assert "token:abcd" in found("what=token")
    assert "shop-1234" in found("q=shop")
    assert "shop-1234" in found("address=203.0.113.5")
    assert "token:abcd" not in found("address=203.0.113.5")
    assert not found("since=2099-01-01")
    assert "shop-1234" in found("until=2099-01-01")
    assert "shop-1234" in found("since=nonsense")
    assert "<b>x</b>" not in found("who=alice")


def test_a_changed_entry_breaks_the_chain_and_the_page_says_so(people: dict[str, Any], browser: Any) -> None:
    for number in range(3):
        record("thing.done", actor=people["root"], subject=f"thing:{number}")
    client = browser("root")
    assert b"nobody changed it" in client.post("/audit/check/").content
    AuditEvent.objects.filter(subject="thing:1").update(subject="thing:9")
    assert b"does not fit" in client.post("/audit/check/").content
