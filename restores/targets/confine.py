"""A last wall around a process that restores for a customer: the kernel lets it write below given folders only.

Landlock, where the kernel has it.  It cannot be taken back, and holds for everything the process starts.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION = 1
_BENEATH = 1
_NO_NEW_PRIVILEGES = 38
_WRITE_FILE, _REMOVE_DIR, _REMOVE_FILE = 1 << 1, 1 << 4, 1 << 5
_MAKE = sum(1 << bit for bit in range(6, 13))
_REFER, _TRUNCATE = 1 << 13, 1 << 14


class _Ruleset(ctypes.Structure):
    _fields_ = [("access", ctypes.c_uint64)]


class _Rule(ctypes.Structure):
    _pack_ = 1
    _fields_ = [("access", ctypes.c_uint64), ("folder", ctypes.c_int32)]


_libc = ctypes.CDLL(None, use_errno=True)


def confine_writes(folders: Iterable[str | bytes | os.PathLike[str]]) -> bool:
    """Let this thread and its children write nowhere but below ``folders``; False if the kernel cannot.

    Reading is not restricted, and what is open for writing stays so.  Call it before any other thread is
    started.  Raises OSError if the kernel could and refuses, or a folder cannot be opened.
    """
    version = _libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), _VERSION)
    if version < 1:
        return False
    access = _WRITE_FILE | _REMOVE_DIR | _REMOVE_FILE | _MAKE
    access |= (_REFER if version >= 2 else 0) | (_TRUNCATE if version >= 3 else 0)
    rules = _checked(_libc.syscall(_CREATE_RULESET, ctypes.byref(_Ruleset(access)), ctypes.c_size_t(8), 0))
    try:
        for folder in folders:
            fd = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                _checked(_libc.syscall(_ADD_RULE, rules, _BENEATH, ctypes.byref(_Rule(access, fd)), 0))
            finally:
                os.close(fd)
        _checked(_libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0))
        _checked(_libc.syscall(_RESTRICT_SELF, rules, 0))
    finally:
        os.close(rules)
    return True


def _checked(answer: int) -> int:
    if answer < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return answer
