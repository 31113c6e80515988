"""Installing a key of our own on an SSH server, with the password that is needed once for it."""

from __future__ import annotations

import re

import msgspec
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from destinations.storage.config import Secret, SftpConfig
from destinations.storage.errors import AccessDenied, BadConfig, FolderNotWritable
from destinations.storage.sftp_link import SftpLink
from destinations.storage.sftp_wire import NO_SUCH_FILE, OK, Status

_PUBLIC = re.compile(r"(?:ssh|ecdsa)-[a-z0-9-]+ [A-Za-z0-9+/=]+(?: [\x21-\x7e ]*)?")
_LONGEST_FILE = 1 << 20


def make_key(comment: str) -> tuple[Secret, str]:
    """Return a new Ed25519 key: the private part in OpenSSH's form, and the line for ``authorized_keys``."""
    key = ed25519.Ed25519PrivateKey.generate()
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    kept = "".join(letter if letter.isalnum() or letter in "-_.@" else "-" for letter in comment)
    return Secret(private.decode()), f"{public.decode()} {kept}"


def install_key(config: SftpConfig, private: Secret, public: str) -> SftpConfig:
    """Add ``public`` to the user's ``authorized_keys``, log in with ``private``, and return settings that do so.

    The settings returned hold no password.  Repeating is harmless.  Raises what a log-in raises, FolderNotWritable,
    and KeyRefused if the server does not take the key that was installed.
    """
    if not _PUBLIC.fullmatch(public):
        raise BadConfig("this is not the line of a public key")
    link = SftpLink.opened(config, _uncounted)
    try:
        _add_line(link, public)
    finally:
        link.close()
    settled = msgspec.structs.replace(config, password=Secret(""), passphrase=Secret(""), private_key=private)
    SftpLink.opened(settled, _uncounted).close()
    return settled


def _uncounted() -> None:
    """Requests for the key are nobody's traffic."""


def _add_line(link: SftpLink, line: str) -> None:
    """Replace ``.ssh/authorized_keys`` by one with our line at its end, by rename, so that nobody is locked out."""
    with link.translated():
        try:
            wire = link.wire
            wire.code(wire.mkdir(b".ssh", 0o700))
            present = _read(link, b".ssh/authorized_keys")
            if line.split()[1].encode() in present:
                return
            if present and not present.endswith(b"\n"):
                present += b"\n"
            wire.code(wire.remove(b".ssh/authorized_keys.new"))
            handle = wire.create(b".ssh/authorized_keys.new", 0o600)
            for _ in wire.write_all(handle, iter([memoryview(present + line.encode() + b"\n")])):
                pass
            wire.done(wire.close(handle))
            wire.code(wire.chmod(b".ssh/authorized_keys.new", 0o600))
            _replace(link)
        except Status as status:
            raise FolderNotWritable(f"the key cannot be installed: {status.text or 'refused'}") from None


def _replace(link: SftpLink) -> None:
    """Give the new file its name; a server that does not rename over a file has the old one moved aside first."""
    wire, name = link.wire, b".ssh/authorized_keys"
    if wire.code(wire.rename(name + b".new", name)) == OK:
        return
    wire.code(wire.remove(name + b".old"))
    wire.done(wire.rename(name, name + b".old"))
    try:
        wire.done(wire.rename(name + b".new", name))
    except Status:
        wire.code(wire.rename(name + b".old", name))
        raise
    wire.code(wire.remove(name + b".old"))


def _read(link: SftpLink, path: bytes) -> bytes:
    try:
        handle = link.wire.open(path)
    except Status as status:
        if status.code == NO_SUCH_FILE:
            return b""
        raise AccessDenied(f"the present keys cannot be read: {status.text or 'refused'}") from None
    try:
        return b"".join(link.wire.read_range(handle, 0, _LONGEST_FILE, 32 << 10))
    finally:
        link.wire.ignore(link.wire.close(handle))
