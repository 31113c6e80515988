"""The envelope: the format's own vector, and that no changed bit goes unseen."""

from __future__ import annotations

import os
import pickle
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backups.engine.crypto import NONCE_SIZE, OVERHEAD, TAG_SIZE, Key
from backups.engine.errors import Corrupt, KeyRejected
from tests.engine.running import in_child

KEY = Key(bytes(range(32)), bytes(range(0x20, 0x30)), bytes(range(0x30, 0x40)))
NONCE = bytes(range(0x40, 0x50))
VECTOR = NONCE + bytes.fromhex("d11bac4bfe399a8afd0d07abe22bd477c4106de714792f94b31c315f0478a43203372f5c")
EMPTY = NONCE + bytes.fromhex("859469c07743c7e45b318d151d3d87e9")


def test_the_vector_of_the_format_opens() -> None:
    assert KEY.open(VECTOR) == b"restic envelope test"
    assert KEY.open(EMPTY) == b""


def test_sealing_with_its_nonce_gives_the_vector(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "urandom", lambda count: NONCE[:count])
    assert KEY.seal(b"restic envelope test") == VECTOR
    assert KEY.seal(b"") == EMPTY


@given(st.binary(max_size=300))
def test_what_is_sealed_opens_and_is_hidden(plain: bytes) -> None:
    sealed = KEY.seal(plain)
    assert len(sealed) == len(plain) + OVERHEAD
    assert KEY.open(sealed) == plain
    assert KEY.open(memoryview(bytearray(sealed))) == plain
    if len(plain) > 4:
        assert plain not in sealed
    assert KEY.seal(plain) != sealed


@given(st.binary(max_size=40), st.data())
def test_no_changed_bit_opens(plain: bytes, data: st.DataObject) -> None:
    sealed = bytearray(KEY.seal(plain))
    place = data.draw(st.integers(0, len(sealed) * 8 - 1))
    sealed[place // 8] ^= 1 << place % 8
    with pytest.raises(Corrupt):
        KEY.open(sealed)


def test_every_flipped_byte_is_seen() -> None:
    for place in range(len(VECTOR)):
        changed = bytearray(VECTOR)
        changed[place] ^= 0x80
        with pytest.raises(Corrupt):
            KEY.open(changed)


@pytest.mark.parametrize("size", [0, 1, 16, OVERHEAD - 1])
def test_less_than_an_envelope_is_damage(size: int) -> None:
    with pytest.raises(Corrupt):
        KEY.open(VECTOR[:size])


def test_cut_and_lengthened_envelopes_do_not_open() -> None:
    for changed in (VECTOR[:-1], VECTOR[1:], VECTOR + b"\0", b"\0" + VECTOR):
        with pytest.raises(Corrupt):
            KEY.open(changed)


def test_another_key_opens_nothing() -> None:
    parts = [KEY.encrypt, KEY.mac_k, KEY.mac_r]
    for number in (1, 2):
        changed = list(parts)
        changed[number] = bytes([changed[number][0] ^ 1]) + changed[number][1:]
        with pytest.raises(Corrupt):
            Key(*changed).open(VECTOR)
    with pytest.raises(Corrupt):
        Key.generate().open(VECTOR)


def test_r_is_kept_as_it_is_and_clamped_only_in_use() -> None:
    clamped = bytearray(KEY.mac_r)
    for place in (3, 7, 11, 15):
        clamped[place] &= 0x0F
    for place in (4, 8, 12):
        clamped[place] &= 0xFC
    assert bytes(clamped) != KEY.mac_r
    assert Key(KEY.encrypt, KEY.mac_k, bytes(clamped)).open(VECTOR) == KEY.open(VECTOR)


def test_an_all_zero_part_is_no_key() -> None:
    good = (KEY.encrypt, KEY.mac_k, KEY.mac_r)
    for number in range(3):
        parts = list(good)
        parts[number] = bytes(len(parts[number]))
        with pytest.raises(KeyRejected):
            Key(*parts)
    for wrong in ((b"x" * 31, *good[1:]), (good[0], b"x" * 17, good[2]), (good[0], good[1], b"")):
        with pytest.raises(KeyRejected):
            Key(*wrong)


def test_generated_keys_differ_and_nonces_too() -> None:
    one, other = Key.generate(), Key.generate()
    assert one.encrypt != other.encrypt
    assert one.mac_k != other.mac_k
    assert one.mac_r != other.mac_r
    assert len({KEY.seal(b"")[:NONCE_SIZE] for _ in range(200)}) == 200


def test_a_key_never_shows_itself() -> None:
    for text in (repr(KEY), str(KEY), f"{KEY}", f"{[KEY]}"):
        assert KEY.encrypt.hex() not in text
        assert text in ("Key(***)", "[Key(***)]")


def test_threads_do_not_disturb_each_other() -> None:
    wrong: list[int] = []

    def work(number: int) -> None:
        plain = bytes([number]) * 5000
        for _ in range(100):
            if KEY.open(KEY.seal(plain)) != plain:
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_forked_child_has_nonces_of_its_own() -> None:
    KEY.seal(b"the contexts exist before the fork")
    theirs = in_child(lambda: [KEY.seal(b"x")[:NONCE_SIZE] for _ in range(20)])
    ours = [KEY.seal(b"x")[:NONCE_SIZE] for _ in range(20)]
    assert not set(theirs) & set(ours)
    assert in_child(lambda: KEY.open(VECTOR)) == b"restic envelope test"


@given(st.binary(max_size=200), st.integers(0, 200), st.integers(1, 255))
def test_a_tag_fits_exactly_one_text(data: bytes, place: int, change: int) -> None:
    tag = KEY.tag([data])
    assert len(tag) == Key.TAG == NONCE_SIZE + TAG_SIZE
    assert KEY.tag_fits([data], tag)
    assert KEY.tag_fits([data[:place], data[place:]], tag)
    assert not KEY.tag_fits([data, b"x"], tag)
    changed = bytearray(tag)
    changed[place % len(tag)] ^= change
    assert not KEY.tag_fits([data], changed)
    if data:
        other = bytearray(data)
        other[place % len(data)] ^= change
        assert not KEY.tag_fits([other], tag)


def test_a_key_is_not_carried_about_by_accident() -> None:
    with pytest.raises(TypeError):
        pickle.dumps(KEY)
