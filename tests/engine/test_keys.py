"""Key files: what a stranger writes into one costs nothing, and a new one is proved before it counts."""

from __future__ import annotations

import base64
import json
import resource
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backups.engine import keys
from backups.engine.crypto import Key
from backups.engine.errors import KeyRejected, WrongKey
from backups.engine.keys import MAX_KDF_MEMORY, MAX_KDF_P, MAX_KEY_FILE, KdfParams, derive, parse, unwrap, wrap
from tests.engine import golden

QUICK = KdfParams(n=16)
MASTER = Key(bytes(range(32)), bytes(range(0x20, 0x30)), bytes(range(0x30, 0x40)))
CREATED = "2024-01-02T03:04:05Z"


def parts(key: Key) -> tuple[bytes, bytes, bytes]:
    return key.encrypt, key.mac_k, key.mac_r


def test_the_vector_of_the_derivation() -> None:
    key = derive("golden", bytes(range(64)), KdfParams(n=1024, r=8, p=1))
    assert key.encrypt.hex() == "58fc5c4943de1a00fb86eaa1a8804fadf4e578c1dcde631473ad62299a721c3a"
    assert key.mac_k.hex() == "1cdfc393738b9ea918292b48e4a4335d"
    assert key.mac_r.hex() == "dbee47c86825c0e07dfb54941799d65e"


def test_the_golden_key_opens() -> None:
    (raw,) = [value for name, value in golden.golden_objects().items() if name.startswith("keys/")]
    assert parts(unwrap(raw, golden.PASSWORD)) == parts(MASTER)
    with pytest.raises(WrongKey):
        unwrap(raw, "Golden")


@given(st.text(max_size=30))
def test_what_is_wrapped_opens_with_its_password_alone(password: str) -> None:
    password = password.encode("utf-8", "surrogatepass").decode("utf-8", "surrogateescape")
    raw = wrap(MASTER, password, QUICK, created=CREATED, username="u", hostname="h")
    assert parts(unwrap(raw, password)) == parts(MASTER)
    with pytest.raises(WrongKey):
        unwrap(raw, password + "x")


def test_a_password_that_is_not_text_keeps_its_bytes() -> None:
    one, other = b"\xff\xfe".decode("utf-8", "surrogateescape"), b"\xff\xfd".decode("utf-8", "surrogateescape")
    raw = wrap(MASTER, one, QUICK, created=CREATED)
    unwrap(raw, one)
    with pytest.raises(WrongKey):
        unwrap(raw, other)


def test_the_file_is_what_every_program_expects() -> None:
    raw = wrap(MASTER, "secret", QUICK, created=CREATED, username="u", hostname="h")
    fields = json.loads(raw)
    assert list(fields) == ["created", "username", "hostname", "kdf", "N", "r", "p", "salt", "data"]
    assert (fields["kdf"], fields["N"], fields["r"], fields["p"]) == ("scrypt", 16, 8, 1)
    assert len(base64.b64decode(fields["salt"])) == 64
    assert not raw.endswith(b"\n")
    assert b"secret" not in raw
    again = json.loads(wrap(MASTER, "secret", QUICK, created=CREATED))
    assert again["salt"] != fields["salt"]
    assert again["data"] != fields["data"]


def changed(**fields: Any) -> bytes:
    """A key file for "secret" with other fields."""
    file = json.loads(wrap(MASTER, "secret", QUICK, created=CREATED)) | fields
    return json.dumps({name: value for name, value in file.items() if value is not None}).encode()


HOSTILE = [
    {"N": 2**40},
    {"N": 2**62, "r": 1},
    {"N": MAX_KDF_MEMORY // 1024 * 2, "r": 8},
    {"N": 1024, "r": 2**30},
    {"p": MAX_KDF_P + 1},
    {"p": 2**40},
    {"N": 0},
    {"N": 1},
    {"N": -16},
    {"N": 1000},
    {"N": 3},
    {"r": 0},
    {"r": -1},
    {"p": 0},
    {"N": 2**64},
    {"N": 10**30},
    {"N": 16.5},
    {"N": "16"},
    {"N": None},
    {"kdf": "argon2"},
    {"kdf": ""},
    {"salt": base64.b64encode(bytes(32)).decode()},
    {"salt": base64.b64encode(bytes(65)).decode()},
    {"salt": ""},
    {"salt": "!!!"},
    {"salt": None},
    {"data": "not base64"},
    {"data": None},
]


@pytest.mark.parametrize("fields", HOSTILE, ids=str)
def test_a_key_file_of_a_stranger_is_refused_before_it_costs_anything(fields: dict[str, Any]) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF)
    with pytest.raises(KeyRejected):
        unwrap(changed(**fields), "secret")
    after = resource.getrusage(resource.RUSAGE_SELF)
    assert after.ru_utime - before.ru_utime < 2
    assert after.ru_maxrss - before.ru_maxrss < 100 * 1024


def test_a_short_or_changed_master_key_is_a_wrong_password_or_no_key() -> None:
    for data in ("", base64.b64encode(bytes(31)).decode(), base64.b64encode(bytes(200)).decode()):
        with pytest.raises(WrongKey):
            unwrap(changed(data=data), "secret")


def test_a_master_key_that_is_none_is_refused() -> None:
    for inner in (b"", b"{}", b"[]", b"\xff", b'{"mac":{"k":"AA==","r":"AA=="},"encrypt":"AA=="}', b"null"):
        user = derive("secret", bytes(64), QUICK)
        sealed = base64.b64encode(user.seal(inner)).decode()
        with pytest.raises(KeyRejected):
            unwrap(changed(salt=base64.b64encode(bytes(64)).decode(), data=sealed), "secret")


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b"null", b"\xff\xfe", b"{}", b'"', b"[" * 100_000, b"1" * 5000])
def test_what_is_no_key_file_is_refused(raw: bytes) -> None:
    with pytest.raises(KeyRejected):
        parse(raw)


def test_a_key_file_beyond_all_reason_is_not_even_decoded() -> None:
    began = time.monotonic()
    with pytest.raises(KeyRejected):
        parse(changed(username="x" * MAX_KEY_FILE))
    assert time.monotonic() - began < 1


def test_fields_that_only_inform_may_be_missing_and_new_ones_there() -> None:
    assert parts(unwrap(changed(created=None, username=None, hostname=None, future=[1, {}]), "secret")) == parts(MASTER)


@pytest.mark.parametrize("params", [KdfParams(), KdfParams(n=1024, p=8), KdfParams(n=MAX_KDF_MEMORY // 1024)])
def test_what_stock_programs_use_is_within_the_bounds(params: KdfParams) -> None:
    params.check()


def test_the_bound_is_where_it_says() -> None:
    with pytest.raises(KeyRejected):
        KdfParams(n=MAX_KDF_MEMORY // 1024 * 2).check()
    with pytest.raises(KeyRejected):
        KdfParams(p=MAX_KDF_P + 1).check()


@pytest.mark.parametrize(
    ("one_pass", "seconds", "expected"),
    [
        (0.05, 0.5, KdfParams(n=32768, p=10)),
        (0.001, 0.5, KdfParams(n=32768, p=MAX_KDF_P)),
        (0.4, 0.5, KdfParams(n=32768, p=1)),
        (0.9, 0.5, KdfParams(n=16384, p=1)),
        (64.0, 0.5, KdfParams(n=1024, p=1)),
    ],
)
def test_calibration_follows_the_machine(
    monkeypatch: pytest.MonkeyPatch, one_pass: float, seconds: float, expected: KdfParams
) -> None:
    now = [0.0]

    def slow(password: str, salt: bytes, params: KdfParams) -> Key:
        now[0] += one_pass * params.n / 32768 * params.p
        return MASTER

    monkeypatch.setattr(keys, "derive", slow)
    assert keys.calibrate(seconds, clock=lambda: now[0]) == expected


def test_a_wrapped_key_that_does_not_open_is_never_given_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bad memory between sealing and opening."""
    real = Key.seal

    def bad(self: Key, plain: bytes) -> bytes:
        sealed = bytearray(real(self, plain))
        sealed[20] ^= 1
        return bytes(sealed)

    monkeypatch.setattr(Key, "seal", bad)
    with pytest.raises((KeyRejected, WrongKey)):
        wrap(MASTER, "secret", QUICK, created=CREATED)
