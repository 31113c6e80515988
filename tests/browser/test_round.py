"""The round that a newcomer makes: sign in, back up, look inside, get one file back, undo."""

from __future__ import annotations

import re
from pathlib import Path

from playwright.sync_api import expect

from tests.browser.pages import Desk, Desks, sign_in
from tests.browser.stack import Stack, until


def test_a_wrong_password_is_refused_in_words(desks: Desks) -> None:
    with desks.open("") as desk:
        page = desk.go("/")
        page.get_by_label("User name or e-mail").fill("juniper")
        page.get_by_label("Password", exact=True).fill("wrong")
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("alert")).to_contain_text("Name or password is wrong")
        sign_in(page, desk.stack.address, "juniper")


def test_one_file_goes_out_and_comes_back_and_the_restore_is_undone(stack: Stack, admin_desk: Desk) -> None:
    page = admin_desk.go("/backups/schedules/?q=Sample")
    index = Path(stack.facts["sample_home"]) / "public_html" / "index.html"
    admin_desk.wait_for_end()
    good = index.read_text()
    page.get_by_role("button", name="Run now").first.click()
    expect(page.locator("#active-tasks")).to_have_class(re.compile("hf-banner"))
    admin_desk.wait_for_end()

    index.write_text("broken by hand")
    # Other tests leave restore points of other accounts, and of other kinds.
    page.goto(f"{stack.address}/backups/restore/?kind=manual&account={stack.facts['accounts']['sample']}")
    page.get_by_role("link", name="Browse files").first.click()
    page.locator("#main .hf-table a").get_by_text("public_html", exact=True).click()
    page.get_by_label("Restore index.html").click()
    page.get_by_role("button", name="Restore 1 item").click()
    undo = page.get_by_role("button", name="Undo this restore")
    expect(undo).to_be_visible(timeout=60_000)
    assert index.read_text() == good
    undo.click()
    until(lambda: index.read_text() == "broken by hand", 60, "the undo did not put the file back")
    index.write_text(good)
