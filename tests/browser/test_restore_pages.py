"""Getting data back in a browser: as the customer and as the administrator."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.browser.pages import Desk, Desks
from tests.browser.stack import Stack, until


@pytest.fixture(scope="module")
def snapshot(stack: Stack) -> int:
    """The number of a snapshot of juniper's files, made for these tests."""
    stack.run_code(
        """
        from backups.models import *
        from backups.services.schedules import *
        from destinations.models import Destination
        from panel.accounts.models import *
        account = Account.objects.get(name="juniper")
        values = {"name": "For a restore", "scope": "web", "frequency": "daily", "hour": 3, "retention": {"last": 9}}
        places = list(Destination.objects.all()[:1])
        schedule = schedule_create(
            ScheduleData(account.server, account, places, values), actor=User.objects.get(username="admin")
        )
        schedule_run(schedule, trigger="manual")
        """
    )
    newest = """
        from backups.models import Snapshot
        found = Snapshot.objects.filter(schedule__name="For a restore", kind="manual").last()
        result = found.pk if found else 0
    """
    return int(until(lambda: stack.run_code(newest), 90, "the backup was not made"))


@pytest.fixture
def home(stack: Stack) -> Path:
    """Juniper's home."""
    return stack.folder / "home" / "juniper"


def looked_at(desk: Desk) -> None:
    """The page has no fault that axe knows, and does not scroll sideways."""
    assert desk.breaches() == []
    assert desk.too_wide() == ""


def test_a_customer_brings_back_files_of_two_folders_and_undoes_it(user_desk: Desk, snapshot: int, home: Path) -> None:
    notes, cart = home / "public_html" / "notes.txt", home / "public_html" / "shop" / "cart.php"
    kept = {path: path.read_text() for path in (notes, cart)}
    notes.write_text("broken by hand")
    cart.unlink()
    page = user_desk.go("/backups/restore/")
    page.locator(f"#snapshot-{snapshot}").get_by_role("link", name="Browse files").click()
    page.get_by_role("link", name="public_html", exact=True).click()
    page.get_by_label("Choose notes.txt").check()
    page.get_by_role("button", name="Put into the basket").click()
    page.locator("#main table").get_by_role("link", name="shop", exact=True).click()
    page.get_by_label("Choose cart.php").check()
    page.get_by_role("button", name="Put into the basket").click()
    expect(page.locator("#basket")).to_contain_text("2 items")
    looked_at(user_desk)
    page.get_by_role("link", name="Restore…").click()
    plan = page.locator("#plan")
    expect(plan.locator("tr", has_text="Created")).to_contain_text("public_html/shop/cart.php", timeout=30_000)
    expect(plan.locator("tr", has_text="Replaced")).to_contain_text("public_html/notes.txt")
    looked_at(user_desk)
    page.get_by_role("button", name="Restore 2 items").click()
    undo = page.get_by_role("button", name="Undo this restore")
    expect(undo).to_be_visible(timeout=90_000)
    assert {path: path.read_text() for path in kept} == kept
    undo.click()
    until(lambda: not cart.exists() and notes.read_text() == "broken by hand", 90, "the undo did not do its work")
    for path, text in kept.items():
        path.write_text(text)


def test_an_administrator_takes_a_download(admin_desk: Desk, snapshot: int, tmp_path: Path) -> None:
    page = admin_desk.go(f"/snapshots/{snapshot}/restore/")
    page.get_by_label("Web files").check()
    expect(page.locator("#plan")).to_contain_text("Unchanged", timeout=30_000)
    looked_at(admin_desk)
    page.locator("label", has_text="zip or tar.gz").click()
    page.get_by_role("button", name="Build the download").click()
    ready = page.locator("#rows").get_by_role("link", name="Download")
    expect(ready).to_be_visible(timeout=90_000)
    looked_at(admin_desk)
    with page.expect_download() as waiting:
        ready.click()
    waiting.value.save_as(tmp_path / "it.zip")
    with zipfile.ZipFile(tmp_path / "it.zip") as archive:
        assert archive.testzip() is None
        assert "public_html/index.html" in archive.namelist()


@pytest.mark.parametrize("size", [(1280, 900), (360, 780)])
def test_every_page_of_a_restore_point_is_sound(desks: Desks, snapshot: int, home: Path, size: Any) -> None:
    top = f"web{home}"
    with desks.open("juniper", size) as desk:
        for path in (
            "/backups/restore/", f"/snapshots/{snapshot}/browse/", f"/snapshots/{snapshot}/browse/?path=&q=txt",
            f"/snapshots/{snapshot}/versions/?path={top}/logs/access.log",
            f"/snapshots/{snapshot}/preview/?path={top}/logs/access.log", f"/snapshots/{snapshot}/restore/",
            "/restores/basket/", "/downloads/", "/restore/",
        ):  # fmt: skip
            desk.go(path)
            looked_at(desk)
