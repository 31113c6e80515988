"""ftplib's control channel, with a socket from outside, and the refusal of a command."""

from __future__ import annotations

import ftplib
import socket
import ssl
from collections.abc import Callable

from destinations.storage.errors import StoreError


class Refused(StoreError):
    """A command was answered with a refusal; ``reply`` is its number, ``said`` the server's text."""

    def __init__(self, reply: int, said: str) -> None:
        super().__init__(f"the server answered {reply} {said}")
        self.reply, self.said = reply, said


class Control(ftplib.FTP_TLS):
    """ftplib's control channel, with the socket from outside and texts of any encoding."""

    def __init__(self, context: ssl.SSLContext, timeout: float, count: Callable[[], None]) -> None:
        super().__init__(context=context, timeout=timeout, encoding="utf-8")
        self._count = count

    def take(self, connection: socket.socket, host: str) -> None:
        """Speak over ``connection``."""
        self.host, self.sock, self.af = host, connection, connection.family
        self.reopen()

    def reopen(self) -> None:
        """Read replies from the present socket, whatever bytes they hold."""
        assert self.sock is not None
        self.file = self.sock.makefile("r", encoding="utf-8", errors="replace", newline="\n")

    def putcmd(self, line: str) -> None:
        """Send a command, and count it."""
        self._count()
        super().putcmd(line)
