"""Restores, through the panel's own services, by real sessions."""

from __future__ import annotations

import os
import socket
import tarfile
import zipfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.test import Client

from backups.models import Snapshot, SnapshotKind
from backups.services.schedules import schedule_run
from panel.audit.models import AuditEvent
from panel.core.errors import Conflict, Invalid, NotAllowed
from panel.options.models import Option
from restores.choosing import Part
from restores.downloads import downloads_tick
from restores.models import Download, Restore
from restores.placing import archive_parts
from restores.services import RestoreRequest, download_request, restore_request, restore_undo
from tests.panel.restoring import Site, ended, signed_in, site, write  # noqa: F401 - site is a fixture
from worker.claim import claim_next
from worker.clock import now
from worker.enqueue import ItemRequest, JobRequest, job_enqueue
from worker.finish import job_cancel
from worker.states import Kind

pytestmark = pytest.mark.django_db


def told(kind: str) -> list[str]:
    """The entries of the audit log that begin with a word, oldest first."""
    return list(AuditEvent.objects.filter(action__startswith=kind).order_by("pk").values_list("action", flat=True))


def undone(site: Site, restore: Restore) -> Restore:  # noqa: F811
    undo = restore_undo(restore, actor=site.people["alice"])
    site.work()
    ended(undo.job)
    undo.refresh_from_db()
    return undo


def test_a_folder_comes_back_and_the_undo_brings_everything_back_as_it_was(site: Site) -> None:  # noqa: F811
    snapshot = site.back_up()
    public = site.home / "public_html"
    (public / "index.html").write_text("broken")
    (public / "shop" / "cart.php").unlink()
    (public / "new.txt").write_text("made later")
    before = site.state()
    restore = site.restore(snapshot, "public_html")
    ended(restore.job)
    assert (public / "index.html").read_bytes() == b"<h1>Welcome</h1>\n"
    assert (public / "shop" / "cart.php").exists()
    assert (public / "new.txt").read_text() == "made later"
    assert restore.safety is not None
    assert (restore.safety.kind, restore.safety_whole) == (SnapshotKind.SAFETY, True)
    undo = undone(site, restore)
    assert site.state() == before
    with pytest.raises(Conflict):
        restore_undo(restore, actor=site.people["alice"])
    undone(site, undo)
    assert (public / "index.html").read_bytes() == b"<h1>Welcome</h1>\n"
    assert told("restore.") == ["restore.requested", "restore.undo", "restore.undo"]


def test_an_undo_of_single_files_takes_away_those_that_were_not_there(site: Site) -> None:  # noqa: F811
    snapshot = site.back_up()
    (site.home / "notes.txt").write_text("changed")
    (site.home / "public_html" / "shop" / "cart.php").unlink()
    before = site.state()
    restore = site.restore(snapshot, "notes.txt", "public_html/shop/cart.php")
    assert (site.home / "public_html" / "shop" / "cart.php").exists()
    with signed_in(site.people, "alice") as browser:
        plan = browser.get(f"/restores/{restore.pk}/undo/").context["plan"]
        assert {row.action: row.count for row in plan.rows if row.count} == {"replace": 1, "delete": 1}
    undone(site, restore)
    assert site.state() == before


def test_an_undo_removes_the_folders_that_a_restore_made_and_nothing_beside_them(site: Site) -> None:  # noqa: F811
    write(site.home, {"deep/er/still/file.txt": b"x", "deep/other.txt": b"y"})
    snapshot = site.back_up()
    for name in ("deep/er/still/file.txt", "deep/other.txt"):
        (site.home / name).unlink()
    for name in ("deep/er/still", "deep/er", "deep"):
        (site.home / name).rmdir()
    before = site.state()
    restore = site.restore(snapshot, "deep/er/still/file.txt")
    assert (site.home / "deep/er/still/file.txt").read_bytes() == b"x"
    assert not (site.home / "deep/other.txt").exists()
    (site.home / "deep" / "mine.txt").write_text("written since")
    undone(site, restore)
    left = site.state()
    assert set(left) - set(before) == {"deep", "deep/mine.txt"}


def test_what_backups_leave_out_is_in_the_safety_snapshot(site: Site) -> None:  # noqa: F811
    site.schedule.excludes = ["*.log"]
    site.schedule.save()
    snapshot = site.back_up()
    write(site.home, {"logs/CACHEDIR.TAG": b"Signature: 8a477f597d28d172789f06886806bc55\n", "logs/z.log": b"kept"})
    listener = socket.socket(socket.AF_UNIX)
    os.chdir(site.home)  # the name of a socket is short
    try:
        listener.bind("logs/live.sock")
        before = site.state()
        restore = site.restore(snapshot, "")
        undone(site, restore)
        assert site.state() == before
    finally:
        os.chdir("/")
        listener.close()


def test_another_folder_takes_the_files_and_nothing_else_changes(site: Site) -> None:  # noqa: F811
    snapshot = site.back_up()
    (site.home / "notes.txt").write_text("second")
    before = site.state()
    restore = site.restore(snapshot, "notes.txt", "public_html", target="folder", folder="back/again")
    ended(restore.job)
    after = site.state()
    assert {name: after[name] for name in before} == before
    assert (site.home / "back" / "again" / "notes.txt").read_bytes() == b"first\n"
    assert (site.home / "back" / "again" / "public_html" / "shop" / "cart.php").exists()
    assert restore.safety_id is None
    (site.home / "back" / "again" / "notes.txt").write_text("mine")
    ended(site.restore(snapshot, "notes.txt", target="folder", folder="back/again", overwrite="always").job)
    assert (site.home / "back" / "again" / "notes.txt").read_text() == "mine"


def test_files_that_exist_are_treated_as_was_chosen(site: Site) -> None:  # noqa: F811
    snapshot = site.back_up()
    for overwrite, expected in (("never", "now"), ("if-newer", "now"), ("always", "first\n")):
        (site.home / "notes.txt").write_text("now")
        ended(site.restore(snapshot, "notes.txt", overwrite=overwrite, safety=False).job)
        assert (site.home / "notes.txt").read_text() == expected, overwrite


def test_an_exact_mirror_deletes_what_the_backup_does_not_have(site: Site) -> None:  # noqa: F811
    snapshot = site.back_up()
    before = site.state()
    write(site.home, {"public_html/hacked/shell.php": b"bad", "stays.txt": b"outside of what was chosen"})
    restore = site.restore(snapshot, "public_html", mirror=True)
    ended(restore.job)
    assert not (site.home / "public_html" / "hacked").exists()
    assert (site.home / "stays.txt").exists()
    assert {name: what for name, what in site.state().items() if name != "stays.txt"} == before


def test_one_request_brings_back_items_of_two_dates(site: Site) -> None:  # noqa: F811
    first = site.back_up()
    write(site.home, {"notes.txt": b"second\n", "public_html/index.html": b"second page\n"})
    second = site.back_up()
    write(site.home, {"notes.txt": b"third\n", "public_html/index.html": b"third page\n", "logs/access.log": b"new"})
    parts = [site.part(first, "notes.txt"), site.part(second, "public_html/index.html")]
    (restore,) = restore_request(RestoreRequest(parts), actor=site.people["alice"])
    site.work()
    ended(restore.job)
    assert (site.home / "notes.txt").read_bytes() == b"first\n"
    assert (site.home / "public_html" / "index.html").read_bytes() == b"second page\n"
    assert (site.home / "logs" / "access.log").read_bytes() == b"new"
    assert Snapshot.objects.filter(kind=SnapshotKind.SAFETY).count() == 1


# ---------------------------------------------------------------- attackers


def test_links_in_the_home_lead_a_restore_nowhere(site: Site, tmp_path: Path) -> None:  # noqa: F811
    """A customer swaps folders of the backup for links to places that are not his, and restores over them."""
    write(site.home, {"a/secret.txt": b"mine", "b/c/file.txt": b"mine too"})
    snapshot = site.back_up()
    outside = tmp_path / "outside"
    write(outside, {"secret.txt": b"of root", "c/file.txt": b"of root too"})
    stolen = {path: path.read_bytes() for path in outside.rglob("*.txt")}
    for name in ("a/secret.txt", "b/c/file.txt"):
        (site.home / name).unlink()
    (site.home / "b" / "c").rmdir()
    for name in ("a", "b"):
        (site.home / name).rmdir()
        (site.home / name).symlink_to(outside)
    restore = site.restore(snapshot, "a", "b/c/file.txt", overwrite="always")
    assert {path: path.read_bytes() for path in outside.rglob("*") if path.is_file()} == stolen
    # The safety snapshot holds the links themselves, and nothing of what they point to.
    assert restore.safety is not None
    found = site.ask("search", user=site.people["alice"], snapshot=restore.safety.pk, path="", text="txt")
    assert [entry["path"] for entry in found["entries"] if "outside" in entry["path"]] == []
    assert [entry for entry in found["entries"] if entry["name"] == "secret.txt"] == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_a_customers_restore_has_the_customers_rights_and_no_others(site: Site) -> None:  # noqa: F811
    account = site.account
    account.system_uid, account.system_gid = 60123, 60123
    account.save()
    for path in (site.home, *site.home.rglob("*")):
        os.chown(path, 60123, 60123)
    (site.home / "roots.txt").write_text("of root")
    (site.home / "roots").mkdir()
    (site.home / "roots" / "file.txt").write_text("of root")
    snapshot = site.back_up()
    (site.home / "notes.txt").write_text("changed")
    (site.home / "roots" / "file.txt").write_text("changed by root")
    restore = site.restore(snapshot, "notes.txt", "roots")
    assert restore.job.state == "warning"
    assert restore.job.error_code == "HF-TARGET"
    assert (site.home / "notes.txt").read_bytes() == b"first\n"
    assert (site.home / "notes.txt").stat().st_uid == 60123
    assert (site.home / "roots" / "file.txt").read_text() == "changed by root"
    admins = site.restore(snapshot, "roots", actor="root")
    ended(admins.job)
    assert (site.home / "roots" / "file.txt").read_text() == "of root"
    assert (site.home / "roots" / "file.txt").stat().st_uid == 60123


def test_customers_put_back_only_files_of_their_home(site: Site) -> None:  # noqa: F811
    snapshot = site.pretended()
    for path in ("config/etc/nginx", "web/home/bob/x", "web/etc/passwd", "account.json", "", "web/../etc", "%00"):
        with pytest.raises((Invalid, NotAllowed)):
            restore_request(RestoreRequest([Part(snapshot, (path,))]), actor=site.people["alice"])
    assert not Restore.objects.exists()
    (restore,) = restore_request(RestoreRequest([Part(snapshot, ("web",))]), actor=site.people["alice"])
    assert restore.parts == [{"snapshot": snapshot.pk, "paths": [site.top]}]


def test_the_other_folder_lies_in_the_home(site: Site) -> None:  # noqa: F811
    snapshot = site.pretended()
    for folder in ("../bob", "/..", "a/../../b", "a/./b", "%00", "x" * 2000):
        with pytest.raises(Invalid):
            site.restore(snapshot, "notes.txt", target="folder", folder=folder)


def test_configuration_goes_in_place_from_the_servers_own_repository_only(site: Site) -> None:  # noqa: F811
    snapshot = site.pretended()
    snapshot.components = ["web", "config"]
    snapshot.save()
    request = RestoreRequest([Part(snapshot, ("config",))])
    with pytest.raises(NotAllowed, match="known to its customer"):
        restore_request(request, actor=site.people["root"])


# ---------------------------------------------------------------- conditions


def test_what_cannot_be_restored_is_refused_with_a_reason(site: Site) -> None:  # noqa: F811
    number, account, destination = site.pretended().pk, site.account, site.people["destination"]

    def refused(kind: type[Exception], word: str, actor: str = "alice") -> None:
        snapshot = Snapshot.objects.get(pk=number)
        with pytest.raises(kind, match=word):
            site.restore(snapshot, "notes.txt", actor=actor)

    for status in ("suspended", "terminated", "active"):
        account.status = status
        account.save()
        if status != "active":
            refused(NotAllowed if status == "suspended" else Conflict, status)
    refused_package = account.package
    refused_package.may_restore = False
    refused_package.save()
    refused(NotAllowed, "package")
    destination.read_only = True
    destination.save()
    refused(Conflict, "read-only", "root")
    destination.is_enabled = False
    destination.save()
    refused(Conflict, "switched off", "root")


def test_a_restore_point_that_went_before_its_turn_fails_with_its_own_code(site: Site) -> None:  # noqa: F811
    snapshot = site.pretended()
    (restore,) = restore_request(RestoreRequest([site.part(snapshot, "notes.txt")]), actor=site.people["alice"])
    Snapshot.objects.update(removed_at=now())
    site.work()
    restore.job.refresh_from_db()
    assert (restore.job.state, restore.job.error_code) == ("failed", "HF-SNAPSHOT-GONE")


def test_the_same_request_twice_is_one_restore(site: Site) -> None:  # noqa: F811
    snapshot = site.pretended()
    request = RestoreRequest([site.part(snapshot, "notes.txt")], request_key="k")
    assert restore_request(request, actor=site.people["alice"]) == restore_request(request, actor=site.people["alice"])
    assert restore_request(request, actor=site.people["root"]) != restore_request(request, actor=site.people["alice"])


def test_a_restore_waits_for_another_one_in_the_same_account_and_can_be_canceled(
    site: Site,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from worker import leases

    snapshot = site.pretended()
    job_enqueue(JobRequest(kind=Kind.BACKUP, name="other", server=site.people["server"], items=[ItemRequest()]))
    claim = claim_next("elsewhere", site.people["server"].pk)
    assert claim is not None
    other = claim.attempt
    leases.touch(f"restore:{site.account.pk}")
    leases.grant(f"restore:{site.account.pk}", other, exclusive=True)
    (restore,) = restore_request(RestoreRequest([site.part(snapshot, "notes.txt")]), actor=site.people["alice"])
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 2:
            job_cancel(restore.job, by="alice")

    monkeypatch.setattr("worker.turns.sleep", sleep)
    site.work()
    restore.job.refresh_from_db()
    assert restore.job.state == "aborted"
    assert any("another restore" in text for text in restore.job.log.values_list("text", flat=True))


# ---------------------------------------------------------------- the plan and the page


def test_the_plan_tells_what_then_happens(site: Site) -> None:  # noqa: F811
    snapshot = site.back_up()
    write(site.home, {"public_html/index.html": b"changed", "public_html/extra.txt": b"12345"})
    (site.home / "public_html" / "shop" / "cart.php").unlink()
    before = site.state()
    with signed_in(site.people, "alice") as browser:
        path = f"/snapshots/{snapshot.pk}/restore/"
        asked = {"part": "plan", "path": f"{site.top}/public_html", "mirror": "on", "overwrite": "if-different"}
        plan = browser.get(path, asked).context["plan"]
        assert {row.action: (row.count, row.size) for row in plan.rows} == {
            "create": (1, 14), "replace": (1, 17), "delete": (1, 5), "keep": (0, 0), "unchanged": (0, 0),
        }  # fmt: skip
        assert plan.complete
        assert not plan.lacks_room
        assert site.state() == before
        fields = {"path": f"{site.top}/public_html", "target": "in_place", "overwrite": "if-different", "mirror": "on"}
        assert browser.post(path, fields | {"safety": "on", "confirm": "no"}).status_code == 422
        assert browser.post(path, fields | {"confirm": "alice"}).status_code == 422
        assert not Restore.objects.exists()
        assert browser.post(path, fields | {"safety": "on", "confirm": "alice"}).status_code == 302
    site.work()
    restore = Restore.objects.get()
    ended(restore.job)
    stats = restore.job.items.get().result
    assert (stats["files_restored"], stats["deleted"]) == (2, 1)


def test_a_plan_in_somebody_elses_snapshot_is_not_made(site: Site) -> None:  # noqa: F811
    snapshot = site.back_up()
    question: dict[str, Any] = {
        "parts": [{"snapshot": snapshot.pk, "paths": [site.top]}], "snapshot": snapshot.pk, "target": "in_place",
        "folder": "", "overwrite": "always", "mirror": False,
    }  # fmt: skip
    assert site.ask("plan", user=site.people["alice"], **question)["parts"]
    with pytest.raises(Exception, match="does not exist"):
        site.ask("plan", user=site.people["mallory"], **question)


def test_a_plan_is_made_of_a_restore_point_newer_than_the_open_reader(site: Site) -> None:  # noqa: F811
    def actions(snapshot: Snapshot) -> dict[str, list[int]]:
        asked = {"snapshot": snapshot.pk, "target": "in_place", "folder": "", "overwrite": "always", "mirror": False}
        parts = [{"snapshot": snapshot.pk, "paths": [site.top]}]
        answer = site.ask("plan", user=site.people["alice"], parts=parts, **asked)
        return dict(answer["parts"][0]["counts"])

    assert "create" not in actions(site.back_up())
    write(site.home, {"public_html/new/page.html": b"new"})
    newer = site.back_up()
    (site.home / "public_html" / "new" / "page.html").unlink()
    assert actions(newer)["create"] == [1, 3]


def test_cards_follow_the_restore_point(site: Site) -> None:  # noqa: F811
    snapshot = site.pretended()
    with signed_in(site.people, "alice") as browser:
        cards = browser.get(f"/snapshots/{snapshot.pk}/restore/").context["cards"]
        assert [card["code"] for card in cards if card["there"]] == ["web"]
        assert len(cards) == 6
        answer = browser.post(
            f"/snapshots/{snapshot.pk}/restore/", {"component": "web", "safety": "on", "overwrite": "always"}
        )
        assert answer.status_code == 302
    assert Restore.objects.get().parts == [{"snapshot": snapshot.pk, "paths": [site.top]}]


# ---------------------------------------------------------------- downloads


def built(site: Site, parts: list[Part], form: str, actor: str = "alice") -> Download:  # noqa: F811
    (download,) = download_request(parts, form, actor=site.people[actor])
    site.work()
    download.refresh_from_db()
    return download


def test_a_zip_holds_what_was_chosen_and_only_its_account_gets_it(site: Site) -> None:  # noqa: F811
    (site.home / "caf\udce9.txt").write_text("latin")
    snapshot = site.back_up()
    download = built(site, [site.part(snapshot, "public_html", "caf%E9.txt")], "zip")
    ended(download.job)
    with signed_in(site.people, "alice") as browser:
        answer = browser.get(f"/downloads/{download.pk}/file/")
        content = b"".join(answer.streaming_content)  # type: ignore[attr-defined]
        part = browser.get(f"/downloads/{download.pk}/file/", headers={"Range": "bytes=2-5"})
        assert part.status_code == 206
        assert b"".join(part.streaming_content) == content[2:6]  # type: ignore[attr-defined]
    assert answer["Content-Disposition"].startswith("attachment; filename=")
    assert answer["X-Content-Type-Options"] == "nosniff"
    file = Path(settings.DOWNLOADS_DIR) / download.file
    assert file.read_bytes() == content
    assert file.stat().st_mode & 0o777 == 0o600
    with zipfile.ZipFile(file) as archive:
        assert set(archive.namelist()) == {
            "public_html/", "public_html/index.html", "public_html/shop/", "public_html/shop/cart.php", "caf_xe9.txt",
        }  # fmt: skip
        assert archive.read("public_html/index.html") == b"<h1>Welcome</h1>\n"
    for name in ("mallory", ""):
        stranger = Client()
        if name:
            stranger.force_login(site.people[name], backend="panel.accounts.backends.NameOrMailBackend")
        assert stranger.get(f"/downloads/{download.pk}/file/").status_code == (404 if name else 302)
    assert told("download.") == ["download.requested", "download.fetched"]


def test_a_tar_of_two_dates_holds_both_versions(site: Site) -> None:  # noqa: F811
    first = site.back_up()
    write(site.home, {"notes.txt": b"second\n"})
    second = site.back_up()
    download = built(site, [site.part(first, "notes.txt"), site.part(second, "notes.txt")], "tar.gz")
    ended(download.job)
    with tarfile.open(Path(settings.DOWNLOADS_DIR) / download.file) as archive:
        names = archive.getnames()
        contents = {archive.extractfile(name).read() for name in names if name.endswith(".txt")}  # type: ignore[union-attr]
    assert len(names) == 2
    assert contents == {b"first\n", b"second\n"}


def test_restore_points_of_one_second_have_folders_of_their_own_in_an_archive() -> None:
    moments = [datetime(2026, 5, 1, 3, 0, 7, micros, UTC) for micros in (1, 2, 3)]
    parts = [Part(Snapshot(snapshot_id=f"{n:064}", taken_at=moment), ("a",)) for n, moment in enumerate(moments)]
    prefixes = [part["prefix"] for part in archive_parts(parts)]
    assert prefixes == ["2026-05-01 03.00.07", "2026-05-01 03.00.07 (2)", "2026-05-01 03.00.07 (3)"]


def test_downloads_end_by_age_and_by_number(site: Site) -> None:  # noqa: F811
    Option.objects.create(key="downloads_kept", value=2)
    snapshot = site.back_up()
    made = [built(site, [site.part(snapshot, "notes.txt")], "zip") for _ in range(3)]
    for download in made:
        download.refresh_from_db()
    assert [bool(download.removed_at) for download in made] == [True, False, False]
    assert len(list(Path(settings.DOWNLOADS_DIR).iterdir())) == 2
    stray = Path(settings.DOWNLOADS_DIR) / "left-over.zip"
    stray.write_bytes(b"x")
    os.utime(stray, (0, 0))
    assert downloads_tick(now() + timedelta(days=6)) == 1
    assert not stray.exists()
    assert downloads_tick(now() + timedelta(days=7, minutes=1)) == 2
    assert not list(Path(settings.DOWNLOADS_DIR).iterdir())


def test_an_archive_that_does_not_fit_is_not_begun(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    monkeypatch.setattr("restores.work._KEEP_FREE", 1 << 60)
    snapshot = site.back_up()
    download = built(site, [site.part(snapshot, "")], "zip")
    assert (download.job.state, download.file) == ("pending", "") or download.file == ""
    download.job.refresh_from_db()
    assert (download.job.state, download.job.error_code) == ("failed", "HF-TARGET-FULL")
    assert not list(Path(settings.WORKSPACE_DIR).iterdir())


def test_one_damaged_snapshot_stands_in_nobodys_way(site: Site) -> None:  # noqa: F811
    damaged, whole = site.back_up(), site.back_up()
    (file,) = Path(whole.repository.destination.config["path"]).rglob(damaged.snapshot_id)
    file.chmod(0o600)
    file.write_bytes(file.read_bytes()[:-3] + b"bad")
    (site.home / "notes.txt").write_text("broken")
    alice = site.people["alice"]
    assert site.ask("list", user=alice, snapshot=whole.pk, path=site.top)["total"] == 3
    versions = site.ask("versions", user=alice, snapshot=whole.pk, path=f"{site.top}/notes.txt")
    assert (len(versions["entries"]), versions["missing"]) == (1, 1)
    ended(site.restore(whole, "notes.txt").job)
    assert (site.home / "notes.txt").read_bytes() == b"first\n"
    assert site.back_up().files == whole.files
    refused = site.restore(damaged, "notes.txt", safety=False)
    assert (refused.job.state, refused.job.error_code) == ("failed", "HF-REPO-DAMAGED")


def test_a_home_that_is_an_administrators_link_is_backed_up_and_restored_behind_it(site: Site) -> None:  # noqa: F811
    real = site.home.with_name("of-another-disk")
    site.home.rename(real)
    site.home.symlink_to(real)
    snapshot = site.back_up()
    assert snapshot.files == 5
    (real / "notes.txt").write_text("broken")
    (real / "public_html" / "index.html").write_text("broken too")
    restore = site.restore(snapshot, "notes.txt")
    ended(restore.job)
    assert (real / "notes.txt").read_bytes() == b"first\n"
    assert (real / "public_html" / "index.html").read_text() == "broken too"
    undone(site, restore)
    assert (real / "notes.txt").read_text() == "broken"
    assert site.home.is_symlink()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes links of somebody else")
def test_a_home_that_is_a_customers_link_is_neither_read_nor_written(site: Site) -> None:  # noqa: F811
    snapshot = site.back_up()
    others = site.home.with_name("mallory")
    write(others, {"notes.txt": b"of mallory"})
    site.home.rename(site.home.with_name("away"))
    site.home.symlink_to(others)
    os.chown(site.home, 4242, 4242, follow_symlinks=False)
    job = schedule_run(site.schedule, trigger="manual")
    site.work()
    job.refresh_from_db()
    assert (job.state, job.error_code) == ("failed", "HF-SOURCE-EMPTY")
    assert Snapshot.objects.count() == 1
    for actor in ("alice", "root"):
        assert site.restore(snapshot, "notes.txt", actor=actor, safety=False).job.state == "failed"
    assert (others / "notes.txt").read_bytes() == b"of mallory"


def test_a_home_that_vanished_makes_no_empty_snapshot(site: Site) -> None:  # noqa: F811
    snapshot = site.back_up()
    site.home.rename(site.home.with_name("away"))
    job = schedule_run(site.schedule, trigger="manual")
    site.work()
    job.refresh_from_db()
    assert (job.state, job.error_code) == ("failed", "HF-SOURCE-EMPTY")
    assert list(Snapshot.objects.all()) == [snapshot]
    assert site.restore(snapshot, "notes.txt").job.state == "failed"
    assert not site.home.exists()


def test_an_undo_that_failed_can_be_tried_again_and_one_that_did_not_cannot(site: Site) -> None:  # noqa: F811
    snapshot = site.back_up()
    (site.home / "notes.txt").write_text("changed")
    restore = site.restore(snapshot, "notes.txt")
    first = restore_undo(restore, actor=site.people["alice"])
    with pytest.raises(Conflict, match="undone already"):
        restore_undo(Restore.objects.get(pk=restore.pk), actor=site.people["alice"])
    assert job_cancel(first.job, by="alice")
    undone(site, Restore.objects.get(pk=restore.pk))
    assert (site.home / "notes.txt").read_text() == "changed"
    with pytest.raises(Conflict, match="undone already"):
        restore_undo(Restore.objects.get(pk=restore.pk), actor=site.people["alice"])


def test_an_archive_that_cannot_be_handed_out_leaves_nothing_behind(
    site: Site,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    snapshot = site.back_up()

    def full(source: int, target: int, *_: object) -> None:
        os.write(target, os.read(source, 10))
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("restores.handing._renamed", lambda *_: False)
    monkeypatch.setattr("restores.handing._pump", full)
    download = built(site, [site.part(snapshot, "")], "zip")
    assert (download.job.state, download.job.error_code) == ("failed", "HF-NO-ROOM")
    assert not list(Path(settings.DOWNLOADS_DIR).iterdir())
    assert not list(Path(settings.WORKSPACE_DIR).iterdir())
    for name in ("0" * 32 + ".tar.gz", "worker-1.lock"):
        left = Path(settings.WORKSPACE_DIR) / name
        left.write_bytes(b"x")
        os.utime(left, (0, 0))
    assert downloads_tick(now()) == 1
    assert [path.name for path in Path(settings.WORKSPACE_DIR).iterdir()] == ["worker-1.lock"]
