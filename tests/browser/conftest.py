"""One running panel and one Chromium for all browser tests.

`stack` is the panel, `desks` opens browsers, `admin_desk`, `user_desk` and `reseller_desk` are signed-in ones
(`.go("/path/")`, `.page`, `.breaches()`, `.too_wide()`); `admin_page` and `user_page` are their bare pages.
An error in the console, a broken content policy, an answer of 5xx or a missing part fails the test.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.browser.furnish import WEEKS
from tests.browser.pages import PHONE, Desk, Desks, flags
from tests.browser.stack import Stack, new_stack
from tests.needs import program

HERE = Path(__file__).parent
expect.set_options(timeout=15_000)  # shared machines stall for seconds


@pytest.fixture(scope="session")
def chromium_program() -> Path:
    """Debian's Chromium."""
    return program("chromium", "chromium")


@pytest.fixture(scope="session")
def stack(chromium_program: Path) -> Iterator[Stack]:
    """The panel: an administrator `admin`, a reseller `northwind`, and the end users `juniper` and `hubertus`."""
    made = new_stack()
    try:
        made.start()
        yield made
    finally:
        made.stop()


@pytest.fixture(scope="session")
def furnished(stack: Stack) -> Stack:
    """The panel after weeks of use: long names, other scripts, every result, something overdue."""
    stack.facts |= stack.run_code(WEEKS, HOMES=str(stack.folder / "home"))
    return stack


# Of the package, not the session: as long as playwright lives its event loop is this thread's, and Django refuses
# to use a database from such a thread.
@pytest.fixture(scope="package")
def chromium(chromium_program: Path) -> Iterator[Browser]:
    """One running Chromium."""
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium_program, args=flags())
        yield browser
        browser.close()


@pytest.fixture(scope="package")
def desks(stack: Stack, chromium: Browser) -> Desks:
    """Opens signed-in browsers: ``with desks.open("juniper", PHONE) as desk``."""
    return Desks(stack, chromium)


@pytest.fixture
def admin_desk(desks: Desks) -> Iterator[Desk]:
    """The administrator's browser."""
    with desks.open("admin") as desk:
        yield desk


@pytest.fixture
def user_desk(desks: Desks) -> Iterator[Desk]:
    """The browser of the end user `juniper`."""
    with desks.open("juniper") as desk:
        yield desk


@pytest.fixture
def reseller_desk(desks: Desks) -> Iterator[Desk]:
    """The browser of the reseller `northwind`, who sells `juniper`."""
    with desks.open("northwind") as desk:
        yield desk


@pytest.fixture
def phone_desk(desks: Desks) -> Iterator[Desk]:
    """The administrator's telephone."""
    with desks.open("admin", PHONE) as desk:
        yield desk


@pytest.fixture
def admin_page(admin_desk: Desk) -> Page:
    """The administrator's page."""
    return admin_desk.page


@pytest.fixture
def user_page(user_desk: Desk) -> Page:
    """The end user's page."""
    return user_desk.page
