"""Hosting accounts: where they come from, what may be changed, how they end, and the commands of other panels."""

from __future__ import annotations

import io
import json
import os
import pwd
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command

from backups.models import Repository, Schedule, Snapshot
from panel.accounts import commands
from panel.accounts.adapters import SystemUsers
from panel.accounts.models import Account, Package, PriorityGroup
from panel.accounts.services import hosting, measuring, plans
from panel.accounts.services.ground import ground_rows
from panel.accounts.usage import UsageError, measure
from panel.audit.models import AuditEvent
from panel.core.errors import Conflict, Invalid
from worker.clock import now

pytestmark = pytest.mark.django_db


def entry(name: str, uid: int, home: str, shell: str = "/bin/bash") -> pwd.struct_passwd:
    return pwd.struct_passwd((name, "x", uid, uid, "", home, shell))


def add(people: dict[str, Any], name: str = "shop", home: str = "/home/shop", **more: Any) -> Account:
    return hosting.account_add(people["server"], name, home, actor=people["root"], **more)


def with_backup(people: dict[str, Any], account: Account) -> Snapshot:
    repository = Repository.objects.create(destination=people["destination"], path=account.uid, account=account)
    return Snapshot.objects.create(
        repository=repository, snapshot_id="c" * 64, tree="b" * 64, account=account, scope="web", taken_at=now()
    )


def test_ordinary_users_with_a_home_of_their_own_are_accounts() -> None:
    everybody = [
        entry("root", 0, "/root"), entry("www-data", 33, "/var/www"), entry("bob", 1001, "/home/bob/"),
        entry("alice", 1000, "/home/alice"), entry("nobody", 65534, "/nonexistent"), entry("odd", 1003, "/home"),
        entry("trick", 1004, "/home/../etc"), entry("gone", 1005, "/home/gone", "/bin/false"),
    ]  # fmt: skip
    found = SystemUsers(lambda: everybody).accounts()
    assert [(each.name, each.home, each.suspended) for each in found] == [
        ("alice", "/home/alice", False), ("bob", "/home/bob", False), ("gone", "/home/gone", True),
    ]  # fmt: skip
    assert SystemUsers(lambda: everybody).account("root") is None


def test_the_servers_accounts_are_listed_once_and_nothing_of_theirs_is_read(people: dict[str, Any]) -> None:
    source = SystemUsers(lambda: [entry("shop", 1001, "/home/shop"), entry("alice", 1002, "/home/alice")])
    assert hosting.accounts_from_system(people["server"], source) == 1
    assert hosting.accounts_from_system(people["server"], source) == 0
    shop = Account.objects.get(name="shop")
    assert (shop.system_uid, shop.source, shop.disk_bytes, shop.owner) == (1001, "system", None, None)
    moved = SystemUsers(lambda: [entry("shop", 1009, "/home/web/shop")])
    hosting.accounts_from_system(people["server"], moved)
    shop.refresh_from_db()
    assert (shop.system_uid, shop.home) == (1009, "/home/web/shop")


def test_an_account_of_the_same_name_is_another_one_and_inherits_nothing(people: dict[str, Any]) -> None:
    first = add(people, owner=people["alice"])
    snapshot = with_backup(people, first)
    hosting.account_terminate(first, actor=people["root"])
    second = add(people, owner=people["alice"])
    assert second.uid != first.uid
    assert not second.snapshots.exists()
    assert snapshot.account_id == first.pk
    assert set(Account.objects.visible_to(people["alice"]).filter(name="shop")) == {second}
    assert not Snapshot.objects.visible_to(people["alice"]).exists()
    assert Snapshot.objects.visible_to(people["root"]).count() == 1


def test_a_terminated_account_leaves_orphans_that_administrators_see_and_may_give_away(
    people: dict[str, Any], browser: Any
) -> None:
    account = add(people, owner=people["alice"])
    schedule = Schedule.objects.create(name="S", server=people["server"], account=account, next_run_at=now())
    with_backup(people, account)
    client = browser("root")
    path = f"/accounts/{account.pk}/terminate/"
    assert b"Your password again" in client.post(path, {"name": "shop"}).content
    assert client.post(path, {"name": "other", "confirm_password": "a long password"}).status_code == 422
    assert client.post(path, {"name": "shop"}).status_code == 302
    account.refresh_from_db()
    schedule.refresh_from_db()
    assert (account.status, schedule.is_enabled) == ("terminated", False)
    assert account.uid in client.get("/accounts/orphans/").content.decode()
    assert "orphan" in client.get(f"/accounts/{account.pk}/").content.decode()
    assert browser("alice").get(f"/accounts/{account.pk}/").status_code == 404
    with pytest.raises(Conflict):
        hosting.account_change(account, {"domain": "x.example"}, actor=people["root"])
    with pytest.raises(Conflict):
        hosting.account_terminate(account, actor=people["root"])
    client.post(f"/accounts/{account.pk}/reassign/", {"target": people["mallory_account"].pk})
    assert Snapshot.objects.visible_to(people["mallory"]).count() == 1
    assert Repository.objects.get(path=account.uid).account == people["mallory_account"]


def test_backups_of_a_living_account_are_not_given_away(people: dict[str, Any]) -> None:
    with pytest.raises(Conflict):
        hosting.orphans_reassign(people["alice_account"], people["mallory_account"], actor=people["root"])


def test_suspending_and_resuming_go_one_way_each(people: dict[str, Any], browser: Any) -> None:
    account = add(people)
    client = browser("root")
    assert client.post(f"/accounts/{account.pk}/suspend/", {"reason": "unpaid"}).status_code == 302
    assert "unpaid" in client.get(f"/accounts/{account.pk}/").content.decode()
    assert client.post(f"/accounts/{account.pk}/suspend/").status_code == 409
    assert client.post(f"/accounts/{account.pk}/resume/").status_code == 302
    assert client.post(f"/accounts/{account.pk}/resume/").status_code == 409


@pytest.mark.parametrize(
    "home",
    ["", "home/x", "/", "/home", "/etc", "/etc/cron.d", "/root", "/home/../etc", "/proc/1", "/var/lib",
     "/usr/local", "/home/x\0y", "//etc/x", "/home/./../root"],
)  # fmt: skip
def test_a_home_that_belongs_to_the_system_is_refused(people: dict[str, Any], home: str) -> None:
    with pytest.raises(Invalid):
        add(people, home=home)


def test_the_panels_own_folder_is_no_home_but_the_samples_is(settings: Any) -> None:
    settings.DATA_DIR = Path("/srv/holdfast/var")
    for home in ("/srv/holdfast/var", "/srv/holdfast/var/keys", "/srv/holdfast"):
        with pytest.raises(Invalid):
            hosting.checked_home(home)
    assert hosting.checked_home("/srv/holdfast/var/sample/home/sample/") == "/srv/holdfast/var/sample/home/sample"
    assert hosting.checked_home("/srv/holdfast2/x") == "/srv/holdfast2/x"


@pytest.mark.parametrize("name", ["a b", "exa mple.com", "-x.com", "x", "a..b", "x" * 64 + ".com", "<i>.com"])
def test_what_is_no_domain_is_refused(people: dict[str, Any], name: str) -> None:
    with pytest.raises(Invalid):
        add(people, domain=name)


def test_domains_are_kept_in_lower_case_and_once(people: dict[str, Any]) -> None:
    account = add(people, domain="Shop.Example.", domains=["WWW.shop.example", "shop.example", "www.shop.example"])
    assert (account.domain, account.domains) == ("shop.example", ["www.shop.example"])


def test_an_account_of_root_is_refused(people: dict[str, Any]) -> None:
    with pytest.raises(Invalid):
        hosting.ids_of("root")
    with pytest.raises(Invalid):
        hosting.ids_of("nobody-of-this-name")


def test_the_form_adds_changes_and_refuses(people: dict[str, Any], browser: Any) -> None:
    client = browser("root")
    group, package = PriorityGroup.objects.get(), Package.objects.get()
    values = {"name": "shop", "home": "/home/shop", "package": package.pk, "priority": group.pk,
              "domains": "a.example\nb.example", "owner": people["alice"].pk}  # fmt: skip
    assert client.post("/accounts/new/", values).status_code == 302
    shop = Account.objects.get(name="shop")
    assert (shop.domains, shop.owner) == (["a.example", "b.example"], people["alice"])
    again = client.post("/accounts/new/", values)
    assert again.status_code == 422
    assert "already" in again.content.decode()
    path = f"/accounts/{shop.pk}/edit/"
    assert client.post(path, values | {"home": "/etc"}).status_code == 422
    assert client.post(path, values | {"domain": "shop.example"}).status_code == 302
    event = AuditEvent.objects.get(action="account.changed")
    assert (event.subject, event.detail["domain"]) == (f"account:{shop.uid}", ["", "shop.example"])


def test_the_list_is_searched_filtered_ordered_and_paged(people: dict[str, Any], browser: Any) -> None:
    for number in range(55):
        add(people, f"site{number:02}", f"/home/site{number:02}", domain=f"d{number:02}.example")
    hosting.usage_save(Account.objects.get(name="site40"), 5_000_000, 12)
    client = browser("root")
    first = client.get("/accounts/").content.decode()
    assert "1–50 of 57" in first
    assert "site49" not in first
    assert "site49" in client.get("/accounts/?page=2").content.decode()
    assert "site07" in client.get("/accounts/?q=d07.example").content.decode()
    assert "No account matches" in client.get("/accounts/?q=zzz").content.decode()
    largest = client.get("/accounts/?order=disk").content.decode()
    assert largest.index("site40") < largest.index("site01")
    assert client.get("/accounts/?status=nonsense&package=x&page=y&order=z").status_code == 200


def test_usage_is_measured_without_following_links(tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / "a" / "b").mkdir(parents=True)
    (home / "a" / "file").write_bytes(b"x" * 100_000)
    os.link(home / "a" / "file", home / "hard")
    (home / "away").symlink_to("/usr")
    (home / "file-away").symlink_to("/etc/passwd")
    found = measure(str(home))
    assert found.complete
    assert found.inodes == 6
    blocks = sum(path.lstat().st_blocks for path in [home, home / "a", home / "a" / "b", home / "hard",
                                                     home / "away", home / "file-away"])  # fmt: skip
    assert found.disk_bytes == blocks * 512
    assert not measure(str(home), seconds=0).complete
    for wrong in (tmp_path / "none", home / "hard", home / "away"):
        with pytest.raises(UsageError):
            measure(str(wrong))


def test_only_accounts_that_were_backed_up_once_are_measured_and_once_a_day(
    people: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(b"x" * 5000)
    account, other = add(people, home=str(tmp_path)), add(people, "other", "/home/nowhere-at-all")
    assert measuring.measure_due() == 0
    with_backup(people, account)
    with_backup(people, other)
    assert measuring.is_due()
    assert measuring.measure_due() == 1
    account.refresh_from_db()
    assert account.inodes == 2
    assert account.disk_bytes is not None
    assert account.disk_bytes >= 5000
    assert not measuring.is_due()


class Said:
    def __init__(self, status: int, answer: dict[str, Any]) -> None:
        self.status, self.answer = status, answer


def run(command: str, /, *args: str, monkeypatch: Any = None, text: str = "", **options: Any) -> Said:
    out = io.StringIO()
    if monkeypatch is not None:
        monkeypatch.setattr("sys.stdin", io.StringIO(text))
    try:
        call_command(command, *args, stdout=out, **options)
    except SystemExit as ended:
        return Said(int(str(ended.code)), json.loads(out.getvalue()))
    return Said(0, json.loads(out.getvalue()))


def test_another_panel_adds_changes_suspends_resumes_and_ends_an_account(
    people: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    said = run("account_add", name="shop", home="/home/shop", domain="shop.example", owner="alice",
               domains="a.example, b.example")  # fmt: skip
    assert said.answer["ok"]
    account = said.answer["account"]
    assert (account["owner"], account["domains"], account["source"]) == ("alice", ["a.example", "b.example"], "panel")
    text = json.dumps({"package": "Standard", "owner": "", "domains": ["c.example"]})
    changed = run("account_change", account["uid"], json=True, monkeypatch=monkeypatch, text=text)
    assert sorted(changed.answer["changed"]) == ["domains", "owner"]
    assert run("account_suspend", "shop", reason="unpaid").answer["account"]["status"] == "suspended"
    assert run("account_resume", "shop").answer["account"]["status"] == "active"
    assert [each["name"] for each in run("account_list").answer["accounts"]] == ["alice", "mallory", "shop"]
    assert run("account_terminate", "shop").answer["account"]["status"] == "terminated"
    assert run("account_list", name="shop").answer["accounts"] == []
    assert run("account_list", status="terminated").answer["accounts"][0]["uid"] == account["uid"]
    assert run("sign_in_link", "alice").answer["url"].startswith("http://127.0.0.1:8000/sso/")


@pytest.mark.parametrize(
    ("name", "args", "words", "status", "code"),
    [
        ("account_add", (), {"name": "shop"}, commands.WRONG, "HF-INVALID"),
        ("account_add", (), {"name": "shop", "home": "/etc"}, commands.WRONG, "HF-INVALID"),
        ("account_add", (), {"name": "alice", "home": "/home/alice"}, commands.CONFLICT, "HF-CONFLICT"),
        ("account_add", (), {"name": "s", "home": "/home/s", "owner": "nobody"}, commands.UNKNOWN, "HF-NOT-FOUND"),
        ("account_add", (), {"name": "s", "home": "/home/s", "package": "x"}, commands.UNKNOWN, "HF-NOT-FOUND"),
        ("account_change", ("nobody",), {"domain": "x.example"}, commands.UNKNOWN, "HF-NOT-FOUND"),
        ("account_resume", ("alice",), {}, commands.CONFLICT, "HF-CONFLICT"),
        ("account_list", (), {"status": "odd"}, commands.WRONG, "HF-INVALID"),
        ("sign_in_link", ("nobody",), {}, commands.UNKNOWN, "HF-NOT-FOUND"),
        ("sign_in_link", ("root",), {}, commands.WRONG, "HF-INVALID"),
        ("sign_in_link", ("alice",), {"seconds": "9999"}, commands.WRONG, "HF-INVALID"),
        ("user_add", (), {"username": "alice"}, commands.CONFLICT, "HF-CONFLICT"),
        ("user_add", (), {"username": "x y"}, commands.WRONG, "HF-INVALID"),
    ],
)
def test_commands_tell_errors_apart_by_status_and_code(
    people: dict[str, Any], name: str, args: tuple[str, ...], words: dict[str, str], status: int, code: str
) -> None:
    before = Account.objects.count()
    said = run(name, *args, **words)
    assert (said.status, said.answer["ok"], said.answer["error"]["code"]) == (status, False, code)
    assert said.answer["error"]["message"]
    assert Account.objects.count() == before


@pytest.mark.parametrize("text", ["", "[]", "nonsense", '{"name": 5, "home": "/home/x"}', '{"strange": 1}',
                                  '{"name": "a", "home": "/home/a", "domains": "x"}'])  # fmt: skip
def test_a_request_that_makes_no_sense_changes_nothing(
    people: dict[str, Any], monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    said = run("account_add", json=True, monkeypatch=monkeypatch, text=text)
    assert said.status == commands.WRONG
    assert Account.objects.count() == 2


def test_packages_hold_permissions_and_go_only_when_unused(people: dict[str, Any], browser: Any) -> None:
    client = browser("root")
    assert "Custom Backup Storage (S3/FTP)" in client.get("/packages/").content.decode()
    assert not Package.objects.get().custom_storage
    client.post("/packages/new/", {"name": "Gold", "may_restore": "on", "custom_storage": "on"})
    gold = Package.objects.get(name="Gold")
    assert (gold.may_restore, gold.custom_storage, gold.may_download) == (True, True, False)
    assert client.post("/packages/new/", {"name": "Gold"}).status_code == 422
    standard = Package.objects.get(name="Standard")
    with pytest.raises(Conflict):
        plans.package_delete(standard, actor=None)
    assert client.post(f"/packages/{gold.pk}/delete/").status_code == 302
    Account.objects.all().delete()
    with pytest.raises(Conflict):
        plans.package_delete(standard, actor=None)
    assert AuditEvent.objects.filter(action="package.created").exists()


def test_priority_groups_have_one_default_that_new_accounts_join(people: dict[str, Any], browser: Any) -> None:
    PriorityGroup.objects.all().update(is_default=False)
    PriorityGroup.objects.filter(name="Normal").update(is_default=True)
    ground_rows()
    assert set(PriorityGroup.objects.values_list("name", "backup")) == {("High", 10), ("Normal", 50), ("Low", 90)}
    client = browser("root")
    high, normal = PriorityGroup.objects.get(name="High"), PriorityGroup.objects.get(name="Normal")
    assert client.post(f"/priorities/{normal.pk}/delete/").status_code == 409
    assert client.post(f"/priorities/{high.pk}/default/").status_code == 302
    assert PriorityGroup.objects.get(is_default=True) == high
    assert add(people).priority == high
    assert client.post(f"/priorities/{normal.pk}/delete/").status_code == 409
    values = {"name": "Odd", "backup": "5", "restore": "5", "download": "5", "clone": "x"}
    assert client.post("/priorities/new/", values).status_code == 422
    assert client.post("/priorities/new/", values | {"clone": "1000"}).status_code == 422
    assert client.post("/priorities/new/", values | {"clone": "7"}).status_code == 302
    ground_rows()
    assert PriorityGroup.objects.get(is_default=True) == high
