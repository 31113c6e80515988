"""A TCP proxy with the habits of bad networks: it delays, throttles, stalls, cuts and corrupts, on demand.

It listens on a loopback address of its own, on the same ports as the server behind it; so FTP's data connections go
through it as well, whether or not anything can read the control connection.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import socket
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from types import TracebackType

_CHUNK = 64 << 10
_numbers = itertools.count(os.getpid() * 16)


def _own_address() -> str:
    """Return a loopback address that no other proxy uses now."""
    number = next(_numbers)
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
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)

    def __enter__(self) -> Proxy:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._open(), self._loop).result(20)
        return self

    def __exit__(self, _kind: type[BaseException] | None, _error: object, _trace: TracebackType | None) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(20)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(20)
        self._loop.close()

    def cut_all(self) -> None:
        """Cut every connection there is."""
        asyncio.run_coroutine_threadsafe(self._cut(), self._loop).result(20)

    def commands(self, port: int) -> list[str]:
        """Return the lines that clients sent to a port that is listened to."""
        return self.traffic.spoken[port].decode("utf-8", "replace").split("\r\n")[:-1]

    async def _open(self) -> None:
        self._servers = []
        for port in self._ports:
            listening = socket.create_server((self.address, port))
            # Little room, so that senders feel how slow the line is.
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _CHUNK)
            server = await asyncio.start_server(
                lambda r, w, port=port: self._take(r, w, port),  # type: ignore[misc]
                sock=listening,
                limit=_CHUNK,
            )
            self._servers.append(server)

    async def _close(self) -> None:
        for server in self._servers:
            server.close()
        await self._cut()

    async def _cut(self) -> None:
        tasks = set(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int) -> None:
        task = asyncio.current_task()
        assert task
        self._tasks.add(task)
        try:
            await self._serve(reader, writer, port)
        except asyncio.CancelledError:
            pass
        finally:
            self._tasks.discard(task)
            _drop(writer)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int) -> None:
        self.traffic.connections += 1
        if self.faults.refusing:
            return
        await asyncio.sleep(2 * self.faults.delay)
        try:
            back_reader, back_writer = await asyncio.open_connection(self._host, port)
        except OSError:
            return
        pumps = [
            asyncio.ensure_future(self._pump(reader, back_writer, port)),
            asyncio.ensure_future(self._pump(back_reader, writer, None)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_EXCEPTION)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            _drop(back_writer)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int | None) -> None:
        """Carry one way; ``port`` is the server's for the way up.  Ends with an error when the connection is cut."""
        loop = asyncio.get_running_loop()
        waiting: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(256)

        async def deliver() -> None:
            while True:
                due, chunk = await waiting.get()
                await asyncio.sleep(max(0.0, due - loop.time()))
                while self.faults.stalled:
                    await asyncio.sleep(0.01)
                if not chunk:
                    if writer.can_write_eof():
                        writer.write_eof()
                    return
                writer.write(chunk)
                await writer.drain()

        delivering = asyncio.ensure_future(deliver())
        carried = 0
        try:
            while chunk := await reader.read(_CHUNK):
                if delivering.done():
                    delivering.result()
                    return
                chunk = self._meddle(chunk, carried, port)
                carried += len(chunk)
                await waiting.put((await self._due(len(chunk), port is not None), chunk))
            await waiting.put((loop.time() + self.faults.delay, b""))
            await delivering
        finally:
            delivering.cancel()
            await asyncio.gather(delivering, return_exceptions=True)

    async def _due(self, size: int, up: bool) -> float:
        """Return when a chunk arrives; waits while the line is busy."""
        now = asyncio.get_running_loop().time()
        if self.faults.rate:
            size = max(size, 1)
            begin = max(now, self._free_at[up])
            self._free_at[up] = begin + size / self.faults.rate
            await asyncio.sleep(self._free_at[up] - now)
            now = self._free_at[up]
        return now + self.faults.delay

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


def _drop(writer: asyncio.StreamWriter) -> None:
    """Reset a connection: the other side sees it break, and does not take it for the end."""
    transport = writer.transport
    transport.abort()
