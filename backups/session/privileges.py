"""Giving up rights: a restore that a customer started writes with that customer's rights and no others."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager

_PR_SET_PDEATHSIG, _PR_SET_KEEPCAPS, _PR_SET_NO_NEW_PRIVS = 1, 8, 38
_CAP_VERSION_3 = 0x20080522
_CAP_DAC_OVERRIDE, _CAP_DAC_READ_SEARCH = 1, 2
_READING, _LIFTED = 1 << _CAP_DAC_READ_SEARCH, 1 << _CAP_DAC_OVERRIDE
_libc = ctypes.CDLL(None, use_errno=True)


class _Header(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint32), ("pid", ctypes.c_int)]


class _Data(ctypes.Structure):
    _fields_ = [("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32)]


def die_with_parent() -> None:
    """Ask the kernel to kill this process when its parent ends."""
    _call(_libc.prctl, _PR_SET_PDEATHSIG, 9, 0, 0, 0)


def become(user: int, group: int, *, may_lift: bool = False) -> None:
    """Become an account, for good.  As root, the right to read every file stays: the repository is root's.

    With ``may_lift``, :func:`lifted` can be used.  Raises OSError; a process that is not root can only stay who it is.
    """
    if os.geteuid() != 0:
        if os.geteuid() != user:
            raise PermissionError(1, "only root can restore with the rights of another user")
        return
    _call(_libc.prctl, _PR_SET_KEEPCAPS, 1, 0, 0, 0)
    os.setgroups([])
    os.setresgid(group, group, group)
    os.setresuid(user, user, user)
    _set_rights(_READING, _READING | (_LIFTED if may_lift else 0))
    _call(_libc.prctl, _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


@contextmanager
def lifted() -> Iterator[None]:
    """Let this thread change what is in a folder whose permissions are taken away, as its owner could before."""
    _set_rights(_READING | _LIFTED, _READING | _LIFTED)
    try:
        yield
    finally:
        _set_rights(_READING, _READING | _LIFTED)


def _set_rights(effective: int, permitted: int) -> None:
    data = (_Data * 2)(_Data(effective, permitted, 0), _Data(0, 0, 0))
    _call(_libc.capset, ctypes.byref(_Header(_CAP_VERSION_3, 0)), ctypes.byref(data))


def _call(function: object, *args: object) -> None:
    if function(*args) != 0:  # type: ignore[operator]
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
