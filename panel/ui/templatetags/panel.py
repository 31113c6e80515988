"""Badges, icons, times and sizes.  No page writes their classes itself."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import cache, lru_cache
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from django import template
from django.conf import settings
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe

from panel.core import text

register = template.Library()
_NAME = re.compile(r"[a-z0-9-]+").fullmatch
STATUSES = {
    "pending": ("Pending", "hourglass"), "running": ("Running", "loader-2"), "success": ("Success", "check"),
    "warning": ("Warnings", "alert-triangle"), "partial": ("Partial", "circle-half-2"), "failed": ("Failed", "x"),
    "aborted": ("Stopped", "player-stop"), "skipped": ("Skipped", "player-skip-forward"),
    "overdue": ("Overdue", "clock-exclamation"), "damaged": ("Damaged", "shield-x"),
}  # fmt: skip
SCOPES = {
    "full": ("Full", "stack-2"), "web": ("Web", "world"), "db": ("Databases", "database"), "mail": ("Mail", "mail"),
    "ssl": ("Certificates", "certificate"), "config": ("Configuration", "settings-2"),
}  # fmt: skip
KINDS = {
    "backup": ("Backup", "cloud-up"), "restore": ("Restore", "arrow-back-up"), "download": ("Download", "download"),
    "check": ("Integrity check", "shield-check"), "cleanup": ("Cleanup", "recycle"),
    "reindex": ("Reindex", "list-search"),
    "test": ("Destination test", "plug"), "key": ("Key change", "key"),
}  # fmt: skip


@cache
def _drawing(name: str) -> str:
    if not _NAME(name):
        raise template.TemplateSyntaxError(f"no icon can be called {name!r}")
    source = (Path(settings.BASE_DIR) / "static" / "vendor" / "icons" / f"{name}.svg").read_text()
    inner = source.partition(">")[2].rpartition("</svg>")[0].strip()
    return re.sub(r"\s+", " ", inner)


@register.simple_tag
@lru_cache(maxsize=2000)
def icon(name: str, size: int = 18, css: str = "") -> SafeString:
    """Return an icon that screen readers pass over."""
    return format_html(
        '<svg class="icon {}" width="{}" height="{}" viewBox="0 0 24 24" fill="none" stroke="currentColor" '
        'stroke-width="1.75" stroke-linecap="round" stroke-linejoin="round" aria-hidden="true">{}</svg>',
        css, size, size, mark_safe(_drawing(name)),  # noqa: S308 - a vendored file of ours
    )  # fmt: skip


@register.simple_tag
@lru_cache(maxsize=500)
def badge(status: str, word: str = "", drawing: str = "") -> SafeString:
    """Return the pill of a status; ``word`` and ``drawing`` replace its usual ones."""
    label, usual = STATUSES.get(status, STATUSES["pending"])
    return format_html('<span class="hf-badge hf-{}">{} {}</span>', status, icon(drawing or usual, 15), word or label)


@register.filter
def status_word(status: str) -> str:
    """Return the word of a status."""
    return STATUSES.get(status, STATUSES["pending"])[0]


@register.simple_tag
@lru_cache(maxsize=100)
def scope(code: str) -> SafeString:
    """Return the tag of a scope or component."""
    if code not in SCOPES:
        return SafeString("")
    label, drawing = SCOPES[code]
    return format_html('<span class="hf-scope hf-scope-{}">{} {}</span>', code, icon(drawing, 13), label)


@register.simple_tag
@lru_cache(maxsize=100)
def kind(code: str) -> SafeString:
    """Return the tinted square of a kind of job."""
    label, drawing = KINDS.get(code, KINDS["check"])
    return format_html(
        '<span class="hf-kind hf-kind-{}">{}<span class="visually-hidden">{}</span></span>', code, icon(drawing), label
    )


@register.simple_tag(takes_context=True)
def when(context: dict[str, Any], moment: datetime | int | None, style: str = "words") -> SafeString:
    """Return a ``<time>``: ``words`` ("Today, 3:00 AM") or ``ago`` ("in 33 min"); the exact one is its title."""
    if moment is None:
        return SafeString("—")
    if isinstance(moment, int):
        moment = datetime.fromtimestamp(moment, UTC)
    request = context.get("request")
    zone = ZoneInfo(getattr(getattr(request, "user", None), "zone", "") or "UTC")
    now = timezone.now()
    words = (
        text.ago(moment, now)
        if style == "ago"
        else text.moment_text(moment, now, zone, twelve=context.get("twelve", True))
    )
    exact = f"{moment.astimezone(zone):%Y-%m-%d %H:%M:%S %Z} · {moment.astimezone(UTC):%H:%M} UTC"
    return format_html('<time datetime="{}" title="{}">{}</time>', moment.isoformat(), exact, words)


@register.filter
def undo_address(message: Any) -> str:
    """Return where a message's Undo posts to: its extra tag ``undo:/path/``; nothing if it has none."""
    tags = (getattr(message, "extra_tags", "") or "").split()
    return next((tag[5:] for tag in tags if tag.startswith("undo:/") and not tag.startswith("undo://")), "")


@register.filter
def human_size(value: float | str | None) -> str:
    """Return a size with three digits; a dash for what is not known, such as a figure that a job never told."""
    return text.size(None if value in (None, "") else float(value))


@register.filter
def human_duration(value: float | str | None) -> str:
    """Return a length of time; a dash for what is not known."""
    return text.duration(None if value in (None, "") else float(value))


@register.filter
def thousands(value: int | str | None) -> str:
    """Return a number with separators; nothing counts as none."""
    return f"{int(value or 0):,}"


@register.filter
def spent(job: Any) -> str:
    """Return how long a job took, or has run so far."""
    if job.started_at is None:
        return ""
    seconds = ((job.finished_at or timezone.now()) - job.started_at).total_seconds()
    return text.duration(seconds) + ("" if job.finished_at else " so far")


@register.filter
def percent(row: Any) -> int | None:
    """Return how far a job or item is; None if that is not known."""
    total = getattr(row, "items_total", 1)
    if total > 1:
        return int(100 * row.items_done / total)
    return min(99, int(100 * row.bytes_done / row.bytes_total)) if row.bytes_total else None
