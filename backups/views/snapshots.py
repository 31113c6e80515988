"""Backups → Restore: snapshots, and what is in them."""

from __future__ import annotations

import base64
from typing import Any

from django.db.models import Exists, OuterRef
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.http import urlencode

from backups.choosing import schedule_meant
from backups.models import Schedule, Snapshot, SnapshotKind
from backups.selectors import neighbours, snapshots_visible
from backups.spelling import clean, shown, unspell
from backups.views.looking import look_at
from destinations.models import Destination
from panel.accounts.choosing import KINDS, MOST_IN_A_LIST, SearchInput, account_meant
from panel.accounts.models import Account
from panel.audit.services import record
from panel.core.errors import PanelError, Unavailable
from worker.asking import ask

PAGE = 100
LIST_PAGE = 50
_MOST_CHOICES = 200
_DIGITS = 12
_SORTS = ("name", "size", "date")
_TEXT_LIMIT = 256 << 10
_PICTURE_LIMIT = 2 << 20
PICTURE_POLICY = "default-src 'none'; sandbox"


def snapshot_list(request: HttpRequest) -> HttpResponse:
    """List the restore points a viewer has."""
    chosen = {name: request.GET.get(name, "").strip() for name in ("schedule", "account", "destination", "kind")}
    snapshots = _filtered(snapshots_visible(request.user), chosen, request.user)
    before = request.GET.get("before", "")
    if before.isdecimal():
        edge = snapshots_visible(request.user).filter(pk=int(before)).first()
        if edge is not None:
            snapshots = snapshots.filter(taken_at__lte=edge.taken_at).exclude(pk__gte=edge.pk, taken_at=edge.taken_at)
    found = list(snapshots[: LIST_PAGE + 1])
    filters = {name: value for name, value in chosen.items() if value}
    accounts = list(_accounts(request.user)[: MOST_IN_A_LIST + 1])
    schedules = list(Schedule.objects.visible_to(request.user).present()[: MOST_IN_A_LIST + 1])
    context = {
        "snapshots": found[:LIST_PAGE],
        "next": urlencode(filters | {"before": found[LIST_PAGE - 1].pk}) if len(found) > LIST_PAGE else "",
        "newest": "?" + urlencode(filters) if before else "",
        "schedules": schedules,
        "schedule_search": _search("schedules", request.user, chosen) if len(schedules) > MOST_IN_A_LIST else "",
        "accounts": accounts,
        "search": _search("accounts", request.user, chosen) if len(accounts) > MOST_IN_A_LIST else "",
        "destinations": Destination.objects.all()[:_MOST_CHOICES] if request.user.is_admin else [],
        "kinds": SnapshotKind.choices,
        "chosen": chosen,
        "filtered": bool(filters),
    }
    return render(request, "backups/snapshot_list.html", context)


def snapshot_browse(request: HttpRequest, number: int) -> HttpResponse:
    """Show a folder of a snapshot, or what a search in it finds."""
    snapshot = get_object_or_404(snapshots_visible(request.user), pk=number)
    path, query = _path(request), request.GET.get("q", "").strip()[:200]
    single = request.GET.get("open") == "1"
    if "path" not in request.GET and not query and "web" in snapshot.components:
        path, single = "web", True
    start = int(request.GET["start"]) if request.GET.get("start", "").isdecimal() else 0
    sort = request.GET.get("sort", "name") if request.GET.get("sort") in _SORTS else "name"
    down = request.GET.get("down") == "1"
    older, newer = neighbours(snapshot, request.user)
    context: dict[str, Any] = {
        "snapshot": snapshot, "path": path, "query": query, "older": older, "newer": newer, "sort": sort, "down": down,
        "here": request.get_full_path(), "crumbs": _crumbs(path), "basket": _basket(request),
    }  # fmt: skip
    try:
        if query:
            answer = _ask(request, "search", snapshot, path=path, text=query)
        else:
            answer = _ask(
                request, "list", snapshot, path=path, start=start, count=PAGE, sort=sort, down=down, open_single=single
            )
    except PanelError as error:
        return _not_yet(request, "backups/snapshot_browse.html", context, error)
    context |= _listing(answer, path, query, start, basket=request.session.get("basket") or {}, snapshot=snapshot)
    context |= {"heads": _heads(context["path"], sort, down=down)}
    return render(request, "backups/snapshot_browse.html", context)


def file_versions(request: HttpRequest, number: int) -> HttpResponse:
    """Show the different states of a file or folder in the restore points of its account."""
    snapshot = get_object_or_404(snapshots_visible(request.user), pk=number)
    path = _path(request)
    if not path:
        return redirect("backups:snapshot_browse", snapshot.pk)
    context: dict[str, Any] = {
        "snapshot": snapshot, "path": path, "name": shown(unspell(path.rpartition("/")[2])),
        "folder": path.rpartition("/")[0], "here": request.get_full_path(), "crumbs": _crumbs(path),
    }  # fmt: skip
    try:
        answer = _ask(request, "versions", snapshot, path=path)
    except PanelError as error:
        return _not_yet(request, "backups/file_versions.html", context, error)
    for version in answer["entries"]:
        version["mine"] = any(one["pk"] == snapshot.pk for one in version["snapshots"])
        version["newest"], version["oldest"] = version["snapshots"][0], version["snapshots"][-1]
        version["places"] = sorted({one["place"] for one in version["snapshots"]}) if request.user.is_admin else []
    context |= {"versions": answer["entries"], "missing": answer["missing"]}
    context |= {"searched": answer["searched"], "silent": answer["silent"]}
    return render(request, "backups/file_versions.html", context)


def file_preview(request: HttpRequest, number: int) -> HttpResponse:
    """Show the beginning of a text, or a picture."""
    snapshot = get_object_or_404(snapshots_visible(request.user), pk=number)
    path = _path(request)
    if not path:
        return redirect("backups:snapshot_browse", snapshot.pk)
    name = shown(unspell(path.rpartition("/")[2]))
    context: dict[str, Any] = {
        "snapshot": snapshot, "path": path, "name": name, "folder": path.rpartition("/")[0],
        "crumbs": _crumbs(path), "here": request.get_full_path(),
    }  # fmt: skip
    try:
        answer = _ask(request, "read", snapshot, path=path, limit=_TEXT_LIMIT)
    except PanelError as error:
        return _not_yet(request, "backups/file_preview.html", context, error)
    record("file.viewed", actor=request.user, subject=f"snapshot:{snapshot.pk}", path=path[:300])
    preview = look_at(base64.b64decode(answer["content"][0]))
    if preview.picture and answer["size"] > _PICTURE_LIMIT:
        preview.picture = ""
    context |= {"preview": preview, "size": answer["size"], "changed": answer["changed"], "cut": answer["cut"]}
    return render(request, "backups/file_preview.html", context)


def file_picture(request: HttpRequest, number: int) -> HttpResponse:
    """Send a picture of a snapshot, as what its first bytes say it is, and under a policy that lets it do nothing."""
    snapshot = get_object_or_404(snapshots_visible(request.user), pk=number)
    path = _path(request)
    if not path:
        return redirect("backups:snapshot_browse", snapshot.pk)
    answer = _ask(request, "read", snapshot, path=path, limit=_PICTURE_LIMIT)
    content = base64.b64decode(answer["content"][0])
    kind = look_at(content).picture
    if not kind or answer["cut"]:
        raise Http404
    response = HttpResponse(content, content_type=kind)
    response["Content-Security-Policy"] = PICTURE_POLICY
    response["X-Content-Type-Options"] = "nosniff"
    response["Content-Disposition"] = "inline"
    response["Cross-Origin-Resource-Policy"] = "same-origin"
    return response


def _filtered(snapshots: Any, chosen: dict[str, str], viewer: Any) -> Any:
    if chosen["destination"].isdecimal() and viewer.is_admin:
        snapshots = snapshots.filter(repository__destination=int(chosen["destination"]))
    if chosen["schedule"]:
        snapshots = snapshots.filter(
            schedule__in=schedule_meant(Schedule.objects.visible_to(viewer), chosen["schedule"])
        )
    if chosen["account"].isdecimal():
        snapshots = snapshots.filter(account=int(chosen["account"]))
    elif chosen["account"]:
        mine = Account.objects.visible_to(viewer)
        meant = account_meant(mine, chosen["account"])
        snapshots = snapshots.filter(account__in=[meant] if meant else mine.filter(name=chosen["account"]))
    if chosen["kind"] in SnapshotKind.values:
        snapshots = snapshots.filter(kind=chosen["kind"])
    return snapshots


def _search(kind: str, viewer: Any, chosen: dict[str, str]) -> str:
    """Return the field that searches accounts or schedules, with the name of the one that is chosen."""
    name = KINDS[kind].one
    text = chosen[name]
    number = int(text) if text.isdecimal() and len(text) < _DIGITS else 0
    row = KINDS[kind].offered(viewer).filter(pk=number).first() if number else None
    shown = KINDS[kind].offer(row).text if row else text
    return SearchInput(kind).render(name, shown, {"id": name, "placeholder": "All; type to search"})


def _accounts(viewer: Any) -> Any:
    some = Snapshot.objects.filter(account=OuterRef("pk"), removed_at=None)
    return Account.objects.visible_to(viewer).filter(Exists(some))


def _ask(request: HttpRequest, verb: str, snapshot: Snapshot, **fields: Any) -> dict[str, Any]:
    return ask(verb, user=request.user, session_key=request.session.session_key, snapshot=snapshot.pk, **fields)


def _not_yet(request: HttpRequest, template: str, context: dict[str, Any], error: PanelError) -> HttpResponse:
    """Show the page with an error; one that passes by itself loads the page again."""
    response = render(request, template, context | {"error": error}, status=error.status)
    if isinstance(error, Unavailable):
        response["Refresh"] = "3"
    return response


def _listing(
    answer: dict[str, Any], path: str, query: str, start: int, *, basket: dict[str, Any], snapshot: Snapshot
) -> dict[str, Any]:
    path = answer.get("path", path)
    chosen = {row[1] for row in basket.get("items", []) if row[0] == snapshot.pk}
    entries = [_shown(entry, path, chosen) for entry in answer["entries"]]
    total = answer["total"]
    return {
        "path": path,
        "crumbs": _crumbs(path),
        "entries": entries,
        "total": total,
        "cut": answer.get("cut", False),
        "first": start + 1 if entries else 0,
        "last": start + len(entries),
        "next_start": start + PAGE if not query and start + PAGE < total else None,
        "previous_start": max(0, start - PAGE) if start and not query else None,
    }


def _shown(entry: dict[str, Any], folder: str, chosen: set[str]) -> dict[str, Any]:
    whole = entry.get("path") or (f"{folder}/{entry['raw']}" if folder else entry["raw"])
    above = whole.rpartition("/")[0]
    size = "" if entry["size"] is None else entry["size"]
    return entry | {
        "path": whole,
        "icon": _icon(entry["kind"], entry["name"]),
        "under": shown(unspell(above)),
        "above": above,
        "box": f"{entry['kind']}/{size}/{whole}",
        "chosen": any(whole == path or whole.startswith(path + "/") for path in chosen),
        "can_restore": entry["kind"] != "socket" and "/" in whole,
    }


_ICONS = {
    "photo": ("png", "jpg", "jpeg", "gif", "webp", "svg", "ico"),
    "file-zip": ("zip", "gz", "tar", "xz", "bz2", "zst", "7z"),
    "file-text": ("txt", "php", "html", "htm", "css", "js", "md", "sql", "log", "json", "xml", "yml", "ini", "conf"),
}


def _basket(request: HttpRequest) -> dict[str, int]:
    """Return the figures of the session's basket."""
    rows: list[list[Any]] = (request.session.get("basket") or {}).get("items", [])
    folders = sum(row[2] == "dir" for row in rows)
    return {
        "count": len(rows),
        "size": sum(row[3] or 0 for row in rows),
        "folders": folders,
        "files": len(rows) - folders,
        "points": len({row[0] for row in rows}),
    }


def _icon(kind: str, name: str) -> str:
    if kind == "dir":
        return "folder"
    if kind == "symlink":
        return "link"
    ending = name.rpartition(".")[2].lower()
    return next((icon for icon, endings in _ICONS.items() if ending in endings), "file")


def _crumbs(path: str) -> list[tuple[str, str]]:
    parts = [part for part in path.split("/") if part]
    return [(shown(unspell(part)), "/".join(parts[: index + 1])) for index, part in enumerate(parts)]


def _heads(path: str, sort: str, *, down: bool) -> list[dict[str, str]]:
    """Return the column heads: where a click goes, and how the list stands now."""
    found = []
    for name, label in (("name", "Name"), ("size", "Size"), ("date", "Changed")):
        mine = name == sort
        turned = not down if mine else name != "name"
        query = {"path": path, "sort": name} | ({"down": "1"} if turned else {})
        state = ("descending" if down else "ascending") if mine else "none"
        found.append({"label": label, "href": "?" + urlencode(query), "sort": state, "name": name})
    return found


def _path(request: HttpRequest) -> str:
    try:
        return clean(request.GET.get("path", ""))
    except ValueError as error:
        raise Http404 from error
