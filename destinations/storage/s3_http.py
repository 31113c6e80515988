"""One HTTP connection to an S3 service.

botocore signs requests and reads answers; the bytes go over these connections, so that the number of connections,
the pace, the addresses that may be reached, certificates and forks are handled as for every other kind.
"""

from __future__ import annotations

import http.client
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import NamedTuple
from urllib.parse import urlsplit

from destinations.storage.base import Pace, blocks_of
from destinations.storage.config import S3Config
from destinations.storage.connect import connection_error, dial, is_silent, send_all, wait_until_sent
from destinations.storage.errors import BadConfig, StoreError, StoreUnreachable
from destinations.storage.tls import context_for, fingerprint_of, secured

BLOCK = 256 << 10
_LONGEST_ANSWER = 16 << 20
_LONGEST_REST = 45.0
_DROPPED_HEADERS = frozenset({"expect", "host", "connection"})


class Body:
    """The parts of an object as the file that botocore wants to sign; only these methods are used.

    A context manager: at its end it lets go of the parts, as botocore's own objects live on until they are collected.
    """

    def __init__(self, parts: list[memoryview]) -> None:
        self.parts = parts
        self._size = sum(part.nbytes for part in parts)
        self._blocks: Iterator[memoryview] = iter(())
        self.seek(0)

    def __enter__(self) -> Body:
        return self

    def __exit__(self, *_error: object) -> None:
        self.parts, self._blocks = [], iter(())

    def __len__(self) -> int:
        return self._size

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes, about ``size``: one block of a part."""
        del size
        return bytes(next(self._blocks, b""))

    def seek(self, offset: int, whence: int = 0) -> int:
        """Go to the beginning; other places are not needed."""
        if offset or whence:
            raise ValueError("only the beginning can be sought")
        self._blocks = (block for block in blocks_of(self.parts, 1 << 20) if block.nbytes)
        return 0

    def tell(self) -> int:
        """Return the beginning: signing goes back to where it started."""
        return 0


class Target(NamedTuple):
    """Where a request goes."""

    scheme: str
    host: str
    port: int


def target_of(url: str) -> Target:
    """Return scheme, host and port of a URL; BadConfig."""
    try:
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        raise BadConfig("the endpoint is not a URL") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise BadConfig("the endpoint is not a URL of http or https")
    return Target(parts.scheme, parts.hostname, port)


class Raw:
    """The body of an answer, as botocore reads it."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self._response = response

    def stream(self) -> Iterator[bytes]:
        """Yield the body, which is an answer in XML and not an object."""
        received = 0
        while block := self._response.read(BLOCK):
            received += len(block)
            if received > _LONGEST_ANSWER:
                raise StoreUnreachable("the answer of the service is beyond all measure")
            yield block

    def close(self) -> None:
        """Leave the connection as it is."""


class HttpLink:
    """A connection, opened by the first request.  Used by one thread at a time."""

    def __init__(self, config: S3Config, count: Callable[[], None]) -> None:
        self._config, self._count = config, count
        self._connection: http.client.HTTPConnection | None = None
        self._target: Target | None = None
        self._response: http.client.HTTPResponse | None = None
        self._used_at = time.monotonic()
        self._closed = False
        self.pace: Pace | None = None

    def open(self, target: Target) -> str:
        """Connect; return how."""
        place = f"{target.host} port {target.port}"
        sock = dial(target.host, target.port, self._config.reach(), self._config.timeout)
        how = "connected"
        if target.scheme == "https":
            context = context_for(verify=self._config.verify, ca=self._config.ca, pins=self._config.pins)
            sock = secured(sock, context, target.host, self._config.pins, place)
            how = f"connected with {sock.version()}, certificate SHA256 {fingerprint_of(sock)}"
        self._connection = http.client.HTTPConnection(target.host, target.port, timeout=self._config.timeout)
        self._connection.auto_open = 0
        self._connection.sock = sock
        self._target = target
        return how

    def send(
        self, method: str, url: str, headers: Mapping[str, str], body: Body | bytes | None
    ) -> http.client.HTTPResponse:
        """Send a request and return the answer, with its body still to be read."""
        self._count()
        target = target_of(url)
        if self._connection is None or self._target != target:
            self.abandon()
            self._closed = False
            self.open(target)
        assert self._connection
        with self._translated():
            self._send_head(method, url, headers)
            broke = self._send_body(body)
            try:
                self._response = self._connection.getresponse()
            except TimeoutError:
                raise
            except (OSError, http.client.HTTPException):
                # What broke the sending explains more than the missing answer.
                raise (broke or ConnectionResetError()) from None
            if broke or self._response.will_close:
                self._closed = True
        return self._response

    def _send_head(self, method: str, url: str, headers: Mapping[str, str]) -> None:
        assert self._connection
        parts = urlsplit(url)
        path = parts.path or "/"
        self._connection.putrequest(
            method, f"{path}?{parts.query}" if parts.query else path, skip_host=True, skip_accept_encoding=True
        )
        self._connection.putheader("Host", parts.netloc.rpartition("@")[2])
        for name, value in headers.items():
            if name.lower() not in _DROPPED_HEADERS:
                self._connection.putheader(name, value)
        self._connection.endheaders()

    def _send_body(self, body: Body | bytes | None) -> Exception | None:
        """Send the body; a service that refuses it may hang up early and say why, so an error is only returned."""
        assert self._connection
        if not body:
            return None
        parts = body.parts if isinstance(body, Body) else [memoryview(body)]
        step = self.pace.up_block(BLOCK) if self.pace else BLOCK
        try:
            for block in blocks_of(parts, step):
                if self.pace:
                    self.pace.up(block.nbytes)
                send_all(self._connection.sock, block)
            wait_until_sent(self._connection.sock, self._config.timeout)
        except TimeoutError:
            raise
        except OSError as error:
            return error
        return None

    def receive(self, length: int) -> bytes:
        """Return the next ``length`` bytes of the answer's body; StoreUnreachable if it ends before."""
        assert self._response
        step = self.pace.down_block(BLOCK) if self.pace else max(length, 1)
        blocks: list[bytes] = []
        with self._translated():
            while length > 0:
                block = self._response.read(min(step, length))
                if not block:
                    raise ConnectionResetError
                if self.pace:
                    self.pace.down(len(block))
                blocks.append(block)
                length -= len(block)
        return blocks[0] if len(blocks) == 1 else b"".join(blocks)

    def finish(self) -> None:
        """Be ready for the next request; what is left of an answer is read, or the connection dropped."""
        if self._response is None:
            return
        left = self._response.length
        if left is None or left > BLOCK:
            self._closed = True
        else:
            with suppress(OSError, http.client.HTTPException):
                self._response.read()
        if not self._response.isclosed():
            self._closed = True
        self._response.close()
        self._response = None
        self._used_at = time.monotonic()

    def usable(self) -> bool:
        """Say whether the connection still stands, or has yet to be opened."""
        if self._connection is None:
            return not self._closed
        if self._closed or self._connection.sock is None or not is_silent(self._connection.sock):
            return False
        return time.monotonic() - self._used_at < _LONGEST_REST

    def close(self) -> None:
        """Close the connection."""
        self.abandon()

    def abandon(self) -> None:
        """Close our copy of the socket; HTTP has no farewell."""
        self._closed = True
        if self._connection is not None:
            with suppress(OSError):
                self._connection.close()
        self._connection = self._response = None

    @contextmanager
    def _translated(self) -> Iterator[None]:
        place = f"{self._target.host} port {self._target.port}" if self._target else self._config.endpoint
        try:
            yield
        except StoreError:
            self._closed = True
            raise
        except ssl.SSLError as error:
            self._closed = True
            raise StoreUnreachable(f"{place}: the secure connection broke ({error.reason})") from error
        except OSError as error:
            self._closed = True
            raise connection_error(error, place) from error
        except (http.client.HTTPException, ValueError) as error:
            self._closed = True
            raise StoreUnreachable(f"{place} does not speak HTTP as expected") from error
