"""Giving restored files to other owners, for a process that gave up its rights to restore as a customer.

A helper that stays root is asked over a socket, with the open file.  It gives away only what is the customer's own,
has no second name, and only to owners that the administrator's rules name: a customer gains nothing by asking.
"""

from __future__ import annotations

import array
import os
import socket
import stat
import struct
from collections.abc import Collection
from contextlib import suppress

_REQUEST = struct.Struct("<qq")


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
    while True:
        request, fds, *_ = socket.recv_fds(asked, _REQUEST.size, 4)
        if not request:
            return
        wanted = _REQUEST.unpack(request)
        for fd in fds:
            with suppress(OSError):
                if wanted in allowed and is_plain(os.fstat(fd), user):
                    os.fchown(fd, *wanted)
            os.close(fd)


def is_plain(info: os.stat_result, user: int) -> bool:
    """Tell whether an item is a user's own folder or file, without another name and without special bits."""
    if info.st_uid != user or info.st_mode & 0o6000:
        return False
    return stat.S_ISDIR(info.st_mode) or (stat.S_ISREG(info.st_mode) and info.st_nlink < 2)
