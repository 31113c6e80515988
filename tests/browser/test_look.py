"""Themes without a flash, pages that do not jump, messages, times, and being cut off."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from tests.browser.pages import PHONE, WIDE, Desk, Desks
from tests.browser.stack import Stack

_PLACES = """() => [...document.querySelectorAll("main > *, #rows tr")].filter(e => !e.closest("#active-tasks"))
  .map(e => `${e.id || e.className} ${e.getBoundingClientRect().top} ${e.getBoundingClientRect().left}`)"""
_JOBS = """
from panel.accounts.models import Server
from worker.clock import now
from worker.models import Job
from worker.states import Kind, State
Job.objects.filter(trigger="look").delete()
for state, many in ((State.RUNNING, running), (State.PENDING, waiting)):
    for number in range(many):
        Job.objects.create(
            kind=Kind.BACKUP, name=f"Looked at {number}", scope="web", state=state, trigger="look", created_at=now(),
            server=Server.objects.get(),
            started_at=now() if state == State.RUNNING else None, bytes_done=10_000_000 * number, items_total=1,
        )
"""


@pytest.mark.parametrize("size", [WIDE, PHONE], ids=["wide", "phone"])
def test_nothing_below_the_banner_moves_when_jobs_come_and_go(
    furnished: Stack, desks: Desks, size: tuple[int, int]
) -> None:
    with desks.open("admin", size) as desk:
        desk.go("/backups/schedules/")
        desk.wait_for_end()  # of what other tests started
        page = desk.go("/backups/schedules/")
        banner = page.locator("#active-tasks")
        before = page.evaluate(_PLACES)
        try:
            for running, waiting, words in (
                (0, 1, "1 waiting"), (1, 0, "Looked at 0"), (3, 2, "1 more running. 2 waiting"),
            ):  # fmt: skip
                furnished.run_code(_JOBS, running=running, waiting=waiting)
                page.evaluate("document.dispatchEvent(new Event('hf:poll'))")
                expect(banner).to_contain_text(words)
                expect(banner).to_have_attribute("data-live", str(running))
                assert page.evaluate(_PLACES) == before
            room = banner.bounding_box()
            banner.hover()
            expect(banner).not_to_have_class(re.compile("hf-held"))
            pointed = banner.bounding_box()
            assert room is not None
            assert pointed is not None
            assert pointed["height"] > room["height"] + 40
            before = page.evaluate(_PLACES)
        finally:
            furnished.run_code(_JOBS, running=0, waiting=0)
        page.evaluate("document.dispatchEvent(new Event('hf:poll'))")
        expect(banner).to_contain_text("Nothing is running")
        assert page.evaluate(_PLACES) == before


def test_new_entries_of_history_wait_until_they_are_asked_for(furnished: Stack, admin_desk: Desk) -> None:
    admin_desk.go("/")
    admin_desk.wait_for_end()
    page = admin_desk.go("/backups/history/")
    first = page.locator("#rows tbody tr").first
    known = first.get_attribute("id")
    page.evaluate("scrollTo(0, 900)")
    before = page.evaluate(_PLACES)
    try:
        furnished.run_code(_JOBS, running=2, waiting=0)
        page.evaluate("document.dispatchEvent(new Event('hf:poll'))")
        show = page.get_by_role("button", name="2 new · show")
        expect(show).to_be_visible()
        assert first.get_attribute("id") == known
        assert [place for place in page.evaluate(_PLACES) if not place.startswith("arrivals")] == before
        show.click()
        expect(first).to_contain_text("Looked at 1")
        expect(show).to_have_count(0)
    finally:
        furnished.run_code(_JOBS, running=0, waiting=0)


@pytest.mark.parametrize(
    ("scheme", "chosen", "dark"), [("dark", "", True), ("light", "dark", True), ("dark", "light", False)]
)
def test_the_theme_is_there_with_the_first_paint(desks: Desks, scheme: str, chosen: str, dark: bool) -> None:
    with desks.open("admin", color_scheme=scheme, java_script_enabled=False) as desk:
        desk.theme(chosen)
        page = desk.go("/")
        ground = page.locator("body").evaluate("e => getComputedStyle(e).backgroundColor")
        assert ground == ("rgb(14, 21, 28)" if dark else "rgb(245, 247, 249)")


def test_the_theme_is_chosen_in_the_menu_and_stays(desks: Desks) -> None:
    with desks.open("admin") as desk:
        page = desk.go("/queue/")
        page.get_by_role("button", name="your menu").click()
        page.locator("#you").get_by_role("button", name="Dark").click()
        expect(page.locator("html")).to_have_attribute("data-bs-theme", "dark")
        assert page.url.endswith("/queue/")
        page.get_by_role("button", name="Light theme").click()
        expect(page.locator("html")).to_have_attribute("data-bs-theme", "light")


def test_a_page_without_scripts_still_works(furnished: Stack, desks: Desks) -> None:
    with desks.open("admin", java_script_enabled=False) as desk:
        page = desk.go("/backups/history/")
        page.locator("tr[data-href] a").first.click()
        expect(page.locator("h1")).to_be_visible()
        expect(page.get_by_text("Duration", exact=True)).to_be_visible()


def test_a_message_says_what_happened_and_goes_by_itself(furnished: Stack, admin_desk: Desk) -> None:
    page = admin_desk.go("/backups/schedules/")
    page.evaluate("window.hfToast('Saved.', 'success')")
    page.evaluate("window.hfToast('Not saved.', 'error')")
    expect(page.get_by_role("status").filter(has_text="Saved.")).to_be_visible()
    expect(page.locator("#announce")).to_contain_text("Not saved.")
    page.wait_for_timeout(6500)
    expect(page.get_by_text("Saved.", exact=True)).to_have_count(0)
    expect(page.get_by_role("alert").filter(has_text="Not saved.")).to_be_visible()
    assert not admin_desk.breaches()
    page.get_by_role("button", name="Dismiss").click()
    expect(page.locator(".hf-toast")).to_have_count(0)


def test_being_cut_off_is_said_and_so_is_being_back(admin_desk: Desk) -> None:
    page = admin_desk.page
    page.clock.install()
    admin_desk.go("/")
    admin_desk.watch.allow("Failed to load resource")
    admin_desk.watch.allow("Failed to fetch")
    admin_desk.context.set_offline(True)
    for _ in range(4):
        page.clock.run_for(16_000)
        page.wait_for_timeout(150)
    expect(page.get_by_role("alert").filter(has_text="Not connected")).to_be_visible()
    admin_desk.context.set_offline(False)
    page.clock.run_for(16_000)
    expect(page.get_by_text("Not connected")).to_have_count(0)


def test_somebody_signed_out_elsewhere_is_told(stack: Stack, desks: Desks) -> None:
    with desks.open("hubertus") as desk:
        page = desk.go("/")
        desk.context.clear_cookies()
        desk.watch.allow("401")
        page.evaluate("document.dispatchEvent(new Event('hf:poll'))")
        expect(page.locator("#active-tasks")).to_contain_text("Signed out")
        page.get_by_role("link", name="Sign in again").click()
        page.wait_for_url(re.compile(r"/sign-in/\?next=(/|%2F)$"))


def test_times_are_words_with_the_exact_one_behind_them(furnished: Stack, admin_desk: Desk) -> None:
    page = admin_desk.go("/backups/history/")
    times = page.locator("main tr time").all()
    assert times
    for time in times[:5]:
        assert re.match(r"(Today|Yesterday|\w+day|\w{3} \d)", time.inner_text())
        assert re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \S+ · \d\d:\d\d UTC", time.get_attribute("title") or "")


def test_a_printed_page_is_content_only(furnished: Stack, admin_desk: Desk) -> None:
    page = admin_desk.go("/backups/history/")
    page.emulate_media(media="print")
    for part in ("#nav", ".hf-top", "#active-tasks"):
        expect(page.locator(part)).to_be_hidden()
    expect(page.locator("tr[data-href]").first).to_be_visible()
