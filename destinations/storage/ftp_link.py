"""One connection to an FTP server: the control channel, and a data channel per transfer."""

from __future__ import annotations

import ftplib
import re
import select
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime

from destinations.storage.base import Pace, blocks_of
from destinations.storage.config import FtpConfig
from destinations.storage.connect import connection_error, dial, dial_address, is_silent, send_all, wait_until_sent
from destinations.storage.errors import (
    LoginRefused,
    ServerBusy,
    StoreError,
    StoreFull,
    StoreUnreachable,
    TlsFailed,
)
from destinations.storage.ftp_control import Control, Refused
from destinations.storage.ftp_meaning import FULL
from destinations.storage.tls import check_pins, context_for, fingerprint_of, tls_error

BLOCK = 256 << 10
_BROKEN = (OSError, EOFError, ftplib.Error, ValueError)
_ASK_AFTER_REST = 30.0
_DRAWS = 5
_LONGEST_LISTING = 64 << 20
_TOO_MANY = re.compile(r"too many|maximum|limit|connections|try again|busy", re.IGNORECASE)
_DIGEST = re.compile(r"\b[0-9a-f]{64}\b")
_CUT = re.compile(r"data (?:connection|channel)|transfer aborted|broken pipe|connection reset", re.IGNORECASE)
_WANTS_TLS = re.compile(r"\b(?:ssl|tls|encrypt\w*|secure\w*)\b", re.IGNORECASE)


class FtpLink:
    """A logged-in connection.  Used by one thread at a time."""

    def __init__(self, config: FtpConfig, count: Callable[[], None]) -> None:
        """Prepare; :meth:`greet`, :meth:`secure` and :meth:`login` follow in this order."""
        self._config = config
        self._place = f"{config.host} port {config.port}"
        self._context = context_for(verify=config.verify, ca=config.ca, pins=config.pins)
        self._control = Control(self._context, config.timeout, count)
        self._used_at = time.monotonic()
        self._closed = False
        self.features: frozenset[str] = frozenset()

    # getting there

    def greet(self) -> str:
        """Connect, and return the server's greeting; ServerBusy if it has no place."""
        connection = dial(self._config.host, self._config.port, self._config.reach(), self._config.timeout)
        with self._translated(busy=True):
            self._control.take(connection, self._config.host)
            self._peer = connection.getpeername()[0]
            return self._control.getresp()

    def secure(self) -> str:
        """Switch to TLS, and return version and fingerprint; the errors of :mod:`~destinations.storage.tls`."""
        try:
            self._control.auth()
            self._control.reopen()
        except ftplib.error_perm as error:
            raise TlsFailed(f"{self._place} offers no TLS ({_said(error)})") from None
        except (ssl.SSLError, TimeoutError, ConnectionError) as error:
            raise tls_error(error, self._place) from None
        except _BROKEN as error:
            raise StoreUnreachable(f"{self._place}: the connection broke while it was being secured") from error
        assert isinstance(self._control.sock, ssl.SSLSocket)
        check_pins(self._control.sock, self._config.pins, self._place)
        return f"{self._control.sock.version()}, certificate SHA256 {fingerprint_of(self._control.sock)}"

    def login(self, features: frozenset[str] | None = None) -> None:
        """Log in and set the modes; ``features`` are the server's if known.  LoginRefused, ServerBusy, TlsFailed."""
        self._log_in()
        with self._translated(busy=True):
            if self._config.tls:
                self._control.prot_p()
            self.features = self._ask_features() if features is None else features
            if "UTF8" in self.features:
                with suppress(ftplib.error_perm):
                    self._control.sendcmd("OPTS UTF8 ON")
            self._control.voidcmd("TYPE I")

    def _log_in(self) -> None:
        try:
            with self._translated(busy=True):
                self._control.login(self._config.user, self._config.password.reveal(), secure=False)
        except Refused as refused:
            password = self._config.password.reveal()
            said = refused.said.replace(password, "***") if password else refused.said
            if _TOO_MANY.search(said):
                raise ServerBusy(f"{self._place} takes no more connections: {said}") from None
            if not self._config.tls and _WANTS_TLS.search(said):
                raise TlsFailed(f"{self._place} wants a secure connection: {said}") from None
            raise LoginRefused(f"{self._place} refused the log-in of {self._config.user}: {said}") from None

    def _ask_features(self) -> frozenset[str]:
        try:
            answer = self._control.sendcmd("FEAT")
        except ftplib.error_perm:
            return frozenset()
        return frozenset(line.strip().upper().partition(" ")[0] for line in answer.splitlines()[1:-1]) | {
            f"HASH {name.strip('*')}"
            for line in answer.upper().splitlines()
            if line.strip().startswith("HASH ")
            for name in line.strip()[5:].split(";")
        }

    # commands

    def command(self, line: str) -> str:
        """Send a command and return the answer; Refused for 4xx and 5xx, StoreUnreachable if the connection broke."""
        with self._translated():
            return self._control.sendcmd(line)

    def size(self, path: str) -> int:
        """Return the size of a file; Refused."""
        answer = self.command(f"SIZE {path}")
        text = answer[4:].strip()
        if not text.isdecimal():
            raise Refused(550, answer)
        return int(text)

    def changed(self, path: str) -> float | None:
        """Return when a file was changed (epoch seconds), or None if the answer is no time; Refused."""
        answer = self.command(f"MDTM {path}")
        with suppress(ValueError):
            return datetime.strptime(answer[4:18], "%Y%m%d%H%M%S").replace(tzinfo=UTC).timestamp()
        return None

    def sha256(self, path: str) -> str | None:
        """Return the digest that the server reckons, or None if it cannot."""
        if "XSHA256" in self.features:
            answer = self.command(f"XSHA256 {path}")
        elif "HASH SHA-256" in self.features:
            self.command("OPTS HASH SHA-256")
            answer = self.command(f"HASH {path}")
        else:
            return None
        found = _DIGEST.search(answer.lower())
        return found[0] if found else None

    # transfers

    def store(self, path: str, parts: list[memoryview], pace: Pace | None) -> None:
        """Send ``parts`` as the file ``path``; Refused."""
        data = self._transfer(f"STOR {path}")
        try:
            step = pace.up_block(BLOCK) if pace else BLOCK
            with self._translated():
                for block in blocks_of(parts, step):
                    if pace:
                        pace.up(block.nbytes)
                    send_all(data, block)
                _say_end(data, self._config.timeout)
                wait_until_sent(data, self._config.timeout)
        except StoreError:
            self._explain_break(data)
            raise
        else:
            # Closing before the server is done could reset the connection and cost it the last bytes.
            with self._translated():
                self._control.voidresp()
        finally:
            data.close()

    def retrieve(
        self, path: str, take: Callable[[bytes], None], pace: Pace | None, *, offset: int = 0, length: int | None = None
    ) -> bool:
        """Hand the bytes of a file, from ``offset``, to ``take``; stop after ``length`` bytes.  Refused.

        Return whether the end is proven: TLS tells the end from a line that was cut, plain FTP does not.
        """
        small = length is not None and length < 1 << 20
        buffer = max(16 << 10, min(length or 0, 128 << 10)) if small else 0
        data = self._transfer(f"RETR {path}", rest=offset, receive_buffer=buffer)
        left, proven = length, self._config.tls
        try:
            step = pace.down_block(BLOCK) if pace else BLOCK
            with self._translated():
                while left is None or left > 0:
                    try:
                        block = data.recv(step if left is None else min(step, left))
                    except ssl.SSLEOFError:
                        proven, block = False, b""
                    if not block:
                        break
                    if pace:
                        pace.down(len(block))
                    left = None if left is None else left - len(block)
                    take(block)
            if left == 0:
                self._end_early(data)
        finally:
            data.close()
        if left != 0:
            with self._translated():
                self._control.voidresp()
        return proven

    def lines(self, command: str) -> list[str]:
        """Return the lines that a listing command sends over a data channel; Refused."""
        received = bytearray()
        data = self._transfer(command)
        try:
            with self._translated():
                while block := _received(data):
                    received += block
                    if len(received) > _LONGEST_LISTING:
                        raise StoreUnreachable(f"{self._place}: the listing of one folder is beyond all measure")
        finally:
            data.close()
        with self._translated():
            end = self._control.voidresp()
        if "fail" in end.lower():
            raise Refused(550, end[4:])
        if received and not received.endswith(b"\n"):
            raise StoreUnreachable(f"{self._place}: a listing was cut off")
        return received.decode("utf-8", "replace").splitlines()

    def _transfer(self, command: str, *, rest: int = 0, receive_buffer: int = 0) -> socket.socket:
        """Open a data channel for ``command``; it is secured when the control channel is."""
        with self._translated():
            if self._config.passive:
                port = self._offered_port()
                # The address in the answer is ignored: the server we logged in to is the one we talk to.
                data = dial_address([self._peer], port, self._config.timeout, receive_buffer=receive_buffer)
                try:
                    self._begin(command, rest)
                except BaseException:
                    data.close()
                    raise
            else:
                data = self._transfer_active(command, rest)
        return self._secured_data(data) if self._config.tls else data

    def _offered_port(self) -> int:
        """Return the port that the server listens on for us.

        Servers draw it by lot, and two sessions may draw the same at one moment: 425. Nothing moved yet; ask again.
        """
        for _ in range(_DRAWS - 1):
            try:
                return int(self._control.makepasv()[1])
            except ftplib.error_temp as error:
                if _reply(error) != 425:
                    raise
        return int(self._control.makepasv()[1])

    def _transfer_active(self, command: str, rest: int) -> socket.socket:
        with self._control.makeport() as listening:
            self._begin(command, rest)
            listening.settimeout(self._config.timeout)
            data, caller = listening.accept()
        data.settimeout(self._config.timeout)
        if caller[0] != self._peer:
            data.close()
            raise StoreUnreachable(f"{self._place}: somebody else answered on the data channel")
        return data

    def _begin(self, command: str, rest: int) -> None:
        if rest:
            self._control.sendcmd(f"REST {rest}")
        answer = self._control.sendcmd(command)
        if answer.startswith("2"):
            answer = self._control.getresp()
        if not answer.startswith("1"):
            raise ftplib.error_reply(answer)  # noqa: S321 - only the name of an error

    def _secured_data(self, data: socket.socket) -> ssl.SSLSocket:
        control = self._control.sock
        assert isinstance(control, ssl.SSLSocket)
        try:
            # Many servers insist that the data channel goes on with the session of the control channel.
            wrapped = self._context.wrap_socket(
                data, server_hostname=self._config.host, session=control.session, suppress_ragged_eofs=False
            )
        except (OSError, EOFError, ValueError) as error:
            data.close()
            self._explain_break(data)
            raise tls_error(error, self._place) from error
        check_pins(wrapped, self._config.pins, self._place)
        return wrapped

    def _explain_break(self, data: socket.socket) -> None:
        """After the data channel broke, the control channel may tell why (a full disk): raise that instead."""
        data.close()
        if self._control.sock is None:
            return
        self._control.sock.settimeout(min(2.0, self._config.timeout))
        try:
            with self._translated():
                self._control.voidresp()
        except StoreUnreachable:
            pass
        finally:
            self._closed = True

    def _end_early(self, data: socket.socket) -> None:
        """Break a transfer off, and read the answers: one to the transfer, which some servers leave out, one to ABOR.

        Only closing the data channel would do for most servers, but some then wait for long.
        """
        try:
            self._control.putcmd("ABOR")
            data.close()
            answer = self._control.getmultiline()
            if not (answer.startswith("225") or (answer.startswith("226") and "ABOR " in answer.upper())):
                assert self._control.sock is not None
                self._control.sock.settimeout(min(5.0, self._config.timeout))
                self._control.getmultiline()
                self._control.sock.settimeout(self._config.timeout)
        except _BROKEN:
            self._closed = True

    # the pool's side

    def usable(self) -> bool:
        """Say whether the connection still stands; after a longer rest the server is asked."""
        if self._closed or self._control.sock is None or not is_silent(self._control.sock):
            return False
        if time.monotonic() - self._used_at > _ASK_AFTER_REST:
            try:
                self.command("NOOP")
            except StoreError:
                return False
        return True

    def close(self) -> None:
        """Send QUIT without waiting for the answer, and close."""
        if self._control.sock is not None and not self._closed:
            with suppress(*_BROKEN):
                self._control.sock.settimeout(1)
                self._control.putcmd("QUIT")
        self.abandon()

    def abandon(self) -> None:
        """Close our copy of the socket, silently."""
        self._closed = True
        with suppress(*_BROKEN):
            self._control.close()

    @contextmanager
    def _translated(self, *, busy: bool = False) -> Iterator[None]:
        try:
            yield
        except ftplib.error_perm as error:
            raise Refused(_reply(error), _said(error)) from None
        except ftplib.error_temp as error:
            raise self._passing(_reply(error), _said(error), busy) from None
        except (ftplib.Error, ValueError, UnicodeError) as error:
            self._closed = True
            raise StoreUnreachable(f"{self._place} does not speak FTP as expected") from error
        except ssl.SSLError as error:
            self._closed = True
            raise StoreUnreachable(f"{self._place}: the secure connection broke ({error.reason})") from error
        except (OSError, EOFError) as error:
            self._closed = True
            raise connection_error(error, self._place) from error
        finally:
            self._used_at = time.monotonic()

    def _passing(self, reply: int, said: str, busy: bool) -> StoreError:
        if reply == 421:
            self._closed = True
            if not self._config.tls and _WANTS_TLS.search(said):
                return TlsFailed(f"{self._place} wants a secure connection: {said}")
            if busy or _TOO_MANY.search(said):
                return ServerBusy(f"{self._place} takes no more connections: {said}")
            return StoreUnreachable(f"{self._place} ended the connection: {said}")
        if reply in (425, 426) or (reply == 451 and _CUT.search(said) and not FULL.search(said)):
            return StoreUnreachable(f"{self._place}: the data channel failed: {said}")
        if reply == 452:
            return StoreFull(f"{self._place}: {said}")
        refused = Refused(reply, said)
        refused.temporary = True
        return refused


def _reply(error: ftplib.Error) -> int:
    text = str(error)[:3]
    return int(text) if text.isdecimal() else 500


def _said(error: ftplib.Error) -> str:
    """Return the server's words, one line, printable and short."""
    words = " ".join(str(error)[4:].split())
    return "".join(letter if letter.isprintable() else "?" for letter in words)[:200]


def _received(data: socket.socket) -> bytes:
    try:
        return data.recv(BLOCK)
    except ssl.SSLEOFError:
        return b""


def _say_end(data: socket.socket, timeout: float) -> None:
    """Tell the server that nothing more comes; for TLS send the closing alert, and do not wait for the server's."""
    if isinstance(data, ssl.SSLSocket):
        data.settimeout(0)
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            try:
                data.unwrap()
            except ssl.SSLWantWriteError:
                select.select([], [data], [], 1)
                continue
            except (OSError, ValueError):
                pass
            break
    with suppress(OSError):
        data.shutdown(socket.SHUT_WR)
