"""Sealing of secrets: everybody with the public key can close, only holders of the private key can open.

HPKE (RFC 9180) in base mode with X25519.  The place of a value, its table, column and row, is bound to the sealed
text and stands inside it, so that a text moved to another row does not open.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

from panel.core.errors import PanelError

_SUITE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
_MARK = "hf1"
_OWNER_ONLY = 0o600


class SealError(PanelError):
    """A sealed text does not open: wrong key, wrong place, or damaged."""

    code = "HF-SEAL"
    status = 500
    guidance = "Check that the worker has the master key of this installation."


@dataclass(frozen=True, slots=True)
class Place:
    """Where a secret belongs."""

    table: str
    column: str
    row: str

    def info(self, key_id: str) -> bytes:
        """Return the bytes that bind a sealed text to this place."""
        return json.dumps([_MARK, self.table, self.column, self.row, key_id]).encode()


class PublicSealer:
    """Closes secrets; all that the web tier has."""

    def __init__(self, key: X25519PublicKey) -> None:
        self._key = key
        self.key_id = key_id(key)

    @classmethod
    def load(cls, path: Path) -> PublicSealer:
        """Read the public key file.  SealError if there is none."""
        try:
            return cls(X25519PublicKey.from_public_bytes(base64.b64decode(path.read_text())))
        except (OSError, ValueError) as error:
            raise SealError(f"The public key of this installation cannot be read ({error}).") from error

    def seal(self, place: Place, secret: str) -> str:
        """Return ``secret`` closed for ``place``."""
        body = json.dumps({"at": [place.table, place.column, place.row, self.key_id], "secret": secret}).encode()
        sealed = _SUITE.encrypt(body, self._key, info=place.info(self.key_id))
        return f"{_MARK}:{self.key_id}:{base64.b64encode(sealed).decode()}"

    def public_text(self) -> str:
        """Return the key as text."""
        return base64.b64encode(
            self._key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
        ).decode()


class MasterKey(PublicSealer):
    """Closes and opens secrets; for workers only."""

    def __init__(self, private: X25519PrivateKey) -> None:
        super().__init__(private.public_key())
        self._private = private

    @classmethod
    def read(cls, path: Path) -> MasterKey:
        """Read the private key file.  SealError if it cannot be read."""
        try:
            return cls(X25519PrivateKey.from_private_bytes(base64.b64decode(path.read_text())))
        except (OSError, ValueError) as error:
            raise SealError(f"The master key cannot be read ({error}).") from error

    @classmethod
    def generate(cls) -> MasterKey:
        """Return a new key that is stored nowhere yet."""
        return cls(X25519PrivateKey.generate())

    def save(self, private: Path, public: Path) -> None:
        """Write both files, the private one readable by its owner alone; FileExistsError rather than replace it."""
        raw = self._private.private_bytes(
            serialization.Encoding.Raw, serialization.PrivateFormat.Raw, serialization.NoEncryption()
        )
        private.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        fd = os.open(private, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _OWNER_ONLY)
        with os.fdopen(fd, "w") as file:
            file.write(base64.b64encode(raw).decode() + "\n")
        public.write_text(self.public_text() + "\n")

    def open(self, place: Place, sealed: str) -> str:
        """Return the secret that was closed for ``place``.  SealError for anything else."""
        mark, _, rest = sealed.partition(":")
        name, _, body = rest.partition(":")
        if mark != _MARK or name != self.key_id:
            raise SealError("A stored secret was closed with another master key.")
        try:
            opened = json.loads(_SUITE.decrypt(base64.b64decode(body), self._private, info=place.info(name)))
        except (InvalidTag, ValueError) as error:
            raise SealError("A stored secret does not belong to its place, or is damaged.") from error
        if opened["at"] != [place.table, place.column, place.row, name]:
            raise SealError("A stored secret does not belong to its place.")
        secret: str = opened["secret"]
        return secret


def key_id(key: X25519PublicKey) -> str:
    """Return the first eight digits of the key's fingerprint."""
    raw = key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return hashlib.sha256(raw).hexdigest()[:8]
