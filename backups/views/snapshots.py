"""Backups → Restore: snapshots, and what is in them."""

from __future__ import annotations

import base64
import binascii
import os
from typing import Any

from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render

from backups.models import Schedule, Snapshot
from backups.selectors import neighbours, snapshots_visible
from panel.accounts.models import Account
from panel.core.errors import PanelError
from worker.asking import ask

PAGE = 100


def snapshot_list(request: HttpRequest) -> HttpResponse:
    """List the restore points a viewer has."""
    snapshots: Any = snapshots_visible(request.user)
    schedules = Schedule.objects.visible_to(request.user).present()
    accounts = Account.objects.visible_to(request.user).filter(snapshots__isnull=False).distinct()
    chosen = {name: request.GET.get(name, "") for name in ("schedule", "account")}
    for name, value in chosen.items():
        if value.isdecimal():
            snapshots = snapshots.filter(**{name: int(value)})
    page = Paginator(snapshots, 50).get_page(request.GET.get("page"))
    context = {"page": page, "schedules": schedules, "accounts": accounts, "chosen": chosen}
    return render(request, "backups/snapshot_list.html", context)


def snapshot_browse(request: HttpRequest, number: int) -> HttpResponse:
    """Show a folder of a snapshot, or what a search in it finds."""
    snapshot = get_object_or_404(snapshots_visible(request.user), pk=number)
    path = _path(request.GET.get("path", ""))
    query = request.GET.get("q", "").strip()
    start = int(request.GET["start"]) if request.GET.get("start", "").isdecimal() else 0
    context: dict[str, Any] = {"snapshot": snapshot, "path": path, "query": query, "start": start}
    try:
        answer = _asked(request, snapshot, path, query, start)
    except PanelError as error:
        return render(request, "backups/snapshot_browse.html", context | {"error": error}, status=503)
    older, newer = neighbours(snapshot, request.user)
    entries = [_shown(entry, path) for entry in answer["entries"]]
    context |= {
        "entries": entries,
        "total": answer["total"],
        "first": start + 1 if entries else 0,
        "last": start + len(entries),
        "next_start": start + PAGE if start + PAGE < answer["total"] else None,
        "previous_start": max(0, start - PAGE) if start else None,
        "crumbs": _crumbs(path),
        "older": older,
        "newer": newer,
    }
    return render(request, "backups/snapshot_browse.html", context)


def _asked(request: HttpRequest, snapshot: Snapshot, path: str, query: str, start: int) -> dict[str, Any]:
    common: dict[str, Any] = {
        "user": request.user, "session_key": request.session.session_key, "snapshot": snapshot.pk, "path": path,
    }  # fmt: skip
    if query:
        return ask("search", text=query[:200], count=PAGE, **common)
    return ask("list", start=start, count=PAGE, **common)


def _shown(entry: dict[str, Any], path: str) -> dict[str, Any]:
    try:
        name = os.fsdecode(base64.urlsafe_b64decode(entry["raw"]))
    except (binascii.Error, ValueError) as error:
        raise Http404 from error
    whole = entry.get("path") or f"{path}/{name}".strip("/")
    return entry | {"path": whole, "icon": _icon(entry["kind"], name), "under": whole.rpartition("/")[0]}


def _icon(kind: str, name: str) -> str:
    if kind == "dir":
        return "folder"
    ending = name.rpartition(".")[2].lower()
    if ending in ("png", "jpg", "jpeg", "gif", "webp", "svg"):
        return "photo"
    return (
        "file-zip"
        if ending in ("zip", "gz", "tar", "xz")
        else "file-text"
        if ending in ("txt", "php", "html", "css", "js", "md", "sql")
        else "file"
    )


def _crumbs(path: str) -> list[tuple[str, str]]:
    parts = [part for part in path.split("/") if part]
    return [(part, "/".join(parts[: index + 1])) for index, part in enumerate(parts)]


def _path(given: str) -> str:
    clean = given.strip("/")
    if "\0" in clean or any(part in (".", "..") for part in clean.split("/")):
        raise Http404
    return clean
