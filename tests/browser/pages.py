"""A browser that watches itself: script errors, broken policies and failed answers fail the test."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Response, expect

from tests.browser.stack import PASSWORD, Stack

AXE = Path(__file__).parent / "vendor" / "axe-core" / "axe.min.js"
FLAGS = ["--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage"]  # fmt: skip
WIDE, PHONE = (1280, 900), (360, 780)
_SHELL = [[".hf-side"], [".hf-top"]]
"""What every page of a person has alike: most of what axe looks at."""
_LOADING = re.compile(r"^Failed to load resource: the server responded with a status of 4")


def flags() -> list[str]:
    """Chromium's switches; its own sandbox does not work for root."""
    return [*FLAGS, *(["--no-sandbox"] if os.geteuid() == 0 else [])]


class Watch:
    """Collects what went wrong in a page.  ``allow`` passes over messages that contain a text."""

    def __init__(self, page: Page) -> None:
        self.found: list[str] = []
        self._allowed: list[str] = []
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.found.append(f"script error: {error}"))
        page.on("response", self._response)

    def allow(self, text: str) -> None:
        """Pass over what contains this text, from now on."""
        self._allowed.append(text)

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not _LOADING.match(message.text):
            self.found.append(f"console {message.type}: {message.text}")

    def _response(self, answer: Response) -> None:
        kind = answer.request.resource_type
        if answer.status >= 500 or (answer.status == 404 and kind != "document"):
            self.found.append(f"{answer.status} from {answer.url} ({kind})")

    @property
    def problems(self) -> list[str]:
        """What went wrong and was not allowed."""
        return [one for one in self.found if not any(text in one for text in self._allowed)]


class Desk:
    """A signed-in person's browser.  ``page`` is the open tab; ``watch`` holds what went wrong in it."""

    def __init__(self, stack: Stack, context: BrowserContext) -> None:
        self.stack = stack
        self.context = context
        self.page = context.new_page()
        self.watch = Watch(self.page)

    def go(self, path: str) -> Page:
        """Open a path of the panel."""
        self.page.goto(self.stack.address + path)
        return self.page

    def theme(self, name: str) -> None:
        """Choose light, dark or (empty) the system's."""
        self.context.add_cookies([{"name": "holdfast_theme", "value": name, "url": self.stack.address}])

    def size(self, width: int, height: int = 900) -> None:
        """Change the window."""
        self.page.set_viewport_size({"width": width, "height": height})

    def wait_for_end(self, seconds: float = 60) -> None:
        """Wait until the banner says that nothing runs or waits any more."""
        expect(self.page.locator("#active-tasks")).to_contain_text("Nothing is running", timeout=seconds * 1000)

    def breaches(self, *, rules: list[str] | None = None, shell: bool = True) -> list[str]:
        """What axe finds on the open page, one line each: rule, its meaning, and the first elements.

        ``rules`` asks for these rules only; without ``shell`` the menu and the bar on top are passed over.
        """
        if not self.page.evaluate("'axe' in window"):
            self.page.evaluate(AXE.read_text())
        options = {"resultTypes": ["violations"], **({"runOnly": rules} if rules else {})}
        told = [None if shell else {"exclude": _SHELL}, options]
        found = self.page.evaluate("([place, options]) => axe.run(place || document, options)", told)["violations"]
        return [
            f"{one['id']} ({one['help']}): {len(one['nodes'])} × {node['html'][:160]} {node['failureSummary'][:300]}"
            for one in found
            for node in one["nodes"][:3]
        ]

    def too_wide(self) -> str:
        """Say what makes the page scroll sideways; nothing if it does not."""
        return str(self.page.evaluate(_TOO_WIDE))


_TOO_WIDE = """() => {
  const root = document.documentElement, room = root.clientWidth;
  if (root.scrollWidth <= room) return "";
  const out = [...document.querySelectorAll("body *")].filter(e => e.getBoundingClientRect().right > room + 1);
  return `${root.scrollWidth} > ${room}: ` + out.slice(-3).map(e => e.outerHTML.slice(0, 120)).join(" | ");
}"""


class Desks:
    """Opens signed-in browsers; each person signs in once."""

    def __init__(self, stack: Stack, browser: Browser) -> None:
        self.stack = stack
        self.browser = browser
        self._states: dict[str, Any] = {}

    @contextmanager
    def open(self, name: str, size: tuple[int, int] = WIDE, **options: Any) -> Iterator[Desk]:
        """Lend a browser in which ``name`` is signed in (empty: nobody); problems seen in it fail at the end."""
        options.setdefault("viewport", {"width": size[0], "height": size[1]})
        if name:
            options["storage_state"] = self._state(name)
        context = self.browser.new_context(**options)
        context.set_default_timeout(20_000)
        try:
            desk = Desk(self.stack, context)
            yield desk
            assert not desk.watch.problems, "\n".join(desk.watch.problems)
        finally:
            context.close()

    def _state(self, name: str) -> Any:
        if name not in self._states:
            context = self.browser.new_context()
            page = context.new_page()
            sign_in(page, self.stack.address, name)
            self._states[name] = context.storage_state()
            context.close()
        return self._states[name]

    def forget(self, name: str) -> None:
        """Sign in again next time: a test changed the password or ended the session."""
        self._states.pop(name, None)


def sign_in(page: Page, address: str, name: str, password: str = PASSWORD) -> None:
    """Fill in the sign-in form and wait for the overview."""
    page.goto(f"{address}/sign-in/")
    page.get_by_label("User name or e-mail").fill(name)
    page.get_by_label("Password", exact=True).fill(password)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(f"{address}/")
