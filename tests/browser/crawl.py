"""Finds every page that a person can reach by following links, one of each kind."""

from __future__ import annotations

import re
from collections.abc import Iterator

from playwright.sync_api import Error

from tests.browser.pages import Desk

_LINKS = """() => [...document.querySelectorAll("a[href]")].filter(a => a.origin === location.origin && !a.download)
  .map(a => a.pathname + a.search)"""
_NUMBER = re.compile(r"\d+|[0-9a-f]{8,}")


def kind_of(address: str) -> str:
    """The same for pages that differ only in what they show: numbers, queries and names in paths do not count."""
    path, _, query = address.partition("?")
    names = "&".join(sorted({part.partition("=")[0] for part in query.split("&") if part} & {"schedule", "account"}))
    return _NUMBER.sub("N", path) + (f"?{names}" if names else "")


def pages(desk: Desk, start: str = "/") -> Iterator[str]:
    """Yield the address of each page while it is open in the desk; files that a link downloads are passed over."""
    waiting, seen = [start], {kind_of(start)}
    while waiting:
        address = waiting.pop(0)
        try:
            desk.go(address)
        except Error as error:
            if "Download is starting" in error.message or "ERR_ABORTED" in error.message:
                continue
            raise
        if desk.page.evaluate("document.contentType") != "text/html":
            continue
        for link in desk.page.evaluate(_LINKS):
            if kind_of(link) not in seen:
                seen.add(kind_of(link))
                waiting.append(link)
        yield address
