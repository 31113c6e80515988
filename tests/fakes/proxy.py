"""A TCP proxy with the habits of bad networks: it delays, throttles, stalls, cuts and corrupts, on demand.

It listens on a loopback address of its own, on the same ports as the server behind it; so FTP's data connections go
through it as well, whether or not anything can read the control connection.
"""

from __future__ import annotations

import asyncio
import random
import secrets
import socket
import struct
import threading
from collections.abc import Coroutine, Iterable
from dataclasses import dataclass, field
from types import TracebackType

_CHUNK = 64 << 10


def _own_address() -> str:
    """Return a loopback address that no other proxy uses now, in whatever process."""
    number = secrets.randbelow(250**3)
    return f"127.{2 + number // 62500 % 250}.{number // 250 % 250}.{1 + number % 250}"


@dataclass
class Faults:
    """What the network does; may be changed while it runs.  Sizes in bytes, times in seconds."""

    delay: float = 0.0
    """One way; a round trip takes twice as long."""
    rate: float = 0.0
    """Bytes a second each way, over all connections; 0 = as fast as it goes."""
    cut_chance: float = 0.0
    """For every chunk of up to 64 KiB."""
    cut_after: int = 0
    """Cut the connection that carries this many bytes, counted over all; then begin to count anew."""
    cuts_left: int = 1 << 30
    corrupt_chance: float = 0.0
    """For every chunk: flip one bit."""
    corrupt_from: int = 0
    """Corrupt only what comes after so many bytes of a connection: behind handshakes and short commands."""
    corruptions_left: int = 1 << 30
    stall_after: int = 0
    """Stall the connection that carries this many bytes, counted over all; then begin to count anew."""
    stalls_left: int = 1 << 30
    stalled: bool = False
    """Take bytes and pass nothing on."""
    refusing: bool = False
    """Accept connections and close them at once."""


@dataclass
class Traffic:
    """What went through."""

    connections: int = 0
    up: int = 0
    down: int = 0
    cuts: int = 0
    stalls: int = 0
    corruptions: int = 0
    spoken: dict[int, bytearray] = field(default_factory=dict)
    """What clients said to the ports that are listened to."""


class Proxy:
    """Forwards ``ports`` of ``host``.  A context manager; its own thread does the work."""

    def __init__(
        self, ports: Iterable[int], *, host: str = "127.0.0.1", seed: int = 0, listen_to: Iterable[int] = ()
    ) -> None:
        self.faults, self.traffic = Faults(), Traffic()
        self.address = _own_address()
        self._ports, self._host = tuple(ports), host
        self._rng = random.Random(seed)
        self.traffic.spoken = {port: bytearray() for port in listen_to}
        self._counted = 0
        self._free_at = {True: 0.0, False: 0.0}
        self._tasks: set[asyncio.Task[None]] = set()
        self._listening: list[socket.socket] = []

    def __enter__(self) -> Proxy:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._thread.start()
        try:
            self._do(self._open())
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, _kind: type[BaseException] | None, _error: object, _trace: TracebackType | None) -> None:
        self._do(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(20)
        self._loop.close()

    def _do(self, work: Coroutine[None, None, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(20)

    def cut_all(self) -> None:
        """Cut every connection there is."""
        self._do(self._cut())

    def heal(self) -> None:
        """Make the network a good one, for old connections too."""
        self.faults.__dict__.update(vars(Faults()))

    def commands(self, port: int) -> list[str]:
        """Return the lines that clients sent to a port that is listened to."""
        return self.traffic.spoken[port].decode("utf-8", "replace").split("\r\n")[:-1]

    # Bare sockets and no streams of asyncio: whatever is cancelled, and when, each socket has one place that closes it.

    async def _open(self) -> None:
        for port in self._ports:
            listening = socket.create_server((self.address, port))
            self._listening.append(listening)
            # Little room, so that senders feel how slow the line is.
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _CHUNK)
            listening.setblocking(False)
            self._loop.add_reader(listening, self._accept, listening, port)

    async def _close(self) -> None:
        for listening in self._listening:
            self._loop.remove_reader(listening)
            listening.close()
        await self._cut()

    async def _cut(self) -> None:
        tasks = set(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _accept(self, listening: socket.socket, port: int) -> None:
        try:
            near, _ = listening.accept()
        except OSError:
            return
        near.setblocking(False)
        back = socket.socket()
        back.setblocking(False)
        task = self._loop.create_task(self._serve(near, back, port))
        self._tasks.add(task)
        task.add_done_callback(lambda task: self._ended(task, near, back))

    def _ended(self, task: asyncio.Task[None], near: socket.socket, back: socket.socket) -> None:
        """Close both sides, of a task that was cancelled before its first step as well."""
        self._tasks.discard(task)
        cut = task.cancelled() or task.exception() is not None
        for side in (near, back):
            # Some lines break with a reset, some with an end that looks like a proper one.
            if cut and self._rng.random() < 0.5:
                side.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            side.close()

    async def _serve(self, near: socket.socket, back: socket.socket, port: int) -> None:
        self.traffic.connections += 1
        if self.faults.refusing:
            return
        await asyncio.sleep(2 * self.faults.delay)
        await self._loop.sock_connect(back, (self._host, port))
        for side in (near, back):
            side.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        async with asyncio.TaskGroup() as both:
            both.create_task(self._pump(near, back, port))
            both.create_task(self._pump(back, near, None))

    async def _pump(self, source: socket.socket, target: socket.socket, port: int | None) -> None:
        """Carry one way; ``port`` is the server's for the way up.  Ends with an error when the connection is cut."""
        waiting: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(256)
        async with asyncio.TaskGroup() as both:
            both.create_task(self._collect(source, waiting, port))
            both.create_task(self._deliver(waiting, target))

    async def _collect(
        self, source: socket.socket, waiting: asyncio.Queue[tuple[float, bytes]], port: int | None
    ) -> None:
        """Receive chunks, spoil them, and say when each is due; nothing is the end."""
        carried = 0
        while chunk := await self._loop.sock_recv(source, _CHUNK):
            chunk = self._meddle(chunk, carried, port)
            if self._stalls_now():
                await asyncio.sleep(3600)
            carried += len(chunk)
            await waiting.put((await self._due(len(chunk), port is not None), chunk))
        await waiting.put((self._loop.time() + self.faults.delay, b""))

    async def _deliver(self, waiting: asyncio.Queue[tuple[float, bytes]], target: socket.socket) -> None:
        """Send each chunk when it is due, and the end when it comes."""
        while True:
            due, chunk = await waiting.get()
            await asyncio.sleep(max(0.0, due - self._loop.time()))
            while self.faults.stalled:
                await asyncio.sleep(0.01)
            if not chunk:
                target.shutdown(socket.SHUT_WR)
                return
            await self._loop.sock_sendall(target, chunk)

    async def _due(self, size: int, up: bool) -> float:
        """Return when a chunk arrives; waits while the line is busy."""
        now = self._loop.time()
        if self.faults.rate:
            size = max(size, 1)
            begin = max(now, self._free_at[up])
            self._free_at[up] = begin + size / self.faults.rate
            await asyncio.sleep(self._free_at[up] - now)
            now = self._free_at[up]
        return now + self.faults.delay

    def _stalls_now(self) -> bool:
        faults = self.faults
        if not faults.stall_after or faults.stalls_left <= 0 or self._counted < faults.stall_after:
            return False
        self._counted = 0
        faults.stalls_left -= 1
        self.traffic.stalls += 1
        return True

    def _meddle(self, chunk: bytes, carried: int, port: int | None) -> bytes:
        """Count a chunk, and cut or corrupt it."""
        faults, traffic = self.faults, self.traffic
        if port is None:
            traffic.down += len(chunk)
        else:
            traffic.up += len(chunk)
            if port in traffic.spoken:
                traffic.spoken[port] += chunk
        self._counted += len(chunk)
        full = bool(faults.cut_after) and self._counted >= faults.cut_after
        if faults.cuts_left > 0 and (full or self._rng.random() < faults.cut_chance):
            self._counted = 0
            faults.cuts_left -= 1
            traffic.cuts += 1
            raise ConnectionResetError
        meddled = faults.corruptions_left > 0 and carried + len(chunk) > faults.corrupt_from
        if meddled and self._rng.random() < faults.corrupt_chance:
            faults.corruptions_left -= 1
            traffic.corruptions += 1
            place = self._rng.randrange(max(0, faults.corrupt_from - carried), len(chunk))
            return chunk[:place] + bytes([chunk[place] ^ 1 << self._rng.randrange(8)]) + chunk[place + 1 :]
        return chunk
