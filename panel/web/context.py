"""What every page shows around its content."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from django.http import HttpRequest
from django.middleware.csrf import get_token
from django.template.loader import render_to_string
from django.utils import timezone

import panel
from destinations.selectors import may_see_destinations
from panel.accounts.models import Account, Server
from panel.options.selectors import options
from worker.views import banner_context

_DESTINATIONS = ("destinations:destination_list", "Destinations", "server-2")
_ADMIN = (
    ("panel:overview", "Overview", "shield-check"),
    ("accounts:account_list", "Accounts", "users"),
    ("backups:schedule_list", "Backups", "database-export"),
    ("worker:queue", "Queue", "layout-list"),
    _DESTINATIONS,
    ("restores:download_list", "Downloads", "download"),
    ("options:settings_home", "Settings", "settings"),
    ("audit:event_list", "Audit", "file-search"),
    ("panel:system", "System", "activity"),
)
_USER = (
    ("panel:overview", "Overview", "shield-check"),
    ("backups:schedule_list", "Backups", "database-export"),
    ("restores:wizard", "Browse & restore", "folder-open"),
    ("restores:download_list", "Downloads", "download"),
    ("accounts:token_list", "API tokens", "api"),
    ("accounts:mine", "My settings", "settings"),
)
_RESELLER = (_USER[0], ("accounts:account_list", "Accounts", "users"), *_USER[1:])
_SECTIONS = {"panel:overview": "panel:overview", "panel:system": "panel:system", "accounts:mine": "accounts:mine"}
_SECTIONS |= dict.fromkeys(
    ("restores:download_list", "restores:download_file", "restores:download_remove"), "restores:download_list"
)
_RULES = ("condition_list", "condition_create", "condition_update", "permission_list", "permission_create",
          "permission_update")  # fmt: skip
_SECTIONS |= dict.fromkeys((f"restores:{name}" for name in _RULES), "options:settings_home")
_OWN = ("accounts:token_", "accounts:two_factor", "accounts:session_")
_LOOKING = ("backups:snapshot_browse", "backups:file_versions", "backups:file_preview", "restores:")
_BY_SPACE = {
    "accounts": "accounts:account_list", "backups": "backups:schedule_list", "restores": "backups:schedule_list",
    "worker": "worker:queue", "destinations": "destinations:destination_list", "options": "options:settings_home",
    "audit": "audit:event_list",
}  # fmt: skip


def shell(request: HttpRequest) -> dict[str, Any]:
    """Return the menu, the theme and the settings that pages need."""
    theme = request.COOKIES.get("holdfast_theme", "")
    base: dict[str, Any] = {"theme": theme if theme in ("light", "dark") else "", "version": panel.__version__}
    user = getattr(request, "user", None)
    if user is None or not user.is_authenticated:
        return base
    match = request.resolver_match
    name = match.view_name if match else ""
    section = _SECTIONS.get(name) or ("backups:schedule_list" if name == "worker:job_detail" else "")
    if not section and not user.is_admin and name.startswith(_LOOKING):
        section = "restores:wizard"
    if name.startswith(_OWN):
        section = "accounts:token_list" if "token" in name and not user.is_admin else "accounts:mine"
    section = section or _BY_SPACE.get(name.partition(":")[0], "")
    shown = options("time_format", "host_name", "backup_enabled", "pause_queue")
    foot = Server.objects.order_by("pk").first() if user.is_admin else None
    own = None if user.is_admin else Account.objects.visible_to(user).first()
    return (
        base
        | {
            "menu": _menu(_entries(user), section),
            "twelve": user.reads_twelve(shown["time_format"]),
            "host_name": shown["host_name"],
            "backups_off": not shown["backup_enabled"],
            "queue_paused": shown["pause_queue"] and user.is_admin,
            "server": foot,
            "own_account": own,
            "now": timezone.now(),
        }
        | _tasks(request, twelve=user.reads_twelve(shown["time_format"]))
    )


def _entries(user: Any) -> Iterable[tuple[str, str, str]]:
    """Return what a person finds in the menu; storage of one's own only where the package allows it."""
    if user.is_admin:
        return _ADMIN
    entries = _RESELLER if user.is_reseller else _USER
    return (*entries[:-2], _DESTINATIONS, *entries[-2:]) if may_see_destinations(user) else entries


def _menu(entries: Iterable[tuple[str, str, str]], section: str) -> list[tuple[str, str, str, bool, str]]:
    """Return the menu: view, label, icon, whether one is there, and the letter that goes there after "g"."""
    used: set[str] = set()
    menu: list[tuple[str, str, str, bool, str]] = []
    for view, label, icon in entries:
        key = next((letter for letter in label.lower() if letter.isalpha() and letter not in used), "")
        used.add(key)
        menu.append((view, label, icon, view == section, key))
    return menu


def _tasks(request: HttpRequest, *, twelve: bool) -> dict[str, Callable[[], str]]:
    """Return what draws the banner and the scheduler's sign of life: asked once, and only by pages that show them."""
    known: dict[str, Any] = {}

    def draw(part: str) -> Callable[[], str]:
        def drawn() -> str:
            if not known:
                known.update(banner_context(request.user), request=request, user=request.user, twelve=twelve)
                known["csrf_token"] = get_token(request)
            return render_to_string(f"worker/active_tasks.html#{part}", known)

        return drawn

    return {"banner": draw("tasks"), "scheduler_seen": draw("seen"), "queue_count": draw("count")}
