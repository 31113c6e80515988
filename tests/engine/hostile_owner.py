"""The owner of a tree who plays against a restore into it, as fast as the machine can, until his standard input ends.

Run as a program: ``python hostile_owner.py FOLDER swap A B [A B …]`` exchanges names, and puts back what the restore
took away; ``… FOLDER steal ITEM…`` puts a hard
link to one of the items in the place of every temporary name.  It says "ready" when
it has begun, and in the end how often it succeeded.
"""

from __future__ import annotations

import ctypes
import itertools
import os
import select
import sys
from collections.abc import Callable
from contextlib import suppress

_RENAMEAT2 = {"x86_64": 316, "aarch64": 276}.get(os.uname().machine, 0)
_EXCHANGE = 2


def swapper(names: list[str]) -> Callable[[], int]:
    """Return a function that exchanges all pairs once."""
    libc = ctypes.CDLL(None, use_errno=True)
    pairs = list(zip(names[::2], names[1::2], strict=True))
    links = {other: os.readlink(other) for _, other in pairs if os.path.islink(other)}

    def swap() -> int:
        done = 0
        for one, other in pairs:
            if not libc.syscall(_RENAMEAT2, -100, one.encode(), -100, other.encode(), _EXCHANGE):
                done += 1
            elif other in links:
                with suppress(OSError):
                    os.symlink(links[other], other)
        return done

    return swap


def stealer(victims: list[str]) -> Callable[[], int]:
    """Return a function that takes every temporary name once, and sometimes lets go of what it put there."""
    tries = itertools.count()
    taken: set[str] = set()

    def steal() -> int:
        stolen = 0
        for name in os.listdir("."):
            if not name.startswith(".holdfast-") or name in taken:
                continue
            taken.add(name)
            turn = next(tries)
            with suppress(OSError):
                os.link(victims[turn % len(victims)], "prepared", follow_symlinks=False)
                os.rename(name, f"stolen-{turn}")
                os.rename("prepared", name)
                stolen += 1
                if turn % 4 == 0:
                    os.unlink(name)
            with suppress(OSError):
                os.unlink("prepared")
        return stolen

    return steal


def main(folder: str, role: str, arguments: list[str]) -> None:
    os.chdir(folder)
    play = swapper(arguments) if role == "swap" else stealer(arguments)
    print("ready", flush=True)
    done = turns = 0
    while True:
        done += play()
        turns += 1
        if turns % 100 == 0 and select.select([0], [], [], 0)[0]:
            print(done, flush=True)
            return


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
