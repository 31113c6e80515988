"""What came over an SSH channel and is not read yet.

Takes the place of paramiko's own buffer, which copies every byte several times and wakes the reader for each packet; a
reader here wakes once there is as much as it needs.
"""

from __future__ import annotations

import threading

from paramiko.buffered_pipe import PipeTimeout  # type: ignore[import-untyped]


class Inbox:
    """Blocks of bytes in order: one thread feeds, one reads.  The methods are those that a channel calls."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._blocks: list[bytes] = []
        self._size = 0
        self._closed = False
        self.needed = 1
        """How many bytes the next read waits for."""

    def feed(self, data: bytes) -> None:
        """Add what came."""
        with self._changed:
            self._blocks.append(data)
            self._size += len(data)
            if self._size >= self.needed:
                self._changed.notify_all()

    def read(self, nbytes: int, timeout: float | None = None) -> bytes:
        """Return all there is, once it is what is needed; less if the rest does not come within ``timeout`` seconds.

        Raises PipeTimeout if nothing at all came in that time; nothing is the end.
        """
        del nbytes
        with self._changed:
            before = self._size
            enough = self._changed.wait_for(lambda: self._size >= self.needed or self._closed, timeout)
            if not enough and self._size == before:
                raise PipeTimeout
            blocks, self._blocks, self._size = self._blocks, [], 0
        return blocks[0] if len(blocks) == 1 else b"".join(blocks)

    def read_ready(self) -> bool:
        """Say whether there is anything to read."""
        return self._size > 0

    def close(self) -> None:
        """Nothing more will come."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def __len__(self) -> int:
        return self._size
