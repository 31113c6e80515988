"""Giving restored files to other owners, for a process that gave up its rights to restore as a customer.

A helper that stays root is asked over a socket, with the open file.  It gives away only what is the customer's own,
has no second name, and only to owners that the administrator's rules name: a customer gains nothing by asking.
"""

from __future__ import annotations

import array
import os
import select
import socket
import stat
import struct
import time
from collections.abc import Collection, Iterable
from contextlib import suppress

_REQUEST = struct.Struct("<qq")
_LOOK_AGAIN = 0.005
_MOST_WAITING = 200


class Giver:
    """The helper, started before rights are given up."""

    def __init__(self, user: int, allowed: Collection[tuple[int, int]]) -> None:
        self._asking, answering = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._helper = os.fork()
        if self._helper == 0:
            status = 1
            with suppress(BaseException):
                self._asking.close()
                _serve(answering, user, frozenset(allowed))
                status = 0
            os._exit(status)
        answering.close()

    def __call__(self, fd: int, user: int, group: int) -> None:
        """Ask for an open item to become somebody's.  OSError if the helper is gone."""
        self._asking.sendmsg(
            [_REQUEST.pack(user, group)], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))]
        )

    def close(self) -> None:
        """Wait until everything asked for is done."""
        self._asking.close()
        with suppress(ChildProcessError):
            os.waitpid(self._helper, 0)


def _serve(asked: socket.socket, user: int, allowed: frozenset[tuple[int, int]]) -> None:
    waiting: list[tuple[int, tuple[int, int]]] = []
    open_ended = True
    while open_ended or waiting:
        pause = _LOOK_AGAIN if waiting else None
        if open_ended and len(waiting) < _MOST_WAITING and select.select([asked], [], [], pause)[0]:
            request, fds, *_ = socket.recv_fds(asked, _REQUEST.size, 4)
            open_ended = bool(request)
            if request and _REQUEST.unpack(request) in allowed:
                waiting += [(fd, _REQUEST.unpack(request)) for fd in fds]
            else:
                _close(fds)
        elif open_ended and len(waiting) >= _MOST_WAITING:
            time.sleep(_LOOK_AGAIN)
        waiting = [one for one in waiting if _is_nameless(one[0], user, wait=open_ended) or not _given(*one, user)]


def _is_nameless(fd: int, user: int, *, wait: bool) -> bool:
    """Tell whether a file has no name yet: it gets one from its maker, who could not give it one any more."""
    info = os.fstat(fd)
    return wait and stat.S_ISREG(info.st_mode) and info.st_nlink == 0 and info.st_uid == user


def _given(fd: int, wanted: tuple[int, int], user: int) -> bool:
    with suppress(OSError):
        if is_plain(os.fstat(fd), user):
            os.fchown(fd, *wanted)
    _close([fd])
    return True


def _close(fds: Iterable[int]) -> None:
    for fd in fds:
        with suppress(OSError):
            os.close(fd)


def is_plain(info: os.stat_result, user: int) -> bool:
    """Tell whether an item is a user's own folder or file, with one name and without special bits."""
    if info.st_uid != user or info.st_mode & 0o6000:
        return False
    return stat.S_ISDIR(info.st_mode) or (stat.S_ISREG(info.st_mode) and info.st_nlink == 1)
