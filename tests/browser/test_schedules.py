"""Schedules in a browser: made, run, watched in the banner and the live log; as administrator and as end user."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.pages import Desk, Desks
from tests.browser.stack import PASSWORD, Stack

SECONDS = 90_000


@pytest.fixture(scope="module")
def much(stack: Stack) -> None:
    """Enough files that a backup of juniper can be watched."""
    code = """
    import os, pathlib
    from panel.accounts.models import Account
    home = pathlib.Path(Account.objects.get(name="juniper").home) / "public_html" / "much"
    for number in range(150):
        file = home / str(number % 10) / f"{number}.bin"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(os.urandom(300_000))
    """
    stack.run_code(code)


def fill(page: Page, name: str) -> None:
    page.get_by_label("Name", exact=True).fill(name)
    page.locator('input[name="scope"][value="web"]').check()
    page.locator('input[name="frequency"][value="weekly"]').check(force=True)
    page.get_by_label("Day of week").select_option("Saturday")
    page.get_by_label("Hour", exact=True).select_option("9:00 AM")
    page.get_by_label("Time zone").fill("Europe/Berlin")
    page.get_by_label("Time zone").press("Tab")


def opened_in_the_drawer(desk: Desk, name: str) -> Page:
    """The newest run of a schedule, opened beside History."""
    page = desk.go("/backups/history/")
    page.locator("tbody tr", has_text=name).first.locator("td").nth(1).click()
    expect(page.locator("#detail")).to_be_visible()
    expect(page.locator("#detail #job-lines")).to_be_visible()
    return page


def test_an_administrator_makes_a_schedule_runs_it_and_watches(admin_desk: Desk, much: None) -> None:
    page = admin_desk.go("/backups/schedules/new/")
    expect(page.get_by_label("Account", exact=True)).to_be_hidden()
    page.locator('input[name="mode"][value="account"]').check()
    page.get_by_label("Account", exact=True).select_option(label="juniper")
    expect(page.get_by_label("Day of week")).to_be_hidden()
    fill(page, "Juniper offsite")
    saying = page.locator("#saying")
    expect(saying).to_contain_text("Every Saturday at 9:00 AM, back up the web files of juniper", timeout=SECONDS)
    expect(saying.locator(".hf-runs li")).to_have_count(5)
    expect(saying).to_contain_text("UTC")
    expect(saying).to_contain_text("Clock changes")
    page.locator('input[name="keep_mode"][value="rules"]').check(force=True)
    page.get_by_label("Weekly", exact=True).last.fill("9")
    page.get_by_label("Weekly", exact=True).last.press("Tab")
    expect(saying).to_contain_text("keep about", timeout=SECONDS)
    page.locator('input[name="destinations"]').first.check()
    assert not admin_desk.breaches()
    assert not admin_desk.too_wide()
    page.get_by_role("button", name="Create schedule").click()
    expect(page).to_have_url(re.compile("/backups/schedules/$"))
    expect(page.locator("#active-tasks")).to_contain_text("Juniper offsite", timeout=SECONDS)
    row = page.locator("tr", has_text="Juniper offsite")
    expect(row).to_contain_text("Sat, 9:00 AM")

    page = opened_in_the_drawer(admin_desk, "Juniper offsite")
    expect(page).to_have_url(re.compile(r"/backups/history/\d+/$"))
    expect(page.locator("#job-lines")).to_contain_text("saved snapshot", timeout=SECONDS)
    expect(page.locator("#job-lines")).to_contain_text("finished: success", timeout=SECONDS)
    expect(page.locator("#job-end")).to_contain_text("New files", timeout=SECONDS)
    expect(page.locator("#job-head")).to_contain_text("Success")
    lines = page.locator("#job-lines").inner_text()
    assert lines.count("finished: success") == 1, "no line comes twice"
    admin_desk.wait_for_end()
    page.keyboard.press("Escape")
    expect(page.locator("#detail")).to_be_hidden()
    expect(page).to_have_url(re.compile("/backups/history/$"))


def test_the_key_is_shown_after_the_password_and_the_note_goes_with_the_download(
    admin_desk: Desk, stack: Stack
) -> None:
    admin_desk.watch.allow("422")
    page = admin_desk.go("/backups/schedules/")
    number = page.locator('a[aria-label^="Encryption key of Sample"]').get_attribute("href") or ""
    page.locator('a[aria-label^="Encryption key of Sample"]').click()
    dialog = page.locator("#page-dialog")
    dialog.get_by_label("Your password").fill("not it")
    dialog.get_by_role("button", name="Show").click()
    expect(dialog).to_contain_text("The password is wrong", timeout=SECONDS)
    dialog.get_by_label("Your password").fill(PASSWORD)
    dialog.get_by_role("button", name="Show").click()
    expect(dialog.locator("#key")).to_have_text(re.compile(r"^\w{4}(-\w{4}){10}\s*$"), timeout=SECONDS)
    expect(dialog.locator("[data-left]")).to_contain_text("hidden again in")
    key = dialog.locator("#key").inner_text().strip()
    with page.expect_download() as download:
        dialog.get_by_role("button", name="Download as file").click()
    assert download.value.suggested_filename == f"holdfast-backup-key-{number.split('/')[3]}.txt"
    assert download.value.path().read_text().strip() == key
    expect(page).to_have_url(re.compile("/backups/schedules/$"))
    expect(page.locator('a[aria-label="Encryption key of Sample, every night"]')).to_be_visible()
    stack.run_code("from backups.models import Schedule\nSchedule.objects.update(key_saved_at=None)")


def test_an_end_user_makes_runs_and_stops_his_own(user_desk: Desk, much: None) -> None:
    page = user_desk.go("/backups/schedules/new/")
    assert "Entire server" not in page.content()
    fill(page, "My site")
    page.locator('input[name="destinations"]').first.check()
    page.get_by_label("Run it right away").uncheck()
    page.get_by_role("button", name="Create schedule").click()
    expect(page).to_have_url(re.compile("/backups/schedules/$"))
    assert "Sample, every night" not in page.content(), "the schedules of others are unknown"
    page.get_by_role("button", name="Run now: My site").click()
    expect(page.locator("#active-tasks")).to_contain_text("My site", timeout=SECONDS)
    cancel = page.get_by_role("button", name=re.compile("Cancel: My site"))
    if cancel.is_visible():
        cancel.click()
    user_desk.wait_for_end(SECONDS / 1000)
    page = opened_in_the_drawer(user_desk, "My site")
    expect(page.locator("#job-head")).to_contain_text(re.compile("Stopped|Success"))
    expect(page.locator("#job-lines")).to_contain_text("started")
    assert "worker" not in page.locator("#job-lines").inner_text(), "no host, no process"
    assert not user_desk.too_wide()


def test_disabling_and_deleting_can_be_undone(desks: Desks, stack: Stack) -> None:
    stack.run_code(
        """
        from backups.services.schedules import ScheduleData, schedule_create
        from destinations.models import Destination
        from panel.accounts.models import Server, User
        data = ScheduleData(Server.objects.get(), None, list(Destination.objects.all()[:1]), {"name": "Short lived"})
        schedule_create(data, actor=User.objects.get(username="admin"))
        """
    )
    with desks.open("admin") as desk:
        page = desk.go("/backups/schedules/")
        row: Any = page.locator("tr", has_text="Short lived")
        row.locator("summary").click()
        row.get_by_role("button", name="Disable").click()
        expect(row).to_contain_text("Disabled")
        page.locator(".hf-toast").get_by_role("button", name="Undo").click()
        expect(row).not_to_contain_text("Disabled")
        row.locator("summary").click()
        row.get_by_role("link", name="Delete").click()
        page.get_by_role("button", name="Delete schedule").click()
        expect(row).to_have_count(0)
        page.locator(".hf-toast").get_by_role("button", name="Undo").click()
        expect(row).to_contain_text("next")
        expect(row).not_to_contain_text("Disabled")
