"""Every page that somebody can reach: accessible in both themes, no wider than a telephone, nothing broken."""

from __future__ import annotations

import re

import pytest

from tests.browser.crawl import kind_of, pages
from tests.browser.pages import PHONE, WIDE, Desk, Desks
from tests.browser.stack import Stack

_SHAPE = """() => {
  const found = [], heads = [...document.querySelectorAll("h1, h2, h3, h4")].filter(e => e.checkVisibility());
  if (heads.filter(e => e.tagName === "H1").length !== 1) found.push("not exactly one h1");
  if (!document.title.endsWith("· Holdfast")) found.push("title " + document.title);
  if (document.querySelectorAll("main").length !== 1) found.push("not exactly one main");
  const inline = document.querySelectorAll("[style], [onclick], script:not([src])");
  if (inline.length) found.push("inline style or script " + inline[0].outerHTML.slice(0, 100));
  const loud = [...document.querySelectorAll(".icon")].filter(e => !e.closest("[aria-hidden=true]"));
  if (loud.length) found.push("icon is read out " + loud[0].outerHTML.slice(0, 100));
  const vague = document.querySelector("time:not([title])");
  if (vague) found.push("time without its exact one " + vague.outerHTML);
  return found;
}"""


# The person asked for 24 hours: no time of day is told in another way, but where the two ways are what is chosen from.
_TEXTS = """() => [document.body.innerText, ...[...document.querySelectorAll("[title], [aria-label], option")].map(
  e => `${e.title} ${e.ariaLabel || ""} ${e.textContent}`)].join("\\n")"""
_TWELVE = re.compile(r".{0,40}\b\d{1,2}(:\d\d)*\s?[AP]M\b")
_CHOICE = "12 hours (3:00 PM)"
_CLOCK = """
from panel.accounts.models import User
User.objects.filter(username=name).update(clock=clock)
"""
# The fiftieth row tells axe nothing that the eighth did not, and costs as much.
_FEW_ROWS = """() => document.querySelectorAll("tbody").forEach(
  body => [...body.rows].slice(8).forEach(row => row.remove()))"""
_SEEN: set[str] = set()


def look(desk: Desk, address: str, *, closely: bool = True, shell: bool = True) -> list[str]:
    """What is wrong with the open page; ``closely`` also looks at it in the dark and at a telephone's targets.

    Without ``shell``, axe passes over the menu and the bar on top, which it has seen on another page.
    """
    page = desk.page
    found = list(page.evaluate(_SHAPE))
    page.evaluate(_FEW_ROWS)
    found += desk.breaches(shell=shell)
    if closely:
        page.evaluate("document.documentElement.dataset.bsTheme = 'dark'")
        found += [f"dark: {one}" for one in desk.breaches(rules=["color-contrast"], shell=shell)]
        page.evaluate("document.documentElement.dataset.bsTheme = 'light'")
    for width in (900, 320, PHONE[0]):
        desk.size(width)
        wide = desk.too_wide()
        found += [f"at {width} px: {wide}"] if wide else []
    if closely:
        found += [f"telephone: {one}" for one in desk.breaches(rules=["target-size"], shell=shell)]
    desk.size(*WIDE)
    return [f"{address}: {one}" for one in found]


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("name", "least"), [("admin", 16), pytest.param("northwind", 6, marks=pytest.mark.soak), ("juniper", 6)]
)
def test_every_page_that_links_lead_to_is_sound(
    furnished: Stack, desks: Desks, name: str, least: int, request: pytest.FixtureRequest
) -> None:
    found: list[str] = []
    seen: list[str] = []
    furnished.run_code(_CLOCK, name=name, clock="24")
    request.addfinalizer(lambda: furnished.run_code(_CLOCK, name=name, clock=""))
    with desks.open(name) as desk:
        desk.watch.allow("the server responded with a status of 4")
        for address in pages(desk):
            seen.append(address)
            twelve = _TWELVE.search(desk.page.evaluate(_TEXTS).replace(_CHOICE, ""))
            found += [f"{address} tells the time with twelve hours: {twelve[0]}"] if twelve else []
            closely = name == "admin" or kind_of(address) not in _SEEN
            found += look(desk, address, closely=closely, shell=len(seen) == 1)
            _SEEN.add(kind_of(address))
    assert not found, "\n" + "\n".join(found)
    assert len(seen) >= least, seen


def test_the_sign_in_page_is_sound(desks: Desks) -> None:
    with desks.open("") as desk:
        desk.go("/sign-in/")
        assert not look(desk, "/sign-in/")


@pytest.mark.parametrize(
    ("name", "path", "words"),
    [
        ("juniper", "/queue/", "Not found"),
        ("juniper", "/nothing/here/", "Not found"),
        ("", "/nothing/here/", "Not found"),
        ("juniper", "/theme/", "Nothing to see here"),
    ],
)
def test_a_page_that_is_not_there_says_what_to_do(desks: Desks, name: str, path: str, words: str) -> None:
    with desks.open(name) as desk:
        page = desk.go(path)
        assert words in page.locator("h1").inner_text()
        assert page.get_by_role("link", name="To the overview").is_visible()
        assert not look(desk, path)
