"""Everything without a mouse: where the focus goes, what keys do, and what they leave alone."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from tests.browser.pages import PHONE, Desk, Desks
from tests.browser.stack import Stack

_FOCUS = """() => {
  const e = document.activeElement, style = getComputedStyle(e), box = e.getBoundingClientRect();
  return {name: e.tagName + " " + (e.getAttribute("aria-label") || e.innerText || e.name || "").trim().slice(0, 60),
    ring: style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2, seen: box.width > 0 && box.height > 0,
    mark: [...document.querySelectorAll("*")].indexOf(e)};
}"""


def walk(page: Page, most: int = 120) -> list[dict[str, object]]:
    """Press Tab from the top until the focus comes round."""
    stops: list[dict[str, object]] = []
    page.evaluate("document.activeElement.blur(); window.scrollTo(0, 0)")
    for _ in range(most):
        page.keyboard.press("Tab")
        stop = page.evaluate(_FOCUS)
        if stop["name"].startswith("BODY") or any(stop["mark"] == one["mark"] for one in stops):
            break
        stops.append(stop)
    return stops


@pytest.mark.parametrize("path", ["/backups/schedules/", "/backups/schedules/new/", "/destinations/"])
def test_every_control_is_reached_in_order_and_shows_its_focus(furnished: Stack, admin_desk: Desk, path: str) -> None:
    page = admin_desk.go(path)
    stops = walk(page)
    assert stops[0]["name"] == "A Skip to content"
    assert not [stop["name"] for stop in stops if not stop["ring"] or not stop["seen"]]
    marks = [stop["mark"] for stop in stops]
    controls = page.evaluate(
        """() => { const all = [...document.querySelectorAll("*")];
        return [...document.querySelectorAll("main a[href], main button:not(:disabled), main summary, main select")]
          .filter(e => e.checkVisibility({visibilityProperty: true}) && e.tabIndex >= 0)
          .filter(e => !e.closest("details:not([open]) > :not(summary)"))
          .map(e => [all.indexOf(e), e.outerHTML.slice(0, 100)]); }"""
    )
    assert controls
    if len(stops) < 119:
        assert not [html for mark, html in controls if mark not in marks]


def test_the_skip_link_goes_past_the_menu(admin_desk: Desk) -> None:
    page = admin_desk.go("/backups/schedules/")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.querySelector('main').contains(document.activeElement)")


def test_keys_lead_to_pages_search_and_their_own_list(admin_desk: Desk) -> None:
    page = admin_desk.go("/")
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "search"
    page.keyboard.type("gb?")
    assert page.locator("#search").input_value() == "gb?"
    page.locator("h1").click()
    page.keyboard.press("?")
    keys = page.locator("#keys")
    expect(keys).to_be_visible()
    for _ in range(6):
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement === document.body || !!document.activeElement.closest('#keys')")
    page.keyboard.press("Escape")
    expect(keys).to_be_hidden()
    page.keyboard.press("g")
    page.keyboard.press("b")
    page.wait_for_url("**/backups/schedules/")
    page.keyboard.press("n")
    page.wait_for_url("**/backups/schedules/new/")


def test_keys_can_be_switched_off(stack: Stack, desks: Desks) -> None:
    switch = "from panel.accounts.models import User\nUser.objects.filter(username='hubertus').update(shortcuts={})"
    stack.run_code(switch.format(False))
    with desks.open("hubertus") as desk:
        page = desk.go("/")
        page.keyboard.press("?")
        page.keyboard.press("g")
        page.keyboard.press("b")
        page.wait_for_timeout(300)
        assert page.url == f"{stack.address}/"
        assert page.locator("#keys").count() == 0


def test_the_account_menu_opens_closes_and_gives_the_focus_back(admin_desk: Desk) -> None:
    page = admin_desk.go("/")
    opener = page.get_by_role("button", name="your menu")
    opener.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("link", name="My settings")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#you")).to_be_hidden()
    assert page.evaluate("document.activeElement.getAttribute('popovertarget')") == "you"


def test_on_a_telephone_the_menu_covers_and_goes_with_escape(phone_desk: Desk) -> None:
    page = phone_desk.go("/")
    expect(page.locator("#nav")).to_be_hidden()
    page.get_by_role("button", name="Menu", exact=True).click()
    expect(page.locator("#nav")).to_be_visible()
    assert not phone_desk.breaches()
    page.keyboard.press("Escape")
    expect(page.locator("#nav")).to_be_hidden()
    page.get_by_role("button", name="Menu", exact=True).click()
    page.locator("#nav").get_by_role("link", name="Backups").click()
    page.wait_for_url("**/backups/schedules/")


def test_a_detail_opens_beside_the_list_and_gives_the_focus_back(furnished: Stack, admin_desk: Desk) -> None:
    page = admin_desk.go("/backups/history/")
    row = page.locator("tr[data-href]").nth(1)
    address = row.get_attribute("data-href") or ""
    row.locator("a").first.focus()
    page.keyboard.press("Enter")
    detail = page.locator("#detail")
    expect(detail.get_by_text("Duration", exact=True)).to_be_visible()
    assert page.url.endswith(address)
    assert page.evaluate("document.activeElement.id") == "detail-title"
    expect(row).to_have_attribute("aria-current", "true")
    assert not admin_desk.breaches()
    page.keyboard.press("]")
    expect(page.locator("tr[data-href]").nth(2)).to_have_attribute("aria-current", "true")
    page.keyboard.press("[")
    page.keyboard.press("Escape")
    expect(detail).to_be_hidden()
    assert page.url.endswith("/backups/history/")
    assert page.evaluate("document.activeElement.closest('tr').dataset.href") == address
    page.go_back()
    expect(detail).to_be_visible()


def test_on_a_telephone_the_detail_covers_and_holds_the_focus(furnished: Stack, desks: Desks) -> None:
    with desks.open("admin", PHONE) as desk:
        page = desk.go("/backups/history/")
        page.locator("tr[data-href] a").first.click()
        expect(page.locator("#detail").get_by_text("Duration", exact=True)).to_be_visible()
        for _ in range(12):
            page.keyboard.press("Tab")
            inside = "document.activeElement === document.body || !!document.activeElement.closest('#detail')"
            assert page.evaluate(inside)
        assert not desk.too_wide()
        page.keyboard.press("Escape")
        expect(page.locator("#detail")).to_be_hidden()


def test_a_question_comes_before_what_cannot_be_undone_and_the_safe_answer_is_preset(
    furnished: Stack, admin_desk: Desk
) -> None:
    page = admin_desk.go("/backups/history/")
    entries = page.locator("tr[data-href]").count()
    page.get_by_role("button", name="Delete old entries").click()
    dialog = page.get_by_role("dialog", name="Delete old entries?")
    expect(dialog).to_be_visible()
    assert page.evaluate("document.activeElement.textContent") == "Keep them"
    assert not admin_desk.breaches()
    page.keyboard.press("Enter")
    expect(dialog).to_be_hidden()
    page.reload()
    assert page.locator("tr[data-href]").count() == entries


def test_nothing_moves_for_people_who_asked_for_that(desks: Desks) -> None:
    with desks.open("admin", reduced_motion="reduce") as desk:
        page = desk.go("/")
        names = page.evaluate(
            """() => { const region = document.querySelector("#active-tasks");
            region.innerHTML = '<span class="hf-badge hf-running"><svg class="icon"></svg></span>';
            return getComputedStyle(region.querySelector(".icon")).animationName; }"""
        )
        assert re.fullmatch("none", names)
