"""The format's envelope: ``nonce(16) || AES-256-CTR ciphertext || Poly1305-AES tag(16)``.

Nothing else in the engine knows the cipher.  Source: repository format, "crypto envelope".
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from hmac import compare_digest
from typing import Any

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.poly1305 import Poly1305

from backups.engine import sealing
from backups.engine.errors import Corrupt, KeyRejected
from backups.engine.mac import SHORT, tagger

Buffer = bytes | bytearray | memoryview

NONCE_SIZE = 16
TAG_SIZE = 16
OVERHEAD = NONCE_SIZE + TAG_SIZE
"""Bytes an envelope adds to its plaintext."""


class Key:
    """A pair of secrets: one to encrypt, one to authenticate.

    ``encrypt`` is 32 bytes, ``mac_k`` and ``mac_r`` 16 each; ``mac_r`` is kept unclamped, as the format
    stores it.  Safe to use from several threads and after fork.  Raises KeyRejected for an all-zero part.
    """

    __slots__ = ("_local", "encrypt", "mac_k", "mac_r")

    def __init__(self, encrypt: bytes, mac_k: bytes, mac_r: bytes) -> None:
        if (len(encrypt), len(mac_k), len(mac_r)) != (32, 16, 16):
            raise KeyRejected("a key of the wrong length")
        if not (any(encrypt) and any(mac_k) and any(mac_r)):
            raise KeyRejected("a key with an all-zero part")
        self.encrypt, self.mac_k, self.mac_r = encrypt, mac_k, mac_r
        self._local = threading.local()

    def __repr__(self) -> str:
        return "Key(***)"

    @classmethod
    def generate(cls) -> Key:
        """Return a new random key."""
        return cls(os.urandom(32), os.urandom(16), os.urandom(16))

    @classmethod
    def from_bytes(cls, raw: bytes) -> Key:
        """Split 64 bytes into encrypt, k and r, in this order."""
        return cls(raw[:32], raw[32:48], raw[48:64])

    def _contexts(self) -> tuple[Any, Any, Callable[[bytes, bytes], bytes]]:
        """Return this thread's stream cipher, block cipher and short-message authenticator."""
        try:
            return self._local.contexts  # type: ignore[no-any-return]
        except AttributeError:
            stream = Cipher(algorithms.AES(self.encrypt), modes.CTR(bytes(16))).encryptor()
            block = Cipher(algorithms.AES(self.mac_k), modes.ECB()).encryptor()  # noqa: S305 - one block, as specified
            self._local.contexts = (stream, block, tagger(self._local))
            return self._local.contexts  # type: ignore[no-any-return]

    def native(self, level: int) -> sealing.Context | None:
        """Return this thread's context of the native part for a zstd level, or None where that cannot be used."""
        try:
            return self._local.native[level]
        except (AttributeError, KeyError):
            contexts = self._local.__dict__.setdefault("native", {})
            contexts[level] = self._proven(sealing.make_context(self.encrypt + self.mac_k + self.mac_r, level))
            return contexts[level]

    def _proven(self, context: sealing.Context | None) -> sealing.Context | None:
        """Return a context if it and the Python interfaces open what the other has sealed."""
        if context is None:
            return None
        probe = b"a probe of two hands" * 5
        theirs = sealing.seal(context, probe, False, False)
        agreed = theirs is not None and self.open(theirs[0]) == probe
        return context if agreed and sealing.open_sealed(context, self.seal(probe), 0) == probe else None

    TAG = NONCE_SIZE + TAG_SIZE
    """Bytes of a :meth:`tag`."""

    def tag(self, parts: Sequence[Buffer]) -> bytes:
        """Return a nonce and an authentication tag over ``parts`` joined, which stay in plain."""
        nonce = os.urandom(NONCE_SIZE)
        return nonce + self._mac(nonce, parts)

    def tag_fits(self, parts: Sequence[Buffer], tag: Buffer) -> bool:
        """Tell whether ``tag`` was made by this key over exactly these bytes."""
        nonce, mac = bytes(tag[:NONCE_SIZE]), bytes(tag[NONCE_SIZE:])
        return compare_digest(self._mac(nonce, parts), mac)

    def _mac(self, nonce: bytes, parts: Sequence[Buffer]) -> bytes:
        mac = Poly1305(self.mac_r + self._contexts()[1].update(nonce))
        for part in parts:
            mac.update(memoryview(part).cast("B"))
        return mac.finalize()

    def seal(self, plain: Buffer) -> bytes:
        """Return the envelope of ``plain`` under a fresh random nonce."""
        stream, block, short = self._contexts()
        nonce = os.urandom(NONCE_SIZE)
        stream.reset_nonce(nonce)
        body: bytes = stream.update(plain)
        one_time = self.mac_r + block.update(nonce)
        tag = short(one_time, body) if len(body) <= SHORT else Poly1305.generate_tag(one_time, body)
        return b"".join((nonce, body, tag))

    def open(self, sealed: Buffer) -> bytes:
        """Authenticate and decrypt an envelope; Corrupt if it is too short or was changed."""
        size = len(sealed)
        if size < OVERHEAD:
            raise Corrupt("shorter than an envelope")
        stream, block, short = self._contexts()
        nonce = bytes(sealed[:NONCE_SIZE])
        one_time = self.mac_r + block.update(nonce)
        body: Buffer
        if size <= SHORT:
            body = copy = bytes(sealed[NONCE_SIZE:-TAG_SIZE])
            tag = short(one_time, copy)
        else:
            body = memoryview(sealed)[NONCE_SIZE : size - TAG_SIZE]
            tag = Poly1305.generate_tag(one_time, body)
        if not compare_digest(tag, sealed[size - TAG_SIZE :]):
            raise Corrupt("does not authenticate")
        stream.reset_nonce(nonce)
        return stream.update(body)  # type: ignore[no-any-return]
