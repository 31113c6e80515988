"""Packs, blobs, index, snapshots, locks, config and keys from strangers."""

from __future__ import annotations

import base64
import functools
import json
import struct
import time
from hashlib import sha256
from typing import Any

from backups.engine import keys
from backups.engine.blob import Codec, open_blob
from backups.engine.check_subset import Subset
from backups.engine.checker import Check, CheckOptions
from backups.engine.cli.browse import snapshot_fields, snapshot_table
from backups.engine.crypto import Key
from backups.engine.errors import BadRequest, EngineError, KeyRejected
from backups.engine.index import Index
from backups.engine.index_file import decode_index, encode_index
from backups.engine.layout import CONFIG, DATA, INDEX, LOCKS, object_key
from backups.engine.locks import decode_lock, list_locks
from backups.engine.output import Console
from backups.engine.pack import ENTRY_PLAIN, FIXED, file_size, header_length, parse_header
from backups.engine.repository import Repository
from backups.engine.retention import Duration, Policy, apply
from backups.engine.snapshot import choose_parent, decode_snapshot, encode_snapshot, group_by
from destinations.storage.memory import MemoryStore
from tests.engine.repositories import PASSWORD, POLYNOMIAL, QUICK, TIME, Writer, new_repository, noise
from tests.fuzz.target import Target

KEY = Key(bytes(range(32)), bytes(range(32, 48)), bytes(range(48, 64)))
TIMES = (TIME, "2024-06-01T10:20:30.123456789+02:00", "0000-12-31T19:03:58-04:56", "9999-12-31T23:59:59Z")
ID = "07" * 32
_PACK_FILLER = 100


# ---------------------------------------------------------------------- packs


def _headers() -> list[bytes]:
    one = bytes([0]) + struct.pack("<I", 50) + bytes(32)
    packed = bytes([3]) + struct.pack("<II", 60, 200) + bytes(32)
    return [one, packed, one * 3 + packed * 2, packed * 40, bytes([1]) + one[1:]]


def _header(data: bytes) -> None:
    entries = parse_header(data)
    again = b"".join(
        bytes([e.kind + (2 if e.plain_size else 0)])
        + struct.pack("<I", e.length)
        + (struct.pack("<I", e.plain_size) if e.plain_size else b"")
        + e.id
        for e in entries
    )
    assert again == data
    assert all(e.offset + e.length <= file_size(entries) for e in entries)


def _pack_files() -> list[bytes]:
    """A header in plain and the length that is claimed for it once it is sealed."""
    return [header + struct.pack("<I", len(header) + 32) for header in _headers()]


def _pack_file(data: bytes) -> None:
    header, claimed = data[:-4], data[-4:]
    whole = bytes(_PACK_FILLER) + KEY.seal(header) + claimed
    name = sha256(whole).hexdigest()
    repository = bare({object_key(DATA, name): whole})
    entries = repository.read_header(name, len(whole))
    assert file_size(entries) == len(whole)


def _tails() -> list[bytes]:
    return [struct.pack("<II", size, length) for size in (0, 73, 1000) for length in (0, 69, 73, 900)]


def _tail(data: bytes) -> None:
    size = int.from_bytes(data[:4], "little")
    length = header_length(data[4:], size)
    assert ENTRY_PLAIN + FIXED <= length + 4 <= size


# ---------------------------------------------------------------------- objects of a repository


@functools.cache
def _empty() -> Repository:
    config = json.dumps({"version": 2, "id": ID, "chunker_polynomial": f"{POLYNOMIAL:x}"}).encode()
    return Repository.open_with_key(MemoryStore({CONFIG: KEY.seal(config)}), KEY)


def bare(objects: dict[str, bytes], key: Key = KEY) -> Repository:
    """A repository of these objects; opening one each time would be most of the time."""
    repository = _empty().twin()
    repository.store, repository.key = MemoryStore(dict(objects)), key
    return repository


@functools.cache
def sample() -> tuple[dict[str, bytes], Key, str, str]:
    """A small whole repository: its objects, its key, its snapshot's id and tree."""
    objects: dict[str, bytes] = {}
    repository = new_repository(MemoryStore(objects))
    writer = Writer(repository, pack_blobs=3)
    name = writer.snapshot({"a": b"text" * 50, "d": {"b": noise(1), "c": [noise(2), noise(3)]}, "e": b""})
    return objects, repository.key, name, repository.snapshots()[0].tree


def _sealed_payloads() -> list[bytes]:
    codec = Codec()
    frames = [codec.compress(data) for data in (b"", b"{}", b"x" * 1000, bytes(1 << 22), noise(1))]
    return [b"", b"{}", b"[]", b"\x02", b"\x03x", *(b"\x02" + frame for frame in frames), b"\x02" + frames[1] * 2]


def _payload(data: bytes) -> None:
    bare({}).decode_object(KEY.seal(data))


def _blobs() -> list[bytes]:
    frame = Codec().compress(b"x" * 1000)
    return [
        struct.pack("<I", 0) + b"plain",
        struct.pack("<I", 1000) + frame,
        struct.pack("<I", 999) + frame,
        struct.pack("<I", 2000) + frame * 2,
        struct.pack("<I", 2**32 - 1) + Codec().compress(bytes(1 << 20)),
    ]


def _blob(data: bytes) -> None:
    open_blob(KEY, KEY.seal(data[4:]), int.from_bytes(data[:4], "little"), bytes(32))


def _indexes() -> list[bytes]:
    objects, key, _, _ = sample()
    repository = bare(objects, key)
    found = [repository.load_object(INDEX, name) for name in repository.ids(INDEX)]
    return [b'{"packs":[]}', *found]


def _index(data: bytes) -> None:
    packs = decode_index(data)
    again = decode_index(encode_index((pack.hex(), entries) for pack, entries in packs))
    assert again == packs
    index = Index(rebuild_at=3)
    for pack, entries in packs:
        index.add(pack, entries)
    table = index.compact()
    for number in range(len(index)):
        (kind, name), place = table.key(number), table.location(number)
        assert index.has(kind, name)
        assert place.offset + place.length < 1 << 32
    _read_all(data)


def _read_all(index: bytes) -> None:
    """Read every blob through an index that says anything about packs that are there, or are not."""
    whole, key, _, _ = sample()
    sealed = key.seal(index)
    others = {name: data for name, data in whole.items() if not name.startswith(INDEX)}
    others[object_key(INDEX, sha256(sealed).hexdigest())] = sealed
    repository = bare(others, key)
    repository.load_index()
    for kind, name, _ in list(repository.index.items())[:50]:
        try:
            repository.load_blob(kind, name)
        except EngineError:
            continue
    for finding in Check(repository, CheckOptions(read=Subset(), workers=0)).findings():
        assert str(finding.message)


def _snapshots() -> list[bytes]:
    full = {
        "time": TIMES[1], "parent": ID, "tree": ID, "paths": ["/a", "/b"], "hostname": "h", "username": "u", "uid": 1,
        "gid": 2, "excludes": ["*.o"], "tags": ["t", "é"], "original": ID, "program_version": "restic 0.19.1",
        "summary": {"backup_start": TIMES[1], "backup_end": TIMES[1], "files_new": 1, "total_bytes_processed": 5},
        "unknown": {"x": [1]},
    }  # fmt: skip
    return [json.dumps({"time": moment, "tree": ID, "paths": ["/"]}).encode() for moment in TIMES] + [
        json.dumps(full).encode()
    ]


def _snapshot(data: bytes) -> None:
    snapshot = decode_snapshot(data, ID)
    assert decode_snapshot(encode_snapshot(snapshot), ID) == snapshot
    (key,) = group_by([snapshot], "host,paths,tags")
    assert str(key) is not None
    choose_parent([snapshot], hostname="h", paths=["/a"], not_after=time.time_ns())
    for policy in (Policy(last=1, daily=1, weekly=2, yearly=-1), Policy(within=Duration(years=9999, days=10**6))):
        try:
            apply([snapshot, snapshot], policy, 10**18)
        except BadRequest:  # nothing of the group would stay
            continue
    console = Console(json=True, out=Nowhere())
    console.record(snapshot_fields(snapshot))
    for line in snapshot_table([snapshot], compact=False):
        console.result(line)


class Nowhere:
    """A text stream that takes what a real one could."""

    def write(self, text: str) -> int:
        return len(text.encode("utf-8", "surrogateescape"))

    def flush(self) -> None:
        """Nothing is kept."""

    def isatty(self) -> bool:
        """It stands for a pipe."""
        return False


def _locks() -> list[bytes]:
    base = {"time": TIMES[1], "exclusive": False, "hostname": "h", "username": "u", "pid": 999_999_999}
    return [json.dumps(base).encode(), json.dumps({**base, "exclusive": True, "uid": 1, "gid": 1}).encode()]


def _lock(data: bytes) -> None:
    sealed = KEY.seal(data)
    repository = bare({object_key(LOCKS, sha256(sealed).hexdigest()): sealed})
    assert len(list_locks(repository)) == 1
    lock = decode_lock(data)
    assert decode_lock(lock.encoded()) == lock
    assert str(lock)
    assert lock.is_stale(time.time(), lock.hostname) in (True, False)


def _configs() -> list[bytes]:
    return [
        json.dumps({"version": version, "id": ID, "chunker_polynomial": polynomial}).encode()
        for version, polynomial in ((2, "3da3358b4dc173"), (1, "25b468838dcb75"), (2, "7"), (3, "11b"))
    ]


def _config(data: bytes) -> None:
    repository = Repository.open_with_key(MemoryStore({CONFIG: KEY.seal(data)}), KEY)
    assert repository.version in (1, 2)
    repository.chunker.next_cut(bytes(600_000), 0, 600_000, final=True)


# ---------------------------------------------------------------------- keys


def _salted(**fields: Any) -> bytes:
    base = {
        "created": TIMES[1], "username": "u", "hostname": "h", "kdf": "scrypt", "N": 16, "r": 8, "p": 1,
        "salt": base64.b64encode(bytes(64)).decode(), "data": "",
    }  # fmt: skip
    return json.dumps({**base, **fields}).encode()


def _key_files() -> list[bytes]:
    raw = keys.wrap(KEY, PASSWORD, QUICK, created=TIMES[1], username="u", hostname="h")
    return [raw, _salted(N=2**20, r=8, p=16), _salted(N=2**31, r=8, p=1), _salted(salt="AA=="), _salted(data="!")]


def _key_file(data: bytes) -> None:
    file = keys.parse(data)
    params = keys.KdfParams(file.N, file.r, file.p)
    params.check()
    assert params.n * params.r * 128 <= keys.MAX_KDF_MEMORY
    assert params.p <= keys.MAX_KDF_P
    if params.n * params.r * params.p <= 1 << 16:
        keys.unwrap(data, PASSWORD)


def _masters() -> list[bytes]:
    def text(raw: bytes) -> str:
        return base64.b64encode(raw).decode()

    return [
        json.dumps({"mac": {"k": text(KEY.mac_k), "r": text(KEY.mac_r)}, "encrypt": text(KEY.encrypt)}).encode(),
        json.dumps({"mac": {"k": text(bytes(16)), "r": text(bytes(16))}, "encrypt": text(bytes(32))}).encode(),
    ]


@functools.cache
def _password_key() -> Key:
    return keys.derive(PASSWORD, bytes(64), QUICK)


def _master(data: bytes) -> None:
    raw = _salted(data=base64.b64encode(_password_key().seal(data)).decode())
    try:
        key = keys.unwrap(raw, PASSWORD)
    except KeyRejected:
        return
    assert key.open(key.seal(b"x")) == b"x"


OBJECTS: dict[str, Target] = {
    "header": Target(_headers, _header),
    "pack": Target(_pack_files, _pack_file),
    "pack-end": Target(_tails, _tail),
    "payload": Target(_sealed_payloads, _payload, (b"\x28\xb5\x2f\xfd", b"\x02")),
    "blob": Target(_blobs, _blob, (b"\x28\xb5\x2f\xfd",)),
    "index": Target(_indexes, _index, (b'"uncompressed_length":1', b'"type":"tree"')),
    "snapshot": Target(_snapshots, _snapshot, (b'"summary":{}', b"null", b"-00:00", b"\\u0000")),
    "lock": Target(_locks, _lock, (b"null", b'"pid":')),
    "config": Target(_configs, _config, (b'"chunker_polynomial":"-', b'"version":1')),
    "key": Target(_key_files, _key_file, (b'"kdf":"pbkdf2"', b"==")),
    "master-key": Target(_masters, _master, (b"==", b"AAAA")),
}
