"""Compress, seal and prove a blob, or open one, in one native call; most of a small blob's cost is calls otherwise.

OpenSSL and zstd themselves are the libraries that Python has loaded; where they, or the native part, cannot be had,
:mod:`crypto` and :mod:`blob` do the same through their Python interfaces.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from backups.engine import native

Context = Any
"""What the native part works with: the keys' schedules and a compressor.  Of one thread, good after fork."""
DEFAULT_LEVEL = 3

_module: Any = native.load("backups.engine._sealing")


def _zstd_libraries() -> Iterator[str]:
    """Yield the library that the Python package brought along, then the system's."""
    try:
        from backports.zstd import _zstd
    except ImportError:
        pass
    else:
        yield getattr(_zstd, "__file__", None) or ""
    yield "libzstd.so.1"


def make_context(secret: bytes, level: int) -> Context | None:
    """Return a context for the 64 bytes of a key and a zstd level, or None if there can be none here."""
    if _module is None:
        return None
    for library in _zstd_libraries():
        try:
            return _module.context("libcrypto.so.3", library, secret, level)
        except ImportError:
            continue
    return None


def _absent(*_: Any) -> None:
    raise RuntimeError("the native part is not there, so no context was made")


seal: Callable[[Context, Any, bool, bool], tuple[bytes, int] | None] = getattr(_module, "seal", _absent)
"""``seal(context, plain, compress, always)``: the envelope, and the length of ``plain`` if it is compressed, else 0.

None if what was sealed does not open to the same bytes.  ``always`` compresses what does not shrink, too.
"""
open_sealed: Callable[[Context, Any, int], bytes | None] = getattr(_module, "open", _absent)
"""``open_sealed(context, envelope, plain_size)``: the plaintext, or None for anything that is not right."""
