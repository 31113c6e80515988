"""Each kind of destination in a browser: made, tested live, used by a schedule, and a file brought back from it."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.pages import PHONE, Desk, Desks
from tests.browser.stack import Stack, until
from tests.servers import lend

PATIENCE = 90_000


@dataclass
class Kind:
    """What a person types for a destination of a kind, by label; ``confirmed`` is the server's identity."""

    code: str
    fields: dict[str, str]
    switches: dict[str, bool] = field(default_factory=dict)
    confirmed: str = ""
    confirm: str = ""


def local(_stack: Stack, folder: Path) -> Kind:
    return Kind("local", {"Folder": str(folder / "backups")})


def sftp(_stack: Stack, folder: Path) -> Kind:
    told = lend("openssh")
    place = {"Backup directory": f"{told['home']}/{folder.name}", "Private key (optional)": told["private_key"]}
    return Kind("sftp", _log_in(told) | place, confirmed=told["fingerprint"], confirm="It is the right one: confirm")


def ftps(_stack: Stack, folder: Path) -> Kind:
    told = lend("pure-ftpd")
    place = {"Backup directory": folder.name, "Password": told["password"]}
    return Kind("ftp", _log_in(told) | place, confirmed=told["pin"], confirm="It is the right one: pin")


def s3(_stack: Stack, folder: Path) -> Kind:
    told = lend("ceph-rgw")
    fields = {
        "Endpoint": told["secure_endpoint"],
        "Bucket": re.sub("[^a-z0-9]", "", folder.name) + secrets.token_hex(3),
        "Path in the bucket (optional)": "panel",
        "Access key": told["access_key"],
        "Secret key": told["secret_key"],
    }
    switches = {"Create the bucket if it is missing": True}
    return Kind("s3", fields, switches, told["pin"], "It is the right one: pin")


def _log_in(told: dict[str, Any]) -> dict[str, str]:
    return {"Remote host": told["host"], "Port": str(told["port"]), "Remote user": told["user"]}


KINDS: dict[str, Callable[[Stack, Path], Kind]] = {"local": local, "sftp": sftp, "ftps": ftps, "s3": s3}
"""``make test`` takes one; the others need a minute."""


def sound(desk: Desk, *, known: bool = False) -> None:
    """The page does not scroll sideways, on a telephone either, and has no fault that axe knows.

    Pages that are ``known`` from other tests are not asked for faults again.
    """
    assert known or desk.breaches() == []
    assert desk.too_wide() == ""
    desk.size(*PHONE)
    assert desk.too_wide() == ""
    desk.size(1280)


def make(desk: Desk, kind: Kind, name: str) -> Page:
    """Fill in the form of a new destination and press the button that tests it."""
    page = desk.go("/destinations/")
    page.get_by_role("link", name="Add destination").click()
    kinds = page.get_by_role("navigation", name="Kind of destination")
    kinds.locator(f'a[href^="?kind={kind.code}"]').click()
    page.get_by_label("Name", exact=True).fill(name)
    for label, text in kind.fields.items():
        page.get_by_label(label, exact=True).fill(text)
    for label, on in kind.switches.items():
        page.get_by_label(label, exact=True).set_checked(on)
    sound(desk)
    page.get_by_role("button", name="Save and test").click()
    return page


def confirm(page: Page, kind: Kind, stack: Stack) -> None:
    """Compare what the server shows with what its administrator says, and confirm it."""
    test = page.locator("#test")
    expect(test.get_by_role("alert")).to_contain_text(kind.confirmed, timeout=PATIENCE)
    test.get_by_role("button", name=kind.confirm).click()


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=() if kind == "sftp" else pytest.mark.soak) for kind in KINDS]
)
def test_a_destination_is_made_tested_used_and_restored_from(
    stack: Stack, desks: Desks, kind: str, tmp_path: Path
) -> None:
    said, name = KINDS[kind](stack, tmp_path), f"Store {kind}"
    with desks.open("admin") as desk:
        page = make(desk, said, name)
        if said.confirmed:
            confirm(page, said, stack)
        test = page.locator("#test")
        expect(test).to_contain_text(re.compile("Ready"), timeout=PATIENCE)
        expect(test.locator(".hf-step-failed, .hf-step-pending, .hf-step-skipped")).to_have_count(0)
        sound(desk)
        used(desk, stack, name)
        restored(desk, stack)


def used(desk: Desk, stack: Stack, name: str) -> None:
    """Make a schedule that writes to the destination, run it, and look at the run."""
    page = desk.page
    page.get_by_role("link", name="New schedule").click()
    page.get_by_label("Name", exact=True).fill(f"To {name}")
    page.locator('input[name="mode"][value="account"]').check()
    page.get_by_label("Account", exact=True).select_option("juniper")
    page.locator('input[name="scope"][value="web"]').check()
    expect(page.locator(".hf-pick", has_text=name).get_by_role("checkbox")).to_be_checked()
    sound(desk, known=True)
    page.get_by_role("button", name="Create schedule").click()
    expect(page).to_have_url(re.compile("/backups/schedules/$"))
    watched(desk, stack, f"To {name}")


def watched(desk: Desk, stack: Stack, schedule: str) -> None:
    """See a run end well, in the drawer and on its page."""
    page = desk.page
    page.goto(f"{stack.address}/backups/history/")
    page.locator("tr[data-href]", has_text=schedule).filter(has_text="juniper").get_by_role("link").first.click()
    expect(page.locator("#job-head")).to_contain_text("Success", timeout=PATIENCE)
    page.goto(page.url)
    expect(page.locator("#job-end")).to_contain_text("New files", timeout=PATIENCE)
    expect(page.locator("#job-head")).to_contain_text(re.compile(r"sent · .+ received · \d+ request"))
    sound(desk, known=True)


def restored(desk: Desk, stack: Stack) -> None:
    """Break a file, and bring it back from the newest restore point."""
    notes = stack.folder / "home" / "juniper" / "public_html" / "notes.txt"
    good = notes.read_text()
    notes.write_text("broken by hand")
    page = desk.page
    page.get_by_role("link", name="Browse files").click()
    page.locator("#main .hf-table a").get_by_text("public_html", exact=True).click()
    page.get_by_label("Restore notes.txt").click()
    expect(page.locator("#plan tr", has_text="Replaced")).to_contain_text("notes.txt", timeout=PATIENCE)
    sound(desk, known=True)
    page.get_by_role("button", name="Restore 1 item").click()
    expect(page.get_by_role("button", name="Undo this restore")).to_be_visible(timeout=PATIENCE)
    sound(desk, known=True)
    until(lambda: notes.read_text() == good, 10, "the file did not come back")


@pytest.mark.soak
def test_a_schedule_has_storage_of_its_own_that_is_tested_used_and_restored_from(
    stack: Stack, desks: Desks, tmp_path: Path
) -> None:
    said = s3(stack, tmp_path)
    plain = lend("ceph-rgw")["endpoint"]  # bucket and certificate are made and pinned on the destination's page
    with desks.open("admin") as desk:
        page = desk.go("/backups/schedules/new/")
        page.get_by_label("Name", exact=True).fill("To its own")
        page.locator('input[name="mode"][value="account"]').check()
        page.get_by_label("Account", exact=True).select_option("juniper")
        page.locator('input[name="scope"][value="web"]').check()
        own = page.get_by_role("group", name="Storage of its own")
        own.locator('input[value="s3"]').check(force=True)
        for label in ("Bucket", "Path in the bucket (optional)", "Access key"):
            own.get_by_label(label, exact=True).fill(said.fields[label])
        own.get_by_label("Endpoint", exact=True).fill(plain)
        expect(page.locator("#saying")).to_contain_text("to 1 destination", timeout=PATIENCE)
        page.get_by_label("Run it right away").uncheck()
        page.get_by_role("button", name="Create schedule").click()
        expect(own).to_contain_text("belong together")
        sound(desk)
        own.get_by_label("Secret key", exact=True).fill(said.fields["Secret key"])
        page.get_by_label("Run it right away").uncheck()
        page.get_by_role("button", name="Create schedule").click()
        test = page.locator("#test")
        expect(test.get_by_role("alert")).to_contain_text("HF-STORE-BUCKET", timeout=PATIENCE)
        page.get_by_label("Create the bucket if it is missing").check()
        page.get_by_role("button", name="Save and test").click()
        expect(test).to_contain_text("Ready", timeout=PATIENCE)
        sound(desk)
        page.get_by_role("link", name="To its own", exact=True).click()
        expect(own).to_contain_text("Ready")
        sound(desk)
        desk.go("/backups/schedules/")
        page.get_by_role("button", name="Run now: To its own").click()
        watched(desk, stack, "To its own")
        restored(desk, stack)
