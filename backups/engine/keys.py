"""Key files: the master key, wrapped by a key derived from a password.

The master key is the same in every key file of a repository; changing a password re-encrypts nothing.
One malformed key file locks stock programs out, so a new one is opened again before it counts.
"""

from __future__ import annotations

import base64
import binascii
import getpass
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import msgspec
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from backups.engine.crypto import Key
from backups.engine.errors import Corrupt, KeyRejected, WrongKey

SALT_SIZE = 64
CALIBRATED_SECONDS = 0.5
MAX_KDF_MEMORY = 256 * 1024 * 1024
"""Bytes; a stranger's key file must not make us take more (N * r * 128)."""
MAX_KDF_P = 16
MAX_KEY_FILE = 64 * 1024
MAX_KEYS_TRIED = 20


@dataclass(frozen=True, slots=True)
class KdfParams:
    """The cost of scrypt: ``n`` a power of two, memory ``128 * n * r`` bytes, ``p`` times over."""

    n: int = 32768
    r: int = 8
    p: int = 1

    def check(self) -> None:
        """Raise KeyRejected for parameters scrypt cannot take, or beyond what we are ready to spend."""
        if self.n < 2 or self.n & (self.n - 1) or self.r < 1 or self.p < 1:
            raise KeyRejected(f"invalid scrypt parameters N={self.n} r={self.r} p={self.p}")
        if self.n * self.r * 128 > MAX_KDF_MEMORY or self.p > MAX_KDF_P:
            raise KeyRejected(f"scrypt parameters N={self.n} r={self.r} p={self.p} ask for more than is safe to spend")


class KeyFile(msgspec.Struct, omit_defaults=False):
    """The plain JSON of a key file, in the format's field order."""

    created: str
    username: str
    hostname: str
    kdf: str
    N: int
    r: int
    p: int
    salt: str
    data: str


class _LooseKeyFile(msgspec.Struct):
    kdf: str
    N: int
    r: int
    p: int
    salt: str
    data: str
    created: str = ""
    username: str = ""
    hostname: str = ""


class _MacPart(msgspec.Struct):
    k: str
    r: str


class _MasterKey(msgspec.Struct):
    mac: _MacPart
    encrypt: str


def _unbase64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise KeyRejected("a key field that is not base64") from error


def derive(password: str, salt: bytes, params: KdfParams) -> Key:
    """Return the key a password gives under ``params``; KeyRejected if they are out of bounds."""
    params.check()
    if len(salt) != SALT_SIZE:
        raise KeyRejected(f"a salt of {len(salt)} bytes, not {SALT_SIZE}")
    kdf = Scrypt(salt=salt, length=64, n=params.n, r=params.r, p=params.p)
    return Key.from_bytes(kdf.derive(password.encode("utf-8", "surrogateescape")))


def calibrate(seconds: float = CALIBRATED_SECONDS, clock: Callable[[], float] = time.perf_counter) -> KdfParams:
    """Return parameters that take about ``seconds`` for one derivation on this machine.

    N starts at 32768 (32 MiB) and is halved while one pass is too long; then p is raised, up to 16.
    """
    n = 32768
    while True:
        began = clock()
        derive("calibration", bytes(SALT_SIZE), KdfParams(n=n))
        took = max(clock() - began, 1e-6)
        if took <= seconds or n <= 1024:
            break
        n //= 2
    return KdfParams(n=n, p=max(1, min(MAX_KDF_P, int(seconds / took))))


def wrap(
    master: Key, password: str, params: KdfParams, *, created: str, username: str = "", hostname: str = ""
) -> bytes:
    """Return the bytes of a new key file for ``password``, with a fresh salt."""
    inner = _MasterKey(
        mac=_MacPart(k=base64.b64encode(master.mac_k).decode(), r=base64.b64encode(master.mac_r).decode()),
        encrypt=base64.b64encode(master.encrypt).decode(),
    )
    salt = os.urandom(SALT_SIZE)
    sealed = derive(password, salt, params).seal(msgspec.json.encode(inner))
    file = KeyFile(
        created=created,
        username=username or _user(),
        hostname=hostname or os.uname().nodename,
        kdf="scrypt",
        N=params.n,
        r=params.r,
        p=params.p,
        salt=base64.b64encode(salt).decode(),
        data=base64.b64encode(sealed).decode(),
    )
    raw = msgspec.json.encode(file)
    unwrap(raw, password)
    return raw


def parse(raw: bytes) -> KeyFile:
    """Decode a key file; KeyRejected for anything the format does not allow."""
    if len(raw) > MAX_KEY_FILE:
        raise KeyRejected("a key file of unreasonable size")
    try:
        loose = msgspec.json.decode(raw, type=_LooseKeyFile)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise KeyRejected("a key file that is not the JSON of one") from error
    if loose.kdf != "scrypt":
        raise KeyRejected("a key file with an unknown derivation")
    fields: dict[str, Any] = {name: getattr(loose, name) for name in KeyFile.__struct_fields__}
    return KeyFile(**fields)


def unwrap(raw: bytes, password: str) -> Key:
    """Open a key file; WrongKey if the password does not fit, KeyRejected if the file cannot be used."""
    file = parse(raw)
    user = derive(password, _unbase64(file.salt), KdfParams(file.N, file.r, file.p))
    try:
        inner = user.open(_unbase64(file.data))
    except Corrupt as error:
        raise WrongKey("the password does not open this key") from error
    try:
        master = msgspec.json.decode(inner, type=_MasterKey)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise KeyRejected("a key file whose master key cannot be read") from error
    return Key(_unbase64(master.encrypt), _unbase64(master.mac.k), _unbase64(master.mac.r))


def key_id(raw: bytes) -> str:
    """Return the id of a key file: the SHA-256 of its bytes."""
    return sha256(raw).hexdigest()


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())
