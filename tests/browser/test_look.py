"""Themes without a flash, pages that do not jump, messages, times, and being cut off."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from tests.browser.pages import Desk, Desks
from tests.browser.stack import Stack

_SHIFTS = """new PerformanceObserver(list => {
  for (const e of list.getEntries()) {
    window.shifts = (window.shifts || 0) + e.value;
    for (const s of e.sources || []) (window.shifted ||= []).push(s.node?.outerHTML?.slice(0, 120));
  }
}).observe({type: "layout-shift", buffered: true});"""


@pytest.mark.soak  # needs a machine at rest: at rest the page asks every 15 s only, and the job may be over by then
def test_nothing_jumps_while_a_page_loads_and_a_job_runs_and_ends(furnished: Stack, admin_desk: Desk) -> None:
    admin_desk.go("/backups/schedules/")
    admin_desk.wait_for_end()  # of what other tests started
    admin_desk.context.add_init_script(_SHIFTS)
    page = admin_desk.go("/backups/schedules/")
    admin_desk.wait_for_end()
    page.wait_for_timeout(500)
    loaded = page.evaluate("[window.shifts || 0, window.shifted || []]")
    assert loaded[0] < 0.05, loaded
    page.evaluate("window.shifts = 0; window.shifted = []")
    furnished.run_code(
        """
        from backups.models import Schedule
        from backups.services.schedules import schedule_run
        schedule_run(Schedule.objects.get(pk=night))
        """,
        night=furnished.facts["night"],
    )
    page.evaluate("document.dispatchEvent(new Event('hf:poll'))")
    expect(page.locator("#active-tasks")).to_have_class(re.compile("hf-banner"), timeout=20_000)
    admin_desk.wait_for_end()
    shifts = page.evaluate("[window.shifts || 0, window.shifted || []]")
    assert shifts[0] < 0.05, shifts


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
