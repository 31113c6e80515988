"""Choosing one of many: searched for on the server, among what a viewer may know, and without scripts by typing."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from backups.models import Repository, Schedule, Snapshot
from panel.accounts import choosing
from panel.accounts.models import Account, ApiToken, Role, User
from worker.clock import now

pytestmark = pytest.mark.django_db


@pytest.fixture
def many(people: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """More accounts and people than a list shows."""
    monkeypatch.setattr(choosing, "MOST_IN_A_LIST", 4)
    standard = people["alice_account"]
    for number in range(16):
        owner = User.objects.create_user(f"person{number}", role=Role.END_USER, email=f"p{number}@mail.example")
        Account.objects.create(
            name=f"shop{number}", domain=f"web{number}.example", server=people["server"], home=f"/home/shop{number}",
            owner=owner, package=standard.package, priority=standard.priority,
        )  # fmt: skip
    return people


def offered(client: Any, kind: str, text: str) -> str:
    return str(client.get("/choices/", {"kind": kind, "of": "owner", "owner": text}).content.decode())


def test_what_begins_with_the_text_comes_first_and_the_rest_is_said(many: dict[str, Any], browser: Any) -> None:
    Account.objects.filter(name="shop3").update(domain="zz.alice.example")
    page = offered(browser("root"), "accounts", "ALICE")
    assert page.index(many["alice_account"].uid) < page.index("shop3 (")
    page = offered(browser("root"), "accounts", "shop")
    assert page.count("data-value") == choosing.OFFERED and "There are more" in page
    assert "Nothing fits" in offered(browser("root"), "accounts", "nobody")
    assert offered(browser("root"), "users", "p7@mail").count("data-value") == 1
    uid = many["alice_account"].uid
    assert offered(browser("root"), "accounts", f"alice ({uid})").count("data-value") == 1


def test_nobody_is_offered_what_is_not_theirs(many: dict[str, Any], browser: Any) -> None:
    assert "mallory" not in offered(browser("alice"), "accounts", "mal")
    assert "person" not in offered(browser("alice"), "users", "person")
    assert browser("alice").get("/choices/?kind=passwords").status_code == 404
    Account.objects.filter(pk=many["alice_account"].pk).update(status="terminated")
    assert "alice" not in offered(browser("root"), "accounts", "alice")


def test_a_form_takes_what_can_be_read_and_says_what_may_be_meant(many: dict[str, Any], browser: Any) -> None:
    client, account = browser("root"), many["alice_account"]
    address = f"/accounts/{account.pk}/edit/"
    page = client.get(address).content.decode()
    assert 'role="combobox"' in page and 'value="alice"' in page and "person3" not in page
    sent = {"home": account.home, "package": account.package_id, "priority": account.priority_id}
    wrong = client.post(address, sent | {"owner": "person1x"})
    assert wrong.status_code == 422 and "There is no user “person1x”." in wrong.content.decode()
    near = client.post(address, sent | {"owner": "erson1"}).content.decode()
    assert "Did you mean person1, person10" in near and 'value="erson1"' in near
    assert client.post(address, sent | {"owner": "PERSON7"}).status_code == 302
    account.refresh_from_db()
    assert account.owner.username == "person7"
    assert client.post(address, sent | {"owner": ""}).status_code == 302
    account.refresh_from_db()
    assert account.owner is None


def test_accounts_of_one_name_are_told_apart_by_their_ids(many: dict[str, Any], browser: Any) -> None:
    first = Account.objects.get(name="shop1")
    copy = Account.objects.get(name="shop2")
    Account.objects.filter(pk=copy.pk).update(name="SHOP1")
    field = choosing.SearchField(Account.objects.living(), kind="accounts")
    assert field.clean(f"shop1 ({first.uid})") == field.clean(first.uid) == first
    with pytest.raises(choosing.forms.ValidationError, match="Several are called"):
        field.clean("shop1")
    assert field.prepare_value(first.pk) == field.prepare_value(first.uid) == f"shop1 ({first.uid})"
    assert choosing.account_meant(Account.objects.all(), "shop1") is None
    assert choosing.account_meant(Account.objects.all(), copy.uid) == copy


def test_a_person_chooses_only_among_their_own_even_by_hand(many: dict[str, Any]) -> None:
    field = choosing.SearchField(Account.objects.visible_to(many["alice"]), kind="accounts")
    with pytest.raises(choosing.forms.ValidationError, match="There is no account"):
        field.clean(many["mallory_account"].uid)


def test_the_schedule_form_and_the_list_of_restore_points_search_too(many: dict[str, Any], browser: Any) -> None:
    client, account = browser("root"), many["alice_account"]
    page = client.get(f"/backups/schedules/new/?account={account.uid}").content.decode()
    assert f'value="alice ({account.uid})"' in page and "of alice to" in page
    assert "of alice to" in client.get(
        "/backups/schedules/preview/", {"mode": "account", "account": f"alice ({account.uid})"}
    ).content.decode()  # fmt: skip
    assert "shop3" not in client.get("/tokens/new/").content.decode()
    assert ApiToken.objects.count() == 0


def test_a_few_are_a_list_as_ever(people: dict[str, Any], browser: Any) -> None:
    page = browser("root").get(f"/accounts/{people['alice_account'].pk}/edit/").content.decode()
    assert "combobox" not in page and '<option value="' in page


def test_restore_points_are_filtered_by_a_schedule_that_was_searched_for(
    many: dict[str, Any], browser: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backups.views.snapshots.MOST_IN_A_LIST", 1)
    repository = Repository.objects.create(destination=many["destination"], path="a", account=many["alice_account"])
    rows = []
    for number in range(3):
        row = Schedule.objects.create(name=f"Plan {number}", server=many["server"], account=many["alice_account"])
        rows.append(row)
        Snapshot.objects.create(
            repository=repository, account=many["alice_account"], schedule=row, snapshot_id=f"{number}" * 64,
            tree="2" * 64, scope="web", taken_at=now() - timedelta(hours=number),
        )  # fmt: skip
    client = browser("root")
    assert (
        "Plan 1 ("
        in client.get("/choices/", {"kind": "schedules", "of": "schedule", "schedule": "plan 1"}).content.decode()
    )
    assert "Plan" not in browser("mallory").get("/choices/?kind=schedules").content.decode()
    for text in (f"Plan 1 ({rows[1].pk})", "plan 1", str(rows[1].pk)):
        page = client.get("/backups/restore/", {"schedule": text}).content.decode()
        assert "/snapshots/" in page and page.count('combobox"') == 1
        shown = {
            number for number in range(3) if f"/snapshots/{Snapshot.objects.get(schedule=rows[number]).pk}/" in page
        }
        assert shown == {1}
    assert "Nothing matches" in client.get("/backups/restore/?schedule=unknown").content.decode()
