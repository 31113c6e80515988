"""What administrators ask of restores: conditions (RST-01), permissions of files (RST-04), and how often (RST-11)."""

from __future__ import annotations

import os
import socket
import stat
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backups.session.giving import Giver, is_plain
from panel.accounts.middleware import ACTING
from panel.audit.models import AuditEvent
from panel.core.errors import Invalid
from panel.options.models import Option
from restores.conditions import (
    NotAccepted,
    TooOften,
    check_restore_limit,
    condition_delete,
    condition_mark,
    condition_save,
)
from restores.models import FilePermissionRule, Restore, RestoreCondition
from restores.permissions import NoSuchOwner, rule_delete, rule_save, rules_for
from restores.services import RestoreRequest, restore_request, restore_undo
from restores.targets.rules import Given, Rule
from restores.targets.rules import given as given_by
from tests.panel.restoring import Site, ended, signed_in, site  # noqa: F401 - site is a fixture
from worker.clock import now

NOBODY = 65534
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files to others")


# ---------------------------------------------------------------- conditions


def asked(site: Site, actor: str = "alice", **options: Any) -> list[Restore]:  # noqa: F811
    """Ask for notes.txt of a snapshot that is nowhere."""
    snapshot = site.account.snapshots.first() or site.pretended()
    return restore_request(RestoreRequest([site.part(snapshot, "notes.txt")], **options), actor=site.people[actor])


@pytest.mark.django_db
def test_a_restore_waits_for_every_condition_in_the_very_text_that_was_read(site: Site) -> None:  # noqa: F811
    root = site.people["root"]
    first = condition_save("Newer orders are lost.", actor=root)
    second = condition_save("I called support.", actor=root)
    read = {condition_mark(first), condition_mark(second)}
    for accepted in (frozenset[str](), frozenset((condition_mark(first),)), frozenset((str(first.pk), str(second.pk)))):
        with pytest.raises(NotAccepted):
            asked(site, accepted=accepted)
    condition_save("I called support twice.", actor=root, condition=second)
    with pytest.raises(NotAccepted):
        asked(site, accepted=frozenset(read))
    assert not Restore.objects.exists()
    read = {condition_mark(first), condition_mark(RestoreCondition.objects.get(pk=second.pk))}
    assert len(asked(site, accepted=frozenset(read))) == 1
    assert AuditEvent.objects.filter(action="restore.requested").latest("pk").detail["accepted"] == [
        first.pk, second.pk,
    ]  # fmt: skip
    assert len(asked(site, "root")) == 1
    condition_delete(first, actor=root)
    condition_delete(second, actor=root)
    assert len(asked(site)) == 1


@pytest.mark.django_db
def test_the_form_shows_the_conditions_to_customers_and_takes_their_ticks(site: Site) -> None:  # noqa: F811
    snapshot = site.pretended()
    condition = condition_save("Newer orders <b>are</b> lost.", actor=site.people["root"])
    address = f"/snapshots/{snapshot.pk}/restore/"
    sent = {"target": "in_place", "overwrite": "if-different", "safety": "on", "path": f"{site.top}/notes.txt"}
    with signed_in(site.people, "alice") as browser:
        page = browser.get(address).content.decode()
        assert "Newer orders &lt;b&gt;are&lt;/b&gt; lost." in page
        refused = browser.post(address, sent)
        assert refused.status_code == 422
        assert "HF-CONDITION" in refused.content.decode()
        assert browser.post(address, sent | {"condition": condition_mark(condition)}).status_code == 302
    with signed_in(site.people, "root") as browser:
        assert "Newer orders" not in browser.get(address).content.decode()


@pytest.mark.django_db
def test_nobody_accepts_conditions_in_somebody_elses_name(site: Site) -> None:  # noqa: F811
    snapshot = site.pretended()
    mark = condition_mark(condition_save("Newer orders are lost.", actor=site.people["root"]))
    sent = {"target": "in_place", "overwrite": "if-different", "safety": "on", "path": f"{site.top}/notes.txt"}
    with signed_in(site.people, "root") as browser:
        session = browser.session
        session[ACTING] = site.people["alice"].pk
        session.save()
        address = f"/snapshots/{snapshot.pk}/restore/"
        assert "Only the customer can accept these" in browser.get(address).content.decode()
        assert browser.post(address, sent | {"condition": mark}).status_code == 422
    assert not Restore.objects.exists()


@pytest.mark.django_db
def test_administrators_make_change_and_remove_conditions(site: Site) -> None:  # noqa: F811
    with signed_in(site.people, "root") as browser:
        assert "Manage restore conditions" in browser.get("/settings/restore/").content.decode()
        assert browser.post("/settings/restore/conditions/new/", {"text": "  "}).status_code == 422
        browser.post("/settings/restore/conditions/new/", {"text": "Newer orders are lost."})
        made = RestoreCondition.objects.get()
        assert "Newer orders are lost." in browser.get("/settings/restore/conditions/").content.decode()
        browser.post(f"/settings/restore/conditions/{made.pk}/", {"text": "Changed."})
        assert RestoreCondition.objects.get().text == "Changed."
        browser.post(f"/settings/restore/conditions/{made.pk}/delete/")
    assert not RestoreCondition.objects.exists()
    told = AuditEvent.objects.filter(action__startswith="condition.").order_by("pk").values_list("action", flat=True)
    assert list(told) == ["condition.created", "condition.changed", "condition.deleted"]


# ---------------------------------------------------------------- how often


@pytest.mark.django_db
def test_an_account_restores_so_many_times_within_so_many_hours(site: Site) -> None:  # noqa: F811
    Option.objects.create(key="restore_limit_times", value=2)
    for _ in range(3):
        asked(site)  # hours are 0: no limit
    Restore.objects.all().delete()
    Option.objects.create(key="restore_limit_hours", value=24)
    (one,) = asked(site, request_key="first")
    asked(site)
    assert asked(site, request_key="first") == [one]
    with pytest.raises(TooOften, match="in 24 h") as refused:
        asked(site)
    assert (refused.value.code, refused.value.status) == ("HF-RESTORE-LIMIT", 429)
    asked(site, "root")
    with pytest.raises(TooOften):
        asked(site)
    Restore.objects.filter(pk=one.pk).update(created_at=now() - timedelta(hours=23, minutes=30))
    with pytest.raises(TooOften, match="in 30 min"):
        check_restore_limit(site.account, site.people["alice"])
    Restore.objects.filter(pk=one.pk).update(created_at=now() - timedelta(hours=25))
    asked(site)


# ---------------------------------------------------------------- permissions of files


@pytest.mark.parametrize(
    ("pattern", "recursive", "path", "matches"),
    [
        ("public_html", False, "public_html", True), ("public_html", False, "old/public_html", True),
        ("public_html", False, "public_html/index.php", False), ("public_html", True, "public_html/a/b.php", True),
        ("public_html", True, "public_html2", False), ("*.php", False, "a/b/c.php", True),
        ("*.php", False, "c.phpx", False), ("public_html/*", False, "public_html/a", True),
        ("public_html/*", False, "public_html/a/b", False), ("public_html/**", False, "public_html/a/b", True),
        ("public_html/**", False, "public_html", False), ("a/**/b", False, "a/b", True),
        ("a/**/b", False, "a/x/y/b", True), ("a.c", False, "abc", False), ("?.txt", False, "é.txt", False),
    ],
)  # fmt: skip
def test_patterns_of_rules(pattern: str, recursive: bool, path: str, matches: bool) -> None:
    assert Rule(pattern.encode(), recursive).covers(path.encode()) is matches


@given(st.text(max_size=30), st.binary(max_size=60))
def test_any_pattern_is_one(pattern: str, path: bytes) -> None:
    Rule(pattern.encode(errors="surrogatepass"), True).covers(path)


def test_a_later_rule_overrules_an_earlier_one_in_what_it_says() -> None:
    rules = [Rule(b"a", True, user=1, file_mode=0o644, folder_mode=0o755), Rule(b"*.key", file_mode=0o4600)]
    assert given_by(rules, b"a/x.key", is_folder=False) == Given(1, None, 0o600)
    assert given_by(rules, b"a", is_folder=True) == Given(1, None, 0o755)
    assert given_by(rules, b"b", is_folder=False) == Given()


GOOD = {"pattern": "public_html", "category": "home", "file_mode": "640", "folder_mode": "0750", "recursive": "on"}


@pytest.mark.django_db
@pytest.mark.parametrize(
    "wrong",
    [
        {"pattern": ""}, {"pattern": "../x"}, {"category": "x"}, {"file_mode": "4755"}, {"file_mode": "888"},
        {"owner": "a b"}, {"file_mode": "", "folder_mode": ""}, {"owner": "nobody-of-that-name"}, {"owner": "root"},
        {"group": "root"},
    ],
)  # fmt: skip
def test_rules_that_make_no_sense_or_give_to_root_are_refused(site: Site, wrong: dict[str, str]) -> None:  # noqa: F811
    with pytest.raises((Invalid, NoSuchOwner)):
        rule_save(GOOD | wrong, actor=site.people["root"])
    assert not FilePermissionRule.objects.exists()


@pytest.mark.django_db
def test_administrators_make_change_and_remove_rules(site: Site) -> None:  # noqa: F811
    with signed_in(site.people, "root") as browser:
        assert browser.post("/settings/restore/permissions/new/", GOOD | {"file_mode": "9"}).status_code == 422
        browser.post("/settings/restore/permissions/new/", GOOD)
        rule = FilePermissionRule.objects.get()
        assert (rule.file_mode, rule.folder_mode, rule.recursive) == ("640", "750", True)
        assert "public_html" in browser.get("/settings/restore/permissions/").content.decode()
        browser.post(f"/settings/restore/permissions/{rule.pk}/", GOOD | {"recursive": "", "file_mode": "600"})
        rule.refresh_from_db()
        assert (rule.file_mode, rule.recursive) == ("600", False)
        browser.post(f"/settings/restore/permissions/{rule.pk}/delete/")
    assert not FilePermissionRule.objects.exists()


def of(path: Path) -> tuple[int, int, int]:
    """Owner, group and permissions."""
    info = path.stat()
    return info.st_uid, info.st_gid, stat.S_IMODE(info.st_mode)


@pytest.mark.django_db
@needs_root
@pytest.mark.parametrize("actor", ["alice", "root"])
def test_restored_files_get_what_the_rules_say_and_the_undo_brings_back_what_was(
    site: Site,  # noqa: F811
    actor: str,
) -> None:
    uid = 54321
    site.account.system_uid = site.account.system_gid = uid
    site.account.save()
    for above in (site.home, *list(site.home.parents)[:-2]):
        above.chmod(0o755)
    for path in (site.home, *site.home.rglob("*")):
        os.chown(path, uid, uid)
    snapshot = site.back_up()
    root = site.people["root"]
    rule_save(GOOD | {"group": "www-data"}, actor=root)
    rule_save({"pattern": "*.php", "category": "home", "owner": "nobody", "file_mode": "444"}, actor=root)
    rule_save({"pattern": "notes.txt", "category": "email", "file_mode": "400"}, actor=root)
    (www,) = {rule["group"] for rule in rules_for("web") if rule["group"]}
    public = site.home / "public_html"
    (public / "index.html").write_text("broken")
    (public / "shop" / "cart.php").unlink()
    (site.home / "notes.txt").write_text("broken")
    before = site.state()
    restore = site.restore(snapshot, "public_html", "notes.txt", actor=actor)
    ended(restore.job)
    assert of(public / "index.html") == (uid, www, 0o640)
    assert of(public / "shop") == (uid, www, 0o750)
    assert of(public) == (uid, www, 0o750)
    assert of(public / "shop" / "cart.php") == (NOBODY, www, 0o444)
    assert of(site.home / "notes.txt")[:2] == (uid, uid)
    assert (public / "index.html").read_bytes() == b"<h1>Welcome</h1>\n"
    undo = restore_undo(restore, actor=root)
    site.work()
    ended(undo.job)
    assert {path: what for path, what in site.state().items() if "www" not in what}.keys() == before.keys()
    assert (public / "index.html").read_text() == "broken"
    assert of(public / "index.html") == (uid, uid, 0o644)


@pytest.mark.django_db
def test_a_rule_whose_owner_is_gone_stops_the_restore_before_it_begins(site: Site) -> None:  # noqa: F811
    snapshot = site.back_up()
    rule_save(GOOD | {"group": "www-data"}, actor=site.people["root"])
    FilePermissionRule.objects.update(group="gone-meanwhile")
    (site.home / "notes.txt").write_text("kept")
    restore = site.restore(snapshot, "notes.txt")
    restore.job.refresh_from_db()
    assert (restore.job.state, restore.job.error_code) == ("failed", "HF-RULE-OWNER")
    assert (site.home / "notes.txt").read_text() == "kept"
    rule_delete(FilePermissionRule.objects.get(), actor=site.people["root"])


@needs_root
def test_the_helper_gives_away_only_a_customers_own_single_files_and_only_to_whom_a_rule_names(tmp_path: Path) -> None:
    own, foreign, doubled, special = (tmp_path / name for name in ("own", "foreign", "doubled", "special"))
    for path in (own, foreign, doubled, special):
        path.write_text("x")
        os.chown(path, 54321 if path != foreign else 0, 54321)
    os.link(doubled, tmp_path / "second name")
    special.chmod(0o4755)
    giver = Giver(54321, {(54321, NOBODY)})
    for path in (own, foreign, doubled, special):
        with path.open() as file:
            giver(file.fileno(), 54321, NOBODY)
            giver(file.fileno(), 0, 0)
    giver.close()
    assert {path.name: path.stat().st_gid for path in (own, foreign, doubled, special)} == {
        "own": NOBODY, "foreign": 54321, "doubled": 54321, "special": 54321,
    }  # fmt: skip
    assert own.stat().st_uid == 54321
    listener = socket.socket(socket.AF_UNIX)
    with listener:
        assert not is_plain(os.fstat(listener.fileno()), 0)
