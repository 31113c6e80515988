"""Downloads: the list, and the files themselves."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from django.contrib import messages
from django.core.paginator import Paginator
from django.http import FileResponse, Http404, HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST

from panel.options.selectors import number
from restores.downloads import download_remove, downloads_kept, downloads_of, note_fetch, path_of
from worker.clock import now
from worker.states import LIVE

_RANGE = re.compile(r"bytes=(\d{1,18})-(\d{0,18})").fullmatch
_BLOCK = 1 << 18


def download_list(request: HttpRequest) -> HttpResponse:
    """List the downloads a viewer has."""
    page = Paginator(downloads_of(request.user), 50).get_page(request.GET.get("page"))
    for download in page:
        download.is_ready = path_of(download) is not None
    context = {
        "page": page,
        "building": any(download.job.state in LIVE for download in page),
        "days": number("download_days"),
        "kept": downloads_kept(),
    }
    part = "restores/download_list.html#rows" if request.headers.get("HX-Request") else "restores/download_list.html"
    return render(request, part, context)


def download_file(request: HttpRequest, number: int) -> HttpResponseBase:
    """Send the archive of a download, or the part of it that a resumed transfer asks for."""
    download = get_object_or_404(downloads_of(request.user), pk=number)
    path = path_of(download)
    if path is None or (download.expires_at is not None and download.expires_at <= now()):
        raise Http404
    if not request.user.is_admin and not download.account.package.may_download:
        raise Http404
    wanted = _RANGE(request.headers.get("Range", ""))
    if wanted is None:
        note_fetch(download, actor=request.user, moment=now())
    response = _partial(path, wanted) if wanted else FileResponse(path.open("rb"))
    response["Content-Type"] = "application/zip" if download.format == "zip" else "application/gzip"
    response["Content-Disposition"] = f'attachment; filename="{download.name}"'
    response["X-Content-Type-Options"] = "nosniff"
    response["Accept-Ranges"] = "bytes"
    response["Cache-Control"] = "private, no-store"
    return response


@require_POST
def download_delete(request: HttpRequest, number: int) -> HttpResponse:
    """Remove a download before its time."""
    download = get_object_or_404(downloads_of(request.user), pk=number)
    if download.job.state in LIVE:
        messages.error(request, "This download is still being built; cancel it first.")
    else:
        download_remove(download, actor=request.user, moment=now())
        messages.info(request, f"“{download.name}” was removed.")
    return redirect("restores:download_list")


def _partial(path: Path, wanted: re.Match[str]) -> HttpResponseBase:
    size = path.stat().st_size
    first = int(wanted[1])
    last = min(int(wanted[2]), size - 1) if wanted[2] else size - 1
    if first > last:
        return HttpResponse(status=416, headers={"Content-Range": f"bytes */{size}"})
    file = path.open("rb")
    file.seek(first)
    response = StreamingHttpResponse(_blocks(file, last - first + 1), status=206)
    response["Content-Length"] = str(last - first + 1)
    response["Content-Range"] = f"bytes {first}-{last}/{size}"
    return response


def _blocks(file: BinaryIO, left: int) -> Iterator[bytes]:
    with file:
        while left > 0 and (block := file.read(min(_BLOCK, left))):
            left -= len(block)
            yield block
