"""Getting a TCP connection: resolve once, keep to the allowed networks, pin the address."""

from __future__ import annotations

import array
import errno
import fcntl
import ipaddress
import select
import socket
import termios
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from destinations.storage.errors import (
    AddressForbidden,
    BadConfig,
    HostUnknown,
    PortClosed,
    StoreError,
    StoreUnreachable,
    TimedOut,
)

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_NOT_SENT_LOW_WATER = 25  # TCP_NOTSENT_LOWAT, which the socket module does not name.
_MOST_NOT_SENT = 512 << 10

# Translating prefixes: an address inside leads to the IPv4 address in its last four bytes.
_NAT64 = (ipaddress.IPv6Network("64:ff9b::/96"), ipaddress.IPv6Network("64:ff9b:1::/48"))


@dataclass(frozen=True, slots=True)
class Reach:
    """Which addresses a destination may connect to."""

    public_only: bool = False
    """Refuse private, loopback, link-local, metadata and other special addresses, but for ``allowed``."""
    allowed: tuple[str, ...] = ()
    """Networks such as ``10.20.0.0/16`` that an administrator allows besides."""
    networks: tuple[Network, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        try:
            networks = tuple(ipaddress.ip_network(text) for text in self.allowed)
        except ValueError as error:
            raise BadConfig(f"an allowed network is none: {error}") from None
        object.__setattr__(self, "networks", networks)

    def permits(self, address: Address) -> bool:
        """Say whether ``address`` may be connected to."""
        plain = _embedded(address)
        if not self.public_only or any(plain in network for network in self.networks):
            return True
        return plain.is_global and not plain.is_multicast and not plain.is_reserved


def _embedded(address: Address) -> Address:
    """Return the IPv4 address that an IPv6 address stands for, if it does."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if inner is None and any(address in network for network in _NAT64):
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        return inner or address
    return address


def resolve(host: str, reach: Reach) -> list[str]:
    """Return the addresses of ``host`` that ``reach`` permits; HostUnknown, AddressForbidden."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        passing = error.errno == socket.EAI_AGAIN
        raise HostUnknown(f"the host name {host} does not resolve", temporary=passing) from None
    except (UnicodeError, ValueError):
        raise HostUnknown(f"{host!r} is not a host name") from None
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    permitted = [text for text in addresses if reach.permits(ipaddress.ip_address(text.partition("%")[0]))]
    if not permitted:
        raise AddressForbidden(f"{host} is on a network that this destination may not reach")
    return permitted


def dial(host: str, port: int, reach: Reach, timeout: float) -> socket.socket:
    """Return a socket connected to ``host``, without Nagle's delay, with ``timeout`` seconds for every step.

    Each address is tried in turn.  Raises HostUnknown, AddressForbidden, PortClosed, TimedOut, StoreUnreachable.
    """
    return dial_address(resolve(host, reach), port, timeout, name=host)


def dial_address(
    addresses: Sequence[str], port: int, timeout: float, *, name: str = "", receive_buffer: int = 0
) -> socket.socket:
    """Return a socket connected to the first of ``addresses`` that answers.

    ``receive_buffer`` bounds how many bytes the other side may send ahead of what is read; 0 = as the system likes.
    """
    last: StoreError = StoreUnreachable(f"{name} has no address")
    for address in addresses:
        connection = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
        try:
            if receive_buffer:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60)
            # Megabytes waiting in the kernel would hide from us how slow the line is.
            connection.setsockopt(socket.IPPROTO_TCP, _NOT_SENT_LOW_WATER, _MOST_NOT_SENT)
            connection.settimeout(timeout)
            connection.connect((address, port))
        except OSError as error:
            connection.close()
            last = connection_error(error, f"{name or address} port {port}")
        else:
            return connection
    raise last


def connection_error(error: OSError | EOFError, place: str) -> StoreError:
    """Return the error of ours for what broke a connection to ``place``."""
    number = getattr(error, "errno", None)
    if isinstance(error, TimeoutError) or number == errno.ETIMEDOUT:
        return TimedOut(f"{place} did not answer in time")
    if number == errno.ECONNREFUSED:
        return PortClosed(f"{place}: nothing listens there")
    if number in (errno.EHOSTUNREACH, errno.ENETUNREACH):
        return StoreUnreachable(f"{place}: there is no route to this address")
    return StoreUnreachable(f"{place}: the connection broke")


def is_silent(connection: socket.socket) -> bool:
    """Say whether a connection at rest is still good: open, and with nothing unexpected to read."""
    try:
        return not select.select([connection], [], [], 0)[0]
    except (OSError, ValueError):
        return False


def send_all(connection: socket.socket, block: memoryview) -> None:
    """Send the whole block; the socket's timeout counts from the last byte that went out."""
    while block.nbytes:
        block = block[connection.send(block) :]


def wait_until_sent(connection: socket.socket, timeout: float) -> None:
    """Wait until the other side has acknowledged all that was sent; TimeoutError if nothing moves for ``timeout``.

    An answer can only be waited for after that: on a slow line the last bytes take their time.
    """
    left, pause, deadline = 1 << 62, 0.0005, time.monotonic() + timeout
    while (now_left := _unsent(connection)) > 0:
        if now_left < left:
            left, deadline = now_left, time.monotonic() + timeout
        elif time.monotonic() > deadline:
            raise TimeoutError
        if select.select([connection], [], [], pause)[0]:
            return
        pause = min(0.05, pause * 2)


def _unsent(connection: socket.socket) -> int:
    count = array.array("i", [0])
    try:
        fcntl.ioctl(connection, termios.TIOCOUTQ, count)
    except (OSError, ValueError):
        return 0
    return count[0]
