"""One connection to an SSH server: its identity checked, logged in, with SFTP open."""

from __future__ import annotations

import base64
import hashlib
import hmac
import io
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Self

import paramiko  # type: ignore[import-untyped]

from destinations.storage.config import SftpConfig
from destinations.storage.connect import connection_error, dial
from destinations.storage.errors import (
    AccessDenied,
    BadConfig,
    FingerprintMismatch,
    FingerprintUnknown,
    KeyRefused,
    LoginRefused,
    ServerBusy,
    StoreUnreachable,
    TimedOut,
)
from destinations.storage.sftp_inbox import Inbox
from destinations.storage.sftp_wire import Broken, Status, Wire

_WINDOW = 16 << 20
_PACKET = 128 << 10
_AHEAD = 256 << 10
_ASK_AFTER_REST = 30.0
_CIPHERS = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "aes128-ctr", "aes192-ctr", "aes256-ctr")
_MACS = (
    "hmac-sha2-256-etm@openssh.com",
    "hmac-sha2-512-etm@openssh.com",
    "hmac-sha2-256",
    "hmac-sha2-512",
    "hmac-sha1",
)
_ALGORITHMS = {"ssh-rsa": ("rsa-sha2-512", "rsa-sha2-256")}

# Links inherited by a forked child.  They stay alive, because their ends would write to the parent's connections.
_ORPHANS: list[SftpLink] = []
# What breaks is told by our errors; paramiko would print a traceback of each broken connection besides.
logging.getLogger("paramiko").addHandler(logging.NullHandler())


class _WatchedSocket:
    """A socket for paramiko, which by itself would try to send for ever: gives up when nothing moves."""

    def __init__(self, connection: socket.socket, timeout: float) -> None:
        self._connection, self._timeout = connection, timeout
        self._stuck_since: float | None = None
        self._came = b""
        self._at = 0
        self.gave_up = False

    def send(self, data: bytes) -> int:
        """Send what there is room for; ConnectionError after ``timeout`` seconds without any."""
        try:
            sent = self._connection.send(data)
        except TimeoutError:
            now = time.monotonic()
            self._stuck_since = self._stuck_since or now
            if now - self._stuck_since > self._timeout:
                self.gave_up = True
                raise ConnectionError from None
            raise
        self._stuck_since = None
        return sent

    def recv(self, count: int) -> bytes:
        """Return up to ``count`` bytes.  paramiko asks twice for each packet; the kernel is asked ahead."""
        if self._at >= len(self._came):
            if count >= _AHEAD:
                return self._connection.recv(count)
            self._came, self._at = self._connection.recv(_AHEAD), 0
        start, self._at = self._at, min(self._at + count, len(self._came))
        return self._came[start : self._at]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


class _Pipe:
    """A channel as the protocol uses it."""

    def __init__(self, channel: paramiko.Channel, inbox: Inbox) -> None:
        self._channel, self._inbox = channel, inbox

    def send(self, data: memoryview) -> int:
        """Send some of ``data``, and return how much."""
        return int(self._channel.send(data))

    def recv(self, needed: int) -> bytes:
        """Return all there is once it is as much as ``needed``, or less after a while; nothing at the end."""
        self._inbox.needed = needed
        return bytes(self._channel.recv(needed))


class SftpLink:
    """A connection with SFTP open.  Used by one thread at a time."""

    wire: Wire

    def __init__(self, config: SftpConfig, count: Callable[[], None]) -> None:
        """Prepare; :meth:`steps` follow."""
        self._config, self._count = config, count
        self._place = f"{config.host} port {config.port}"
        self._transport: paramiko.Transport | None = None
        self._channel: paramiko.Channel | None = None
        self._used_at = time.monotonic()
        self._closed = False

    @property
    def in_order(self) -> bool:
        """Whether the server works requests off one after the other, as OpenSSH does."""
        return self._transport is not None and "OpenSSH" in self._transport.remote_version

    # getting there

    @classmethod
    def opened(cls, config: SftpConfig, count: Callable[[], None]) -> Self:
        """Return a connection with SFTP open.  What :meth:`steps` raise."""
        link = cls(config, count)
        try:
            for _ in link.steps():
                pass
        except BaseException:
            link.close()
            raise
        return link

    def steps(self) -> Iterator[str]:
        """Get there step by step, and tell what each found."""
        for step in (self.greet, self.verify, self.login, self.open_sftp):
            yield step()

    def greet(self) -> str:
        """Connect and agree on keys; return the server's version."""
        connection = dial(self._config.host, self._config.port, self._config.reach(), self._config.timeout)
        self._socket = _WatchedSocket(connection, self._config.timeout)
        try:
            transport = self._transport = paramiko.Transport(self._socket)
        except (paramiko.SSHException, OSError) as error:
            connection.close()
            raise StoreUnreachable(f"{self._place} does not speak SSH") from error
        transport.banner_timeout = transport.handshake_timeout = transport.auth_timeout = self._config.timeout
        options = transport.get_security_options()
        options.ciphers, options.digests = _CIPHERS, _MACS
        options.key_types = self._key_types(tuple(options.key_types))
        try:
            transport.start_client(timeout=self._config.timeout)
        except paramiko.IncompatiblePeer:
            raise BadConfig(f"{self._place} offers no cipher or key that is safe enough") from None
        except paramiko.SSHException as error:
            raise self._no_handshake(error) from error
        except (OSError, EOFError) as error:
            raise connection_error(error, self._place) from error
        return str(transport.remote_version)

    def _key_types(self, known: tuple[str, ...]) -> tuple[str, ...]:
        """Ask first for identities of the kinds that are pinned; else another of the server's would come."""
        pinned: list[str] = []
        for pin in self._config.host_keys:
            kind = pin.split()[0] if " " in pin.strip() else ""
            pinned += [name for name in _ALGORITHMS.get(kind, (kind,)) if name in known and name not in pinned]
        return (*pinned, *(name for name in known if name not in pinned))

    def _no_handshake(self, error: paramiko.SSHException) -> Exception:
        text = str(error)
        if "banner" in text:
            if isinstance(error.__context__, TimeoutError) or "timeout" in text.lower():
                return TimedOut(f"{self._place} did not answer in time")
            # A server with too many connections hangs up without a word.
            return ServerBusy(f"{self._place} ended the connection before it said anything")
        return StoreUnreachable(f"{self._place}: the connection broke while it was being secured")

    def verify(self) -> str:
        """Compare the server's identity with the confirmed ones; FingerprintUnknown, FingerprintMismatch."""
        assert self._transport
        key = self._transport.get_remote_server_key()
        kind, shown = key.get_name(), fingerprint_of(key.asbytes())
        named = f"{kind} {shown}"
        if not self._config.host_keys:
            raise FingerprintUnknown(f"{self._place} shows the identity {named}", fingerprint=named)
        if not any(matches(pin, kind, key.asbytes()) for pin in self._config.host_keys):
            text = f"{self._place} shows the identity {named}, which is not the confirmed one"
            raise FingerprintMismatch(text, fingerprint=named)
        return named

    def login(self) -> str:
        """Log in with key, agent or password, in this order; KeyRefused, LoginRefused.  Return how."""
        assert self._transport
        tried = ""
        for how, attempt in self._ways():
            tried = how
            with self._translated():
                try:
                    attempt()
                except paramiko.AuthenticationException as error:
                    if "timeout" in str(error).lower():
                        raise TimedOut(f"{self._place} did not answer in time") from None
            if self._transport.is_authenticated():
                return f"logged in as {self._config.user} with {how}"
            if not self._transport.is_active():
                break
        if tried == "the key":
            raise KeyRefused(f"{self._place} refused the key of {self._config.user}")
        raise LoginRefused(f"{self._place} refused the log-in of {self._config.user}")

    def _ways(self) -> Iterator[tuple[str, Callable[[], object]]]:
        transport, config = self._transport, self._config
        assert transport
        if config.private_key:
            key = load_key(config.private_key.reveal(), config.passphrase.reveal())
            yield "the key", lambda: transport.auth_publickey(config.user, key)
        if config.agent:
            agent = paramiko.Agent()
            try:
                for agent_key in agent.get_keys():
                    yield "the agent", lambda key=agent_key: transport.auth_publickey(config.user, key)  # type: ignore[misc]
            finally:
                agent.close()
        if config.password:
            yield "the password", lambda: transport.auth_password(config.user, config.password.reveal())

    def open_sftp(self) -> str:
        """Open SFTP; AccessDenied if the user may not use it."""
        assert self._transport
        try:
            channel = self._channel = self._transport.open_session(_WINDOW, _PACKET, self._config.timeout)
            channel.settimeout(self._config.timeout)
            inbox = channel.in_buffer = Inbox()
            channel.invoke_subsystem("sftp")
        except paramiko.SSHException as error:
            if self._transport.is_active():
                raise AccessDenied(f"{self._place}: {self._config.user} may not use SFTP") from None
            raise StoreUnreachable(f"{self._place} ended the connection") from error
        except (OSError, EOFError) as error:
            raise connection_error(error, self._place) from error
        with self.translated():
            self.wire = Wire(_Pipe(channel, inbox), self._count)
        self._transport.set_keepalive(30)
        return f"SFTP with {len(self.wire.extensions)} extensions"

    # the pool's side

    @property
    def alive(self) -> bool:
        """Whether the connection stands, as far as is known."""
        if self._closed or not self._transport or not self._channel:
            return False
        return bool(self._transport.is_active()) and not self._channel.closed

    def usable(self) -> bool:
        """Say whether the connection still stands; after a longer rest the server is asked."""
        if not self.alive:
            return False
        if time.monotonic() - self._used_at > _ASK_AFTER_REST:
            try:
                with self.translated():
                    self.wire.realpath(b".")
            except (StoreUnreachable, Status):
                return False
        return True

    def close(self) -> None:
        """End the connection."""
        self._closed = True
        if self._transport:
            with suppress(Exception):
                self._transport.close()

    def abandon(self) -> None:
        """Close our copy of the socket, silently, and never let paramiko speak over it again."""
        self._closed = True
        if self._transport:
            with suppress(OSError):
                self._transport.sock.close()
        if self._channel:
            self._channel.lock = threading.Lock()
            self._channel.closed = True
        _ORPHANS.append(self)

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Turn what breaks the stream into our errors; statuses of the server pass."""
        with self._translated():
            yield

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except Broken as error:
            self._closed = True
            raise StoreUnreachable(f"{self._place}: {error}") from error
        except paramiko.AuthenticationException:
            raise
        except paramiko.SSHException as error:
            self._closed = True
            raise StoreUnreachable(f"{self._place}: the connection broke") from error
        except (OSError, EOFError) as error:
            self._closed = True
            if self._socket.gave_up:
                raise TimedOut(f"{self._place} takes no more bytes") from error
            raise connection_error(error, self._place) from error
        finally:
            self._used_at = time.monotonic()


def fingerprint_of(key: bytes) -> str:
    """Return the fingerprint of a public key as OpenSSH shows it: ``SHA256:…``."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(key).digest()).decode().rstrip("=")


def matches(pin: str, kind: str, key: bytes) -> bool:
    """Say whether a confirmed identity (``[kind ]SHA256:…`` or ``kind AAAA…``) is that of a key."""
    words = pin.split()
    if len(words) > 1 and words[0] != kind:
        return False
    text = words[1] if len(words) > 1 else words[0] if words else ""
    if not text.startswith("SHA256:"):
        try:
            text = fingerprint_of(base64.b64decode(text, validate=True))
        except ValueError:
            return False
    return hmac.compare_digest(text.rstrip("=").encode(), fingerprint_of(key).encode())


def load_key(text: str, passphrase: str) -> paramiko.PKey:
    """Return a private key; BadConfig if it cannot be read or its passphrase is wrong."""
    for kind in (paramiko.Ed25519Key, paramiko.ECDSAKey, paramiko.RSAKey):
        try:
            return kind.from_private_key(io.StringIO(text), password=passphrase or None)
        except paramiko.PasswordRequiredException:
            raise BadConfig("the private key needs its passphrase") from None
        except (paramiko.SSHException, ValueError, TypeError, IndexError):
            continue
    raise BadConfig("the private key cannot be read: its form is unknown, or its passphrase is wrong")
