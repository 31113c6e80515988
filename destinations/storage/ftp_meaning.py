"""What the refusals of FTP servers mean: the numbers say little, so their words are read as well."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from destinations.storage.errors import (
    AccessDenied,
    FolderNotWritable,
    ObjectMissing,
    QuotaExceeded,
    StoreError,
    StoreFull,
)
from destinations.storage.ftp_control import Refused

DENIED = re.compile(
    r"denied|permission|not permitted|not allowed|forbidden|access is|read-?only|refused", re.IGNORECASE
)
ABSENT = re.compile(r"no such|not found|not exist|n't exist|cannot find|can't find", re.IGNORECASE)
QUOTA = re.compile(r"quota|exceeded", re.IGNORECASE)
# Pure-FTPd says no more than that it could not write.
FULL = re.compile(r"no space|disk full|insufficient|not enough|full\b|write to file", re.IGNORECASE)


@contextmanager
def told(key: str, *, writing: bool = False) -> Iterator[None]:
    """Say in our errors what a refusal means."""
    try:
        yield
    except Refused as refused:
        raise _meaning(refused, key, writing) from None


def _meaning(refused: Refused, key: str, writing: bool) -> StoreError:
    said = f"{key or 'the folder'}: {refused.said}"
    if refused.reply == 552 or (writing and QUOTA.search(refused.said)):
        kind = QuotaExceeded if QUOTA.search(refused.said) else StoreFull
        return kind(said, key=key)
    if writing and FULL.search(refused.said):
        return StoreFull(said, key=key)
    if DENIED.search(refused.said) or refused.reply in (530, 532, 553):
        return (FolderNotWritable if writing else AccessDenied)(said, key=key)
    if writing and refused.reply == 550:
        return FolderNotWritable(said, key=key)
    if refused.reply == 550 or ABSENT.search(refused.said):
        return ObjectMissing(f"{key} is not there", key=key)
    text = f"{key or 'the folder'}: the server answered {refused.reply} {refused.said}"
    return StoreError(text, key=key, temporary=refused.temporary)
