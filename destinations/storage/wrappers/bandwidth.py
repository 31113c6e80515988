"""Limits on the bytes a second, up and down, with time frames."""

from __future__ import annotations

import contextlib
import mmap
import os
import struct
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from destinations.storage.base import AcceptsPace, Data, ObjectStore, Pace, size_of
from destinations.storage.forking import SharedLock
from destinations.storage.wrappers.base import Wrapper

_BURST = 0.25
_BLOCKS_A_SECOND = 8
_STATE = struct.Struct("=dd")


@dataclass(frozen=True, slots=True)
class Rates:
    """Bytes a second; 0 = no limit."""

    up: int = 0
    down: int = 0


@dataclass(frozen=True, slots=True)
class Frame:
    """A time of day with rates of its own: from minute ``start`` up to minute ``end`` of the day.

    ``end`` at or before ``start`` runs over midnight.  ``days`` are the weekdays on which it starts, 0 = Monday.
    """

    start: int
    end: int
    rates: Rates
    days: frozenset[int] = frozenset(range(7))

    def holds(self, now: datetime) -> bool:
        """Say whether ``now``, in the zone that the frames are meant in, lies inside."""
        minute, today = now.hour * 60 + now.minute, now.weekday()
        if self.start < self.end:
            return today in self.days and self.start <= minute < self.end
        return (today in self.days and minute >= self.start) or ((today - 1) % 7 in self.days and minute < self.end)


def _now() -> datetime:
    return datetime.now(UTC)


class Throttle:
    """A pace that keeps to rates: over any ten seconds at most 1.1 times the limit.

    Shared by threads and by forked children: the state lies in shared memory, and its lock is one that the
    kernel takes back when its holder is killed.
    """

    def __init__(
        self,
        rates: Rates,
        frames: Sequence[Frame] = (),
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = _now,
        sleep: Callable[[float], None] = time.sleep,
        shared: Path | None = None,
    ) -> None:
        """Use the rates of the first frame that holds, or ``rates``.  ``clock`` must be the same in all children.

        With ``shared``, a file, all processes of the machine that name it keep to the rates together.
        """
        self._rates, self._frames = rates, tuple(frames)
        self._clock, self._now, self._sleep = clock, now, sleep
        self._current, self._valid_until = rates, float("-inf")
        if shared is None:
            self._file = os.memfd_create("pace", os.MFD_CLOEXEC)
        else:
            self._file = os.open(shared, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        os.ftruncate(self._file, _STATE.size)
        self._shared = mmap.mmap(self._file, _STATE.size)
        self._lock = SharedLock(self._file)

    def __del__(self) -> None:
        with contextlib.suppress(AttributeError, OSError, BufferError):
            self._shared.close()
            os.close(self._file)

    def rates(self) -> Rates:
        """Return the rates that hold now."""
        now = self._clock()
        if self._frames and now >= self._valid_until:
            wall = self._now()
            self._current = next((frame.rates for frame in self._frames if frame.holds(wall)), self._rates)
            self._valid_until = now + 60 - wall.second
        return self._current

    def up_block(self, default: int) -> int:
        """Return an eighth of a second's worth, at most ``default``."""
        return _block(self.rates().up, default)

    def down_block(self, default: int) -> int:
        """Return an eighth of a second's worth, at most ``default``."""
        return _block(self.rates().down, default)

    def up(self, count: int) -> None:
        """Wait until ``count`` more bytes may be sent."""
        self._wait(0, count, self.rates().up)

    def down(self, count: int) -> None:
        """Wait until ``count`` bytes just received are within the limit."""
        self._wait(1, count, self.rates().down)

    def _wait(self, way: int, count: int, rate: int) -> None:
        """Book ``count`` bytes behind those booked before, and sleep until their turn.

        The state is the moment at which everything booked has gone out; an unused past is forgotten but for a
        quarter of a second.
        """
        if not rate or not count:
            return
        with self._lock:
            now = self._clock()
            ends = list(_STATE.unpack_from(self._shared))
            ends[way] = max(ends[way], now - _BURST) + count / rate
            _STATE.pack_into(self._shared, 0, *ends)
        pause = ends[way] - now
        if pause > 0:
            self._sleep(pause)


def _block(rate: int, default: int) -> int:
    return max(1, min(default, rate // _BLOCKS_A_SECOND)) if rate else default


class BandwidthStore(Wrapper):
    """Keeps a store to a pace.

    A driver moves its bytes in blocks and lets each be slowed; wrap the driver itself.  A store that cannot is
    charged for whole objects, which keeps the average only.
    """

    def __init__(self, inner: ObjectStore, pace: Pace) -> None:
        """Slow ``inner`` down with ``pace``."""
        super().__init__(inner)
        self._pace: Pace | None = pace
        if isinstance(inner, AcceptsPace):
            inner.set_pace(pace)
            self._pace = None

    def put(self, key: str, data: Data) -> None:
        """Wait as long as the bytes take, then pass on."""
        if self._pace:
            self._pace.up(size_of(data))
        self._inner.put(key, data)

    def get(self, key: str, *, offset: int = 0, length: int | None = None) -> bytes:
        """Pass on, then wait as long as the bytes take."""
        got = self._inner.get(key, offset=offset, length=length)
        if self._pace:
            self._pace.down(len(got))
        return got
