"""Poly1305 of short messages without the cost of a key object for each.

The format needs two tags a blob, and most blobs are small.  ``cryptography`` builds an OpenSSL key for every tag, which
takes several times as long as the tag itself; OpenSSL's own ``EVP_MAC`` re-uses one context.  It is taken from the
``libcrypto`` that Python's hashes are linked with, if that is to be had and computes what it should.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable

from cryptography.hazmat.primitives.poly1305 import Poly1305

SHORT = 64 * 1024
"""Bytes up to which the saving is worth a copy."""
_PROBE_KEY = bytes(range(32))
_PROBE = b"probe" * 21


class _Unavailable(Exception):
    """This libcrypto cannot be used."""


class _Context:
    """One OpenSSL context.  The calls keep the interpreter's lock: they are shorter than handing it over."""

    def __init__(self) -> None:
        library = ctypes.PyDLL("libcrypto.so.3")
        fetch, new = library.EVP_MAC_fetch, library.EVP_MAC_CTX_new
        fetch.restype = new.restype = ctypes.c_void_p
        fetch.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_char_p]
        new.argtypes = [ctypes.c_void_p]
        algorithm = fetch(None, b"POLY1305", None)
        self._context = ctypes.c_void_p(new(algorithm) if algorithm else None)
        if not self._context:
            raise _Unavailable("no Poly1305 in this libcrypto")
        self._init, self._update, self._final = library.EVP_MAC_init, library.EVP_MAC_update, library.EVP_MAC_final
        self._init.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_void_p]
        self._update.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t]
        self._final.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_size_t]
        self._tag = ctypes.create_string_buffer(16)

    def tag(self, key: bytes, data: bytes) -> bytes:
        context = self._context
        if (
            self._init(context, key, 32, None) != 1
            or self._update(context, data, len(data)) != 1
            or self._final(context, self._tag, None, 16) != 1
        ):
            return Poly1305.generate_tag(key, data)
        return self._tag.raw


def _usable() -> bool:
    try:
        return _Context().tag(_PROBE_KEY, _PROBE) == Poly1305.generate_tag(_PROBE_KEY, _PROBE)
    except (OSError, AttributeError, _Unavailable):
        return False


_QUICK = _usable()


def tagger(local: threading.local) -> Callable[[bytes, bytes], bytes]:
    """Return ``tag(key, data)`` for the calling thread; ``local`` keeps its context."""
    if not _QUICK:
        return Poly1305.generate_tag
    context = getattr(local, "mac", None)
    if context is None:
        context = local.mac = _Context()
    return context.tag
