"""A hostile owner: exchanges pairs of names as fast as the machine can, until its standard input ends.

Run as a program: ``python swapper.py FOLDER A B [A B …]``; it says "ready" when it has begun.
"""

from __future__ import annotations

import ctypes
import os
import select
import sys

_RENAMEAT2 = {"x86_64": 316, "aarch64": 276}.get(os.uname().machine, 0)
_EXCHANGE = 2


def _exchanger() -> object:
    libc = ctypes.CDLL(None, use_errno=True)

    def exchange(one: bytes, other: bytes) -> None:
        if _RENAMEAT2 and not libc.syscall(_RENAMEAT2, -100, one, -100, other, _EXCHANGE):
            return
        os.rename(one, b"aside")
        os.rename(other, one)
        os.rename(b"aside", other)

    return exchange


def main(folder: str, names: list[bytes]) -> None:
    os.chdir(folder)
    exchange = _exchanger()
    pairs = list(zip(names[::2], names[1::2], strict=True))
    print("ready", flush=True)
    turns = 0
    while True:
        for one, other in pairs:
            exchange(one, other)  # type: ignore[operator]
        turns += 1
        if turns % 100 == 0 and select.select([0], [], [], 0)[0]:
            print(turns, flush=True)
            return


if __name__ == "__main__":
    main(sys.argv[1], [os.fsencode(name) for name in sys.argv[2:]])
