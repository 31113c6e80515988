"""What a process of the worker asks of the kernel, and the proof that a worker is the only one of its name."""

from __future__ import annotations

import ctypes
import fcntl
import os
import time
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_SIGKILL = 9
_libc = ctypes.CDLL(None, use_errno=True)


def die_with_parent() -> None:
    """Ask the kernel to kill this process when its parent ends, where the kernel can."""
    if hasattr(_libc, "prctl"):
        _libc.prctl(_PR_SET_PDEATHSIG, _SIGKILL, 0, 0, 0)


def only_one(file: Path, *, patience: float) -> int:
    """Take the lock of ``file`` for as long as this process or a child of it lives; return its descriptor.

    Waits up to ``patience`` seconds.  BlockingIOError if somebody else keeps it.
    """
    fd = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
    deadline = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                os.close(fd)
                raise
            time.sleep(0.1)
        else:
            os.set_inheritable(fd, True)
            return fd
