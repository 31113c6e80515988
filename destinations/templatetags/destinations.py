"""What the destinations' pages show that others do not: an address, milliseconds, bars."""

from __future__ import annotations

from typing import Any

from django import template
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from destinations.models import Destination
from panel.core import text

register = template.Library()
_HEIGHT, _WIDTH, _GAP = 72, 16, 4


@register.filter
def where_stored(destination: Destination) -> str:
    """Return the place of a destination as one word."""
    config = destination.config
    if destination.kind == "local":
        return str(config.get("path", ""))
    if destination.kind == "s3":
        place = f"{config.get('bucket', '')}/{config.get('prefix', '')}".rstrip("/")
        return f"{config.get('endpoint') or 'S3'} · {place}"
    usual = {"ftp": 21, "sftp": 22}[destination.kind]
    port = f":{config['port']}" if config.get("port", usual) != usual else ""
    path = str(config.get("path", ""))
    return f"{config.get('user')}@{config.get('host')}{port}" + (f" · {path}" if path else "")


@register.filter
def took(seconds: float | None) -> str:
    """Return how long a step took: ``31 ms``, ``1.4 s``."""
    if seconds is None:
        return ""
    return f"{round(seconds * 1000)} ms" if seconds < 0.9995 else f"{seconds:.1f} s"


@register.filter
def as_sentence(detail: str) -> str:
    """Return what a step found with a capital in front, unless it begins with a name: ``ssh-ed25519 …``."""
    return detail[:1].upper() + detail[1:] if detail.partition(" ")[0].rstrip(",;:").isalpha() else detail


@register.simple_tag
def traffic_bars(days: list[dict[str, Any]], peak: int) -> SafeString:
    """Draw the traffic of days, the oldest on the left."""
    bars = []
    for number, day in enumerate(reversed(days)):
        up = round(_HEIGHT * day["sent"] / peak) if peak else 0
        down = round(_HEIGHT * day["received"] / peak) if peak else 0
        title = (
            f"{day['day']:%b} {day['day'].day}: {text.size(day['sent'])} sent, {text.size(day['received'])} received"
        )
        at = number * (_WIDTH + _GAP)
        bars.append((at, _HEIGHT - up, _WIDTH, up, at, _HEIGHT - up - down, _WIDTH, down, title, at, _WIDTH, _HEIGHT))
    return format_html(
        '<svg class="hf-bars" role="img" aria-label="Traffic of the last {} days" viewBox="0 0 {} {}" '
        'preserveAspectRatio="none">{}</svg>',
        len(days),
        len(days) * (_WIDTH + _GAP) - _GAP,
        _HEIGHT + 1,
        format_html_join(
            "",
            '<g><rect class="hf-bar-up" x="{}" y="{}" width="{}" height="{}"/>'
            '<rect class="hf-bar-down" x="{}" y="{}" width="{}" height="{}"/>'
            '<title>{}</title><rect class="hf-bar-all" x="{}" y="0" width="{}" height="{}"/></g>',
            bars,
        ),
    )
