"""The native way to seal and open a blob, against the way through the libraries' Python interfaces."""

from __future__ import annotations

import random
import shutil
import subprocess
import threading
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backups.engine import Corrupt, sealing
from backups.engine.blob import BlobType, Codec, open_blob, seal_blob
from backups.engine.crypto import OVERHEAD, Key

SECRET = random.Random(7).randbytes(64)
QUICK = Key.from_bytes(SECRET)


class _Slow(Key):
    """A key that has no native part."""

    def native(self, level: int) -> None:
        return None


SLOW = _Slow.from_bytes(SECRET)

pytestmark = pytest.mark.skipif(sealing._module is None, reason="the native part was not built")

BROKEN = """
#include <stddef.h>
#include <string.h>
static char nothing;
void *ZSTD_createCCtx(void) { return &nothing; }
void *ZSTD_createDCtx(void) { return &nothing; }
size_t ZSTD_freeCCtx(void *c) { (void)c; return 0; }
size_t ZSTD_freeDCtx(void *c) { (void)c; return 0; }
size_t ZSTD_CCtx_setParameter(void *c, int p, int v) { (void)c; (void)p; (void)v; return 0; }
size_t ZSTD_compressBound(size_t n) { return n + 64; }
unsigned ZSTD_isError(size_t n) { (void)n; return 0; }
size_t ZSTD_compress2(void *c, void *out, size_t room, const void *in, size_t n)
{ (void)c; (void)room; memcpy(out, in, n / 2); return n / 2; }
size_t ZSTD_decompressDCtx(void *c, void *out, size_t room, const void *in, size_t n)
{ (void)c; memset(out, 'x', room); memcpy(out, in, n < room ? n : room); return room; }
"""


def test_it_is_in_use_where_it_was_built() -> None:
    assert QUICK.native(3) is not None


@given(
    plain=st.one_of(
        st.binary(min_size=1, max_size=300),
        st.integers(0, 2**32).flatmap(lambda n: st.sampled_from([n % 70_000 + 1]).map(random.Random(n).randbytes)),
        st.text(min_size=1).map(lambda text: (text * 300).encode("utf-8", "replace")),
    ),
    kind=st.sampled_from(BlobType),
    level=st.sampled_from([None, 1, 3, 19]),
    compress=st.booleans(),
)
def test_each_way_opens_what_the_other_sealed_and_stores_as_much(
    plain: bytes, kind: BlobType, level: int | None, compress: bool
) -> None:
    codec, name = Codec(level), sha256(plain).digest()
    for one, other in ((QUICK, SLOW), (SLOW, QUICK)):
        sealed, packed = seal_blob(one, codec, kind, plain, compress=compress)
        assert open_blob(other, sealed, packed, name) == plain
        assert (len(sealed), packed) == _stored_as(codec, kind, plain, compress)


def _stored_as(codec: Codec, kind: BlobType, plain: bytes, compress: bool) -> tuple[int, int]:
    sealed, packed = seal_blob(SLOW, codec, kind, plain, compress=compress)
    return len(sealed), packed


@pytest.mark.parametrize("size", [1, 8191, 8192, 65536, 1 << 20, (1 << 20) + 1, 8 << 20])
@pytest.mark.parametrize("what", ["text", "noise"])
def test_every_size_comes_back(size: int, what: str) -> None:
    plain = random.Random(size).randbytes(size) if what == "noise" else (b"a line of text\n" * (size // 15 + 1))[:size]
    sealed, packed = seal_blob(QUICK, Codec(), BlobType.DATA, plain)
    assert bool(packed) == (what == "text" and size > 1)
    for view in (sealed, bytearray(sealed), memoryview(sealed)):
        assert open_blob(QUICK, view, packed, sha256(plain).digest()) == plain


def test_no_two_envelopes_share_a_nonce() -> None:
    assert len({seal_blob(QUICK, Codec(), BlobType.DATA, b"x" * 100)[0][:16] for _ in range(500)}) == 500


@pytest.mark.parametrize("plain", [b"short", b"text that shrinks " * 50])
def test_a_flipped_bit_anywhere_is_seen(plain: bytes) -> None:
    sealed, packed = seal_blob(QUICK, Codec(), BlobType.DATA, plain)
    context = QUICK.native(3)
    for at in range(len(sealed)):
        assert sealing.open_sealed(context, sealed[:at] + bytes([sealed[at] ^ 4]) + sealed[at + 1 :], packed) is None
    for length in (0, 1, OVERHEAD - 1, len(sealed) - 1):
        with pytest.raises(Corrupt):
            open_blob(QUICK, sealed[:length], packed, sha256(plain).digest())


@pytest.mark.parametrize("claimed", [1, 899, 901, 2**31, 2**40, -1])
def test_another_length_than_the_recorded_one_is_nothing(claimed: int) -> None:
    plain = b"text that shrinks " * 50
    sealed, packed = seal_blob(QUICK, Codec(), BlobType.DATA, plain)
    assert packed == 900
    assert sealing.open_sealed(QUICK.native(3), sealed, claimed) is None


def test_threads_have_contexts_of_their_own() -> None:
    found: list[bool] = []

    def work(number: int) -> None:
        rng = random.Random(number)
        for _ in range(30):
            plain = rng.randbytes(50) * rng.randrange(1, 600)
            sealed, packed = seal_blob(QUICK, Codec(), BlobType.DATA, plain)
            found.append(open_blob(QUICK, sealed, packed, sha256(plain).digest()) == plain)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True] * 120


def test_what_does_not_open_again_is_never_given_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    source, library = tmp_path / "broken.c", tmp_path / "broken.so"
    source.write_text(BROKEN)
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source], check=True)

    def only_broken() -> Iterator[str]:
        yield str(library)

    monkeypatch.setattr(sealing, "_zstd_libraries", only_broken)
    key = Key.from_bytes(SECRET)
    assert key.native(3) is not None, "the probe does not compress"
    with pytest.raises(Corrupt, match="does not open to the same bytes"):
        seal_blob(key, Codec(), BlobType.DATA, b"some text that shrinks " * 20)


def test_libraries_that_lack_something_are_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealing, "_zstd_libraries", lambda: iter(["libm.so.6", "/nowhere/libzstd.so.1"]))
    key = Key.from_bytes(SECRET)
    assert key.native(3) is None
    sealed, packed = seal_blob(key, Codec(), BlobType.DATA, b"works as ever " * 9)
    assert open_blob(SLOW, sealed, packed, sha256(b"works as ever " * 9).digest()) == b"works as ever " * 9


@pytest.mark.parametrize("arguments", [(b"x", 1), (None, b"x", True), (object(), b"x", 0, 0)])
def test_wrong_arguments_are_errors_of_python(arguments: tuple[object, ...]) -> None:
    with pytest.raises((TypeError, ValueError)):
        sealing.seal(*arguments)  # type: ignore[arg-type]
