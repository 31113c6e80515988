"""Blobs: whatever is sealed opens to the same bytes, and whatever a stranger stored costs no more than it says."""

from __future__ import annotations

import os
import random
import resource
import threading
import time
from hashlib import sha256

import pytest
from backports.zstd import CompressionParameter, ZstdCompressor
from backports.zstd import compress as zstd
from hypothesis import given
from hypothesis import strategies as st

from backups.engine import blob, mac
from backups.engine.blob import MAX_BLOB, BlobType, Codec, decompress, open_blob, seal_blob, stored_plain_size, use_blob
from backups.engine.crypto import OVERHEAD, Key
from backups.engine.errors import Corrupt
from tests.engine.running import in_child

KEY = Key(bytes(range(32)), bytes(range(0x20, 0x30)), bytes(range(0x30, 0x40)))
MIB = 1024 * 1024

contents = st.one_of(
    st.binary(max_size=300),
    st.builds(lambda byte, size: bytes([byte]) * size, st.integers(0, 255), st.integers(0, 70_000)),
    st.builds(lambda seed, size: random.Random(seed).randbytes(size), st.integers(0, 99), st.integers(0, 70_000)),
)


@given(contents, st.sampled_from(BlobType), st.sampled_from([None, 1, 3, 19]), st.booleans())
def test_what_is_sealed_opens(plain: bytes, kind: BlobType, level: int | None, compress: bool) -> None:
    name = sha256(plain).digest()
    sealed, packed = seal_blob(KEY, Codec(level), kind, plain, compress=compress)
    assert open_blob(KEY, sealed, packed, name) == plain
    assert stored_plain_size(len(sealed), packed) == len(plain)
    assert packed in (0, len(plain))
    if not packed:
        assert len(sealed) == len(plain) + OVERHEAD


def test_what_is_compressed_and_what_is_not() -> None:
    text, noise = b"again and again " * 100, os.urandom(2000)
    assert seal_blob(KEY, Codec(), BlobType.DATA, text)[1] == len(text)
    assert seal_blob(KEY, Codec(), BlobType.DATA, noise)[1] == 0
    assert seal_blob(KEY, Codec(None), BlobType.DATA, text)[1] == 0
    for kind in BlobType:
        assert seal_blob(KEY, Codec(), kind, text, compress=False)[1] == 0
        assert seal_blob(KEY, Codec(), kind, b"")[1] == 0
    # Trees always: stock programs copy raw ones again at every prune.
    assert seal_blob(KEY, Codec(None), BlobType.TREE, noise)[1] == len(noise)


@pytest.mark.parametrize("word", ["off", "auto", "fastest", "better", "max"])
def test_words_of_the_command_line_are_codecs(word: str) -> None:
    plain = b"text " * 1000
    sealed, packed = seal_blob(KEY, Codec.named(word), BlobType.DATA, plain)
    assert bool(packed) == (word != "off")
    assert open_blob(KEY, sealed, packed, sha256(plain).digest()) == plain


def test_a_codec_serves_many_threads_at_once() -> None:
    codec, wrong = Codec(), []

    def work(number: int) -> None:
        plain = random.Random(number).randbytes(500) * 40
        for _ in range(50):
            if decompress(codec.compress(plain), len(plain)) != plain:
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def _frame(plain: bytes, **options: int) -> bytes:
    chosen = {getattr(CompressionParameter, name): value for name, value in options.items()}
    return ZstdCompressor(options=chosen).compress(plain, ZstdCompressor.FLUSH_FRAME)


def test_every_frame_that_another_writer_may_make_is_read() -> None:
    plain = random.Random(1).randbytes(1000) * 300
    compressor = ZstdCompressor(options={CompressionParameter.content_size_flag: 0})
    without_size = compressor.compress(plain) + compressor.flush(ZstdCompressor.FLUSH_FRAME)
    for frame in (
        _frame(plain, compression_level=19, window_log=23),
        _frame(plain, checksum_flag=1),
        _frame(plain, window_log=27, enable_long_distance_matching=1),
        without_size,
        zstd(plain[:1000]) + zstd(plain[1000:]),
        zstd(plain[:1000]) + zstd(b"") + zstd(plain[1000:]),
    ):
        assert decompress(frame, len(plain)) == plain
        assert decompress(frame, None) == plain
        assert decompress(memoryview(frame), len(plain)) == plain


@pytest.mark.parametrize("size", [len(b"plain" * 100) - 1, len(b"plain" * 100) + 1, 1, 0])
def test_a_wrong_size_is_damage(size: int) -> None:
    with pytest.raises(Corrupt):
        decompress(zstd(b"plain" * 100), size)


def test_what_does_not_end_or_goes_on_is_damage() -> None:
    frame = zstd(b"plain" * 100)
    for changed in (frame[:-1], frame[:10], b"", frame + b"x", frame + frame[:5], b"\0" * 20, b"x" + frame):
        with pytest.raises(Corrupt):
            decompress(changed, 500)
        with pytest.raises(Corrupt):
            decompress(changed, None)
    with pytest.raises(Corrupt):
        decompress(frame + frame, 500)


def _cost(frame: bytes, size: int | None, limit: int) -> tuple[float, int]:
    """Seconds and additional megabytes it takes to refuse a frame, in a process of its own."""

    def work() -> tuple[float, int]:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        began = time.process_time()
        with pytest.raises(Corrupt):
            decompress(frame, size, limit)
        return time.process_time() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before

    seconds, kilobytes = in_child(work)
    return seconds, kilobytes // 1024


def _bomb(size: int) -> bytes:
    """A small frame of very many zeros, which does not say how many."""
    compressor = ZstdCompressor(options={CompressionParameter.content_size_flag: 0})
    parts = [compressor.compress(bytes(MIB)) for _ in range(size // MIB)]
    return b"".join([*parts, compressor.flush(ZstdCompressor.FLUSH_FRAME)])


def test_a_bomb_costs_what_it_claims_and_no_more() -> None:
    bomb = _bomb(1024 * MIB)
    assert len(bomb) < 200_000
    for size in (0, 100, MIB):
        seconds, megabytes = _cost(bomb, size, MAX_BLOB)
        assert seconds < 1
        assert megabytes < 16
    seconds, megabytes = _cost(bomb, None, 8 * MIB)
    assert megabytes < 40


def test_a_bomb_of_many_frames_is_bounded_too() -> None:
    seconds, megabytes = _cost(zstd(bytes(MIB)) * 500, None, 8 * MIB)
    assert seconds < 2
    assert megabytes < 40


def test_a_claim_beyond_the_limit_is_refused_unread() -> None:
    seconds, megabytes = _cost(_bomb(64 * MIB), MAX_BLOB + 1, MAX_BLOB)
    assert seconds < 0.1
    assert megabytes < 4


def test_a_frame_that_asks_for_a_huge_window_is_refused() -> None:
    """The decoder would have to set aside two gigabytes before the first byte."""
    header = b"\x28\xb5\x2f\xfd" + bytes([0x00, (31 - 10) << 3])
    _, megabytes = _cost(header + b"\x01\x00\x00", 1000, MAX_BLOB)
    assert megabytes < 16


@given(contents, st.integers(0, 10**6), st.integers(1, 255))
def test_no_changed_byte_of_a_blob_opens(plain: bytes, place: int, change: int) -> None:
    sealed, packed = seal_blob(KEY, Codec(), BlobType.DATA, plain)
    changed = bytearray(sealed)
    changed[place % len(changed)] ^= change
    with pytest.raises(Corrupt) as told:
        open_blob(KEY, changed, packed, sha256(plain).digest())
    assert told.value.object_id == sha256(plain).hexdigest()


def test_the_right_bytes_under_a_wrong_name_are_damage() -> None:
    sealed, packed = seal_blob(KEY, Codec(), BlobType.DATA, b"one")
    with pytest.raises(Corrupt) as told:
        open_blob(KEY, sealed, packed, sha256(b"other").digest())
    assert (told.value.kind, told.value.object_id) == ("blob", sha256(b"other").hexdigest())


@pytest.mark.parametrize("size", [10, 3 * MIB])
def test_what_is_made_of_a_blob_counts_only_if_its_bytes_are_what_its_name_says(size: int) -> None:
    plain = b"{" * size
    sealed, packed = seal_blob(KEY, Codec(), BlobType.TREE, plain)
    assert use_blob(KEY, sealed, packed, sha256(plain).digest(), len) == size
    with pytest.raises(Corrupt, match="other content"):
        use_blob(KEY, sealed, packed, sha256(b"other").digest(), len)

    def fails(_: bytes) -> None:
        raise ValueError("no tree")

    with pytest.raises(Corrupt, match="other content"):
        use_blob(KEY, sealed, packed, sha256(b"other").digest(), fails)
    with pytest.raises(ValueError, match="no tree"):
        use_blob(KEY, sealed, packed, sha256(plain).digest(), fails)


@pytest.mark.parametrize("claimed", [1, 2, 4, 2**31])
def test_a_wrong_recorded_size_is_damage(claimed: int) -> None:
    sealed, packed = seal_blob(KEY, Codec(), BlobType.TREE, b"abc")
    assert packed == 3
    with pytest.raises(Corrupt):
        open_blob(KEY, sealed, claimed, sha256(b"abc").digest())
    with pytest.raises(Corrupt):
        open_blob(KEY, sealed, 0, sha256(b"abc").digest())


@pytest.mark.parametrize("broken", ["compress", "seal"])
def test_what_bad_memory_spoils_is_never_given_out(monkeypatch: pytest.MonkeyPatch, broken: str) -> None:
    def flip(data: bytes) -> bytes:
        return data[:-3] + bytes([data[-3] ^ 1]) + data[-2:]

    monkeypatch.setattr(Key, "native", lambda self, level: None)
    if broken == "compress":
        real = Codec.compress
        monkeypatch.setattr(Codec, "compress", lambda self, plain, forced=False: flip(real(self, plain, forced=forced)))
    else:
        seal = Key.seal
        monkeypatch.setattr(Key, "seal", lambda self, plain: flip(seal(self, plain)))
    with pytest.raises(Corrupt):
        seal_blob(KEY, Codec(), BlobType.DATA, b"some text that shrinks " * 20)


# ---------------------------------------------------------------------- the two ways to a tag


@pytest.mark.parametrize("size", [0, 1, mac.SHORT - 1, mac.SHORT, mac.SHORT + 1, 3 * mac.SHORT])
def test_short_and_long_envelopes_are_alike(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    plain = random.Random(size).randbytes(size)
    sealed = KEY.seal(plain)
    monkeypatch.setattr(mac, "_QUICK", False)
    slow = Key(KEY.encrypt, KEY.mac_k, KEY.mac_r)
    assert slow.open(sealed) == plain
    assert KEY.open(slow.seal(plain)) == plain


def test_the_limit_is_the_one_that_is_used() -> None:
    assert blob.MAX_BLOB == 256 * MIB
