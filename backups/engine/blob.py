"""Bytes to sealed blob and back: compress, seal, prove; open, decompress, compare with the id."""

from __future__ import annotations

import threading
from collections.abc import Callable
from enum import IntEnum
from hashlib import sha256
from typing import TypeVar

from backports.zstd import CompressionParameter, ZstdCompressor, ZstdDecompressor, ZstdError

from backups.engine import sealing
from backups.engine.crypto import OVERHEAD, Buffer, Key
from backups.engine.errors import Corrupt

MAX_BLOB = 256 * 1024 * 1024
"""Bytes; the largest plaintext a reader takes (data blobs end at 8 MiB, trees of huge folders are larger)."""
_WORTH_A_THREAD = 1024 * 1024
"""Bytes; to compare less than that takes no longer than to start a thread for it."""
T = TypeVar("T")
_UNPROVEN = "what was just sealed does not open to the same bytes; the memory of this machine may be bad"


class BlobType(IntEnum):
    """The two kinds of blob; with the SHA-256 of its plaintext the kind names a blob."""

    DATA = 0
    TREE = 1


class Codec:
    """A reusable zstd compressor a thread, at one level.  ``level`` None stores data blobs as they are."""

    __slots__ = ("_local", "level")

    def __init__(self, level: int | None = 3) -> None:
        self.level = level
        self._local = threading.local()

    @classmethod
    def named(cls, name: str) -> Codec:
        """Return the codec of a command-line word: off, auto, fastest, better or max."""
        return cls({"off": None, "auto": 3, "fastest": 1, "better": 7, "max": 19}[name])

    def compress(self, plain: Buffer, *, forced: bool = False) -> bytes:
        """Return one zstd frame of ``plain``; ``forced`` compresses though the level says off."""
        try:
            compressor = self._local.compressor
        except AttributeError:
            level = self.level if self.level is not None or not forced else 3
            # A window of 1 MiB holds all that matters in a blob, and its tables stay in the processor's cache.
            options: dict[int, int] = {
                CompressionParameter.compression_level: level or 3,
                CompressionParameter.window_log: 20,
                CompressionParameter.checksum_flag: 0,
            }
            compressor = self._local.compressor = ZstdCompressor(options=options)
        return compressor.compress(plain, ZstdCompressor.FLUSH_FRAME)  # type: ignore[no-any-return]


def decompress(frame: Buffer, size: int | None, limit: int = MAX_BLOB) -> bytes:
    """Decode a zstd frame (or several in a row) of ``size`` bytes, or of any size up to ``limit``.

    Memory never passes the bound by more than a block.  Raises Corrupt.
    """
    bound = limit if size is None else size
    if bound > limit:
        raise Corrupt(f"claims {bound} bytes, more than the limit of {limit}")
    parts: list[bytes] = []
    total = 0
    rest: Buffer = frame
    try:
        decoder = ZstdDecompressor()
        part = decoder.decompress(frame, bound + 1)
        if decoder.eof and len(part) == (len(part) if size is None else size) <= bound and not decoder.unused_data:
            return part
        del part
        while True:
            decoder = ZstdDecompressor()
            part = decoder.decompress(rest, bound - total + 1)
            total += len(part)
            parts.append(part)
            if total > bound:
                raise Corrupt("decompresses to more than it claims")
            if not decoder.eof:
                if decoder.needs_input:
                    raise Corrupt("a compressed frame that ends early")
                # All of the output is there; the frame still has to reach its end.
                if decoder.decompress(b"", 1) or not decoder.eof:
                    raise Corrupt("a compressed frame that does not end")
            rest = decoder.unused_data
            if not rest:
                break
    except ZstdError as error:
        raise Corrupt("does not decompress") from error
    if size is not None and total != size:
        raise Corrupt(f"decompresses to {total} bytes instead of {size}")
    return parts[0] if len(parts) == 1 else b"".join(parts)


def seal_blob(key: Key, codec: Codec, kind: BlobType, plain: Buffer, *, compress: bool = True) -> tuple[bytes, int]:
    """Seal a blob and open it again to compare.

    Returns the sealed bytes and the plaintext length if they are compressed, else 0.  ``compress`` False
    is for version 1 repositories.  Data that does not shrink is stored as it is; trees always compress.
    Raises Corrupt if what was sealed does not open to the same bytes (bad memory, a broken library).
    """
    size = len(plain)
    level = codec.level
    context = key.native(level or sealing.DEFAULT_LEVEL) if 0 < size <= MAX_BLOB else None
    if context is not None:
        is_tree = kind == BlobType.TREE
        stored = sealing.seal(context, plain, compress and (is_tree or level is not None), is_tree)
        if stored is None:
            raise Corrupt(_UNPROVEN)
        return stored
    body: Buffer = plain
    packed = 0
    if compress and size and (kind == BlobType.TREE or codec.level is not None):
        frame = codec.compress(plain, forced=True)
        if len(frame) < size or kind == BlobType.TREE:
            body, packed = frame, size
    sealed = key.seal(body)
    again = key.open(sealed)
    if (decompress(again, packed) if packed else again) != plain:
        raise Corrupt(_UNPROVEN)
    return sealed, packed


def open_blob(key: Key, sealed: Buffer, plain_size: int, blob_id: bytes) -> bytes:
    """Open a blob and compare it with its id.

    ``plain_size`` is the recorded plaintext length in bytes, 0 for a blob that is not compressed.  Raises Corrupt.
    """
    plain = _unseal(key, sealed, plain_size, blob_id)
    _prove(plain, blob_id)
    return plain


def use_blob(key: Key, sealed: Buffer, plain_size: int, blob_id: bytes, use: Callable[[bytes], T]) -> T:
    """Open a blob and return what ``use`` makes of its plaintext, which is not given out unless it agrees with the id.

    A large one is compared by another processor meanwhile, so ``use`` must do nothing that cannot be undone.
    Raises Corrupt, and what ``use`` raises.
    """
    plain = _unseal(key, sealed, plain_size, blob_id)
    if len(plain) < _WORTH_A_THREAD:
        _prove(plain, blob_id)
        return use(plain)
    from concurrent.futures import ThreadPoolExecutor  # rarely used, and slow to import

    with ThreadPoolExecutor(1, "prove") as pool:
        proof = pool.submit(_prove, plain, blob_id)
        try:
            return use(plain)
        finally:
            proof.result()


def _unseal(key: Key, sealed: Buffer, plain_size: int, blob_id: bytes) -> bytes:
    if plain_size <= MAX_BLOB:
        context = key.native(sealing.DEFAULT_LEVEL)
        if context is not None and (quickly := sealing.open_sealed(context, sealed, plain_size)) is not None:
            return quickly
    # This way takes several frames in a row too, and says what is wrong.
    try:
        plain = key.open(sealed)
        return decompress(plain, plain_size) if plain_size else plain
    except Corrupt as error:
        raise Corrupt(f"blob {blob_id.hex()} {error}", kind="blob", object_id=blob_id.hex()) from error


def _prove(plain: bytes, blob_id: bytes) -> None:
    if sha256(plain).digest() != blob_id:
        raise Corrupt(
            f"blob {blob_id.hex()} has other content than its name says", kind="blob", object_id=blob_id.hex()
        )


def stored_plain_size(sealed_length: int, plain_size: int) -> int:
    """Return the plaintext length of a stored blob from its two recorded lengths."""
    return plain_size or sealed_length - OVERHEAD
