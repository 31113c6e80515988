"""Files of downloads: where they are, who takes them, and their end of life."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db.models import Q

from panel.audit.services import record
from panel.options.selectors import number
from restores.models import Download
from worker.states import LIVE, State

_STRAY = timedelta(days=1)
_ARCHIVE = re.compile(r"[0-9a-f]{32}\.(zip|tar\.gz)").fullmatch


def downloads_kept() -> int:
    """Return how many finished downloads an account keeps (PRF-07)."""
    return number("downloads_kept")


def downloads_of(viewer: Any) -> Any:
    """Return the downloads a viewer sees: those that can be fetched, are being built, or failed lately."""
    return (
        Download.objects.visible_to(viewer)
        .filter(removed_at=None)
        .select_related("job", "account", "snapshot", "requested_by")
    )


def path_of(download: Download) -> Path | None:
    """Return the file of a download that can be fetched now."""
    if not download.file or download.removed_at is not None or Path(download.file).name != download.file:
        return None
    path = Path(settings.DOWNLOADS_DIR) / download.file
    return path if path.is_file() and not path.is_symlink() else None


def download_remove(download: Download, *, actor: Any, moment: datetime) -> None:
    """Remove a download and its file; its job stays in History."""
    _drop(download, moment)
    record("download.removed", actor=actor, subject=f"account:{download.account.uid}", job=download.job_id)


def note_fetch(download: Download, *, actor: Any, moment: datetime) -> None:
    """Write down that somebody takes the file."""
    Download.objects.filter(pk=download.pk).update(fetched_at=moment)
    record("download.fetched", actor=actor, subject=f"account:{download.account.uid}", job=download.job_id)


def make_room(account_id: int, moment: datetime) -> int:
    """Remove the oldest finished downloads of an account above the number that is kept; return how many went."""
    limit = downloads_kept()
    if limit <= 0:
        return 0
    finished = (
        Download.objects.filter(account=account_id, removed_at=None).exclude(file="").order_by("-ready_at", "-id")
    )
    old = list(finished[limit:])
    for download in old:
        _drop(download, moment)
    return len(old)


def downloads_tick(moment: datetime) -> int:
    """Remove downloads that have expired or failed, and files that belong to none; return how many went."""
    ended = Q(expires_at__lte=moment) | (
        Q(file="", job__finished_at__lte=moment - _STRAY) & ~Q(job__state__in=[*LIVE, State.SUCCESS])
    )
    old = list(Download.objects.filter(removed_at=None).filter(ended).select_related("job")[:500])
    for download in old:
        _drop(download, moment)
    return len(old) + _strays(moment)


def _drop(download: Download, moment: datetime) -> None:
    path = path_of(download)
    if path is not None:
        path.unlink(missing_ok=True)
    Download.objects.filter(pk=download.pk).update(removed_at=moment, file="")


def _strays(moment: datetime) -> int:
    """Remove files that no download has any more, and archives that a worker was killed over."""
    known = set(Download.objects.exclude(file="").values_list("file", flat=True))
    gone = _swept(Path(settings.DOWNLOADS_DIR), moment, lambda name: name not in known)
    return gone + _swept(Path(settings.WORKSPACE_DIR), moment, lambda name: _ARCHIVE(name) is not None)


def _swept(folder: Path, moment: datetime, is_stray: Callable[[str], object]) -> int:
    gone = 0
    with suppress(FileNotFoundError, PermissionError):
        for path in folder.iterdir():
            old = path.lstat().st_mtime < (moment - _STRAY).timestamp()
            if old and is_stray(path.name) and not path.is_dir():
                path.unlink(missing_ok=True)
                gone += 1
    return gone
