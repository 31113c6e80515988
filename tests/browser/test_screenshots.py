"""Pictures of every page, in both themes and at both widths, into docs/img/ (`make screenshots`)."""

from __future__ import annotations

import base64
import os
from pathlib import Path

import pytest

from tests.browser.pages import PHONE, WIDE, Desk, Desks
from tests.browser.stack import PROJECT, Stack

pytestmark = [pytest.mark.screenshots, pytest.mark.timeout(1800)]

FOLDER = Path(os.environ.get("SCREENSHOTS", PROJECT / "docs" / "img"))
TALLEST = 2400
_ADMIN = {
    "overview": "/",
    "accounts": "/accounts/",
    "account": "/accounts/{juniper}/",
    "schedules": "/backups/schedules/",
    "schedule-new": "/backups/schedules/new/",
    "schedule-edit": "/backups/schedules/{night}/edit/",
    "key": "/backups/schedules/{night}/key/",
    "history": "/backups/history/",
    "run": "/backups/history/{good}/",
    "run-failed": "/backups/history/{failed}/",
    "restore-points": "/backups/restore/",
    "browse": "/snapshots/{snapshot}/browse/?path={folder}",
    "restore-plan": "/snapshots/{snapshot}/restore/",
    "queue": "/queue/",
    "destinations": "/destinations/",
    "destination-new": "/destinations/new/",
    "downloads": "/downloads/",
    "people": "/users/",
    "packages": "/packages/",
    "settings": "/settings/performance/",
    "audit": "/audit/",
    "system": "/system/",
    "my-settings": "/me/",
}
_USER = {
    "user-overview": "/",
    "user-schedules": "/backups/schedules/",
    "user-restore": "/restore/",
    "user-restore-points": "/backups/restore/",
    "user-history": "/backups/history/",
}
_FACTS = """
from backups.models import Snapshot
from worker.models import Job
from worker.states import State
snapshot = Snapshot.objects.filter(account__name="juniper").order_by("-id").first()
good = Job.objects.filter(account__name="juniper", state=State.SUCCESS, snapshots__isnull=False).order_by("-id").first()
result = {"snapshot": snapshot.pk, "good": good.pk, "folder": "web" + snapshot.account.home + "/public_html"}
"""


def picture(desk: Desk, name: str) -> None:
    """Store the whole open page as WebP."""
    page = desk.page
    width = page.viewport_size["width"] if page.viewport_size else WIDE[0]
    desk.size(width, 900 if width == WIDE[0] else PHONE[1])
    height = page.evaluate("Math.max(document.documentElement.scrollHeight, innerHeight)")
    desk.size(width, min(TALLEST, height))
    page.wait_for_timeout(150)
    session = desk.context.new_cdp_session(page)
    shot = session.send("Page.captureScreenshot", {"format": "webp", "quality": 80})
    session.detach()
    (FOLDER / f"{name}.webp").write_bytes(base64.b64decode(shot["data"]))


def series(desk: Desk, pages: dict[str, str], suffix: str) -> None:
    """Store a picture of each of the pages."""
    for name, path in pages.items():
        answer = desk.page.goto(desk.stack.address + path)
        assert answer is not None, path
        assert answer.ok, f"{answer.status} {path}"
        desk.page.wait_for_load_state("networkidle")
        picture(desk, f"{name}-{suffix}")


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", [WIDE, PHONE], ids=["1280", "360"])
def test_pictures(furnished: Stack, desks: Desks, theme: str, size: tuple[int, int]) -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    with desks.open("admin") as desk:
        desk.go("/")
        desk.wait_for_end()
    facts = furnished.facts | furnished.facts["accounts"] | furnished.run_code(_FACTS)
    suffix = f"{theme}-{size[0]}"
    for name, pages in (("admin", _ADMIN), ("juniper", _USER), ("", {"sign-in": "/sign-in/"})):
        with desks.open(name, size) as desk:
            desk.theme(theme)
            series(desk, {page: path.format(**facts) for page, path in pages.items()}, suffix)


def test_a_picture_of_work_going_on(furnished: Stack, desks: Desks) -> None:
    with desks.open("admin") as desk:
        desk.theme("light")
        page = desk.go("/backups/history/")
        page.locator("tr[data-href] a").first.click()
        page.locator("#detail").get_by_text("Duration", exact=True).wait_for()
        picture(desk, "history-detail-light-1280")
