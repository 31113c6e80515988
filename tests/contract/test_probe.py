"""The test of a destination: every step with its result, and on failure the cause and the next step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from destinations.storage import ObjectInfo, ObjectStore
from destinations.storage.base import LockPolicy
from destinations.storage.config import Secret
from destinations.storage.ftp import FtpStore
from destinations.storage.local import LocalStore
from destinations.storage.memory import MemoryStore
from destinations.storage.probe import Probe, StepResult
from destinations.storage.s3 import S3Store
from destinations.storage.sftp import SftpStore
from tests.contract.places import ftp_config, make_bucket, s3_config, sftp_config
from tests.fakes.faulty_store import CorruptingStore, FullStore, LaggyStore, LyingStore, TruncatingStore
from tests.servers import lend
from tests.servers.kinds import free_port

WORK = ["list", "write", "read back", "read a range", "replace by rename", "list after write", "several at once",
        "speed", "delete", "object lock", "free space"]  # fmt: skip


def steps(open_store: Callable[[], ObjectStore], **settings: bool | int) -> dict[str, StepResult]:
    results = list(Probe(open_store, **{"speed_bytes": 1 << 20, **settings}).run())  # type: ignore[arg-type]
    assert len({result.name for result in results}) == len(results)
    return {result.name: result for result in results}


def places(folder: Path) -> dict[str, tuple[Callable[[], ObjectStore], list[str]]]:
    s3 = s3_config("ceph-rgw", folder)
    make_bucket(s3)
    return {
        "local": (lambda: LocalStore(folder / "store"), []),
        "memory": (lambda objects={}: MemoryStore(objects), []),  # type: ignore[misc]
        "ftp": (lambda: FtpStore(ftp_config("pure-ftpd", folder)), ["connect", "log in"]),
        "ftps": (lambda: FtpStore(ftp_config("pure-ftpd", folder, tls=True)), ["connect", "secure", "log in"]),
        "sftp": (
            lambda: SftpStore(sftp_config("openssh", folder)),
            ["connect", "check the identity", "log in", "open SFTP"],
        ),
        "s3": (lambda: S3Store(s3), ["connect", "log in"]),
    }


@pytest.mark.parametrize("kind", ["local", "memory", "ftp", "ftps", "sftp", "s3"])
def test_a_good_destination_passes_every_step_and_is_left_as_it_was(tmp_path: Path, kind: str) -> None:
    open_store, connecting = places(tmp_path)[kind]
    store = open_store()
    store.put("data/00/theirs", b"1")
    results = steps(open_store)
    assert list(results) == [*connecting, *WORK]
    assert {result.state for result in results.values()} == {"ok"}
    assert "MB/s up" in results["speed"].detail
    assert all(result.seconds >= 0 and not result.code for result in results.values())
    assert dict(store.list("")) == {"data/00/theirs": 1}
    store.close()


def test_results_come_while_the_test_runs() -> None:
    running = Probe(MemoryStore, speed_bytes=1 << 16).run()
    assert next(running).name == "list"
    assert next(running).name == "write"


def test_a_failed_step_says_why_and_what_to_do_and_ends_the_test(tmp_path: Path) -> None:
    results = steps(lambda: FtpStore(ftp_config("pure-ftpd", tmp_path, password=Secret("hunter2"))))
    assert [result.state for result in results.values()] == ["ok", "failed", *["skipped"] * len(WORK)]
    failed = results["log in"]
    assert failed.code == "HF-STORE-LOGIN"
    assert "refused the log-in" in failed.detail
    assert "user name and password" in failed.guidance
    assert "hunter2" not in repr(results)


def test_an_identity_to_confirm_is_handed_out(tmp_path: Path) -> None:
    results = steps(lambda: SftpStore(sftp_config("openssh", tmp_path, host_keys=())))
    assert results["connect"].state == "ok"
    asked = results["check the identity"]
    assert (asked.state, asked.code) == ("failed", "HF-STORE-FINGERPRINT-NEW")
    assert asked.fingerprint.startswith("ssh-ed25519 SHA256:")
    assert results["log in"].state == "skipped"


def test_a_certificate_that_is_not_trusted_is_shown_to_be_pinned(tmp_path: Path) -> None:
    told, ceph = lend("pure-ftpd"), lend("ceph-rgw")
    for open_store, step, pin in (
        (lambda: FtpStore(ftp_config("pure-ftpd", tmp_path, tls=True, ca="")), "secure", told["pin"]),
        (lambda: S3Store(s3_config("ceph-rgw", tmp_path, endpoint=ceph["secure_endpoint"])), "connect", ceph["pin"]),
    ):
        failed = steps(open_store)[step]
        assert (failed.code, failed.fingerprint) == ("HF-STORE-CERT", pin)


def test_a_closed_port_is_told_at_the_first_step(tmp_path: Path) -> None:
    results = steps(lambda: S3Store(s3_config("ceph-rgw", tmp_path, endpoint=f"http://127.0.0.1:{free_port()}")))
    assert results["connect"].code == "HF-STORE-PORT"


class BadRange(MemoryStore):
    def get(self, key: str, *, offset: int = 0, length: int | None = None) -> bytes:
        return super().get(key, offset=0, length=length)


class NoDelete(MemoryStore):
    def delete(self, key: str) -> None:
        pass


class StaleList(MemoryStore):
    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        return iter([])


@pytest.mark.parametrize(
    ("liar", "step"),
    [
        (lambda: LyingStore(MemoryStore(), at=[1]), "write"),
        (lambda: TruncatingStore(MemoryStore(), at=[1]), "write"),
        (lambda: CorruptingStore(MemoryStore(), at=[1]), "read back"),
        (BadRange, "read a range"),
        (lambda: LyingStore(MemoryStore(), at=[2]), "replace by rename"),
        (lambda: LaggyStore(MemoryStore(), requests=50), "list after write"),
        (StaleList, "list after write"),
        (lambda: FullStore(MemoryStore(), room=200_000), "several at once"),
        (lambda: FullStore(MemoryStore(), room=1 << 20), "speed"),
        (NoDelete, "delete"),
    ],
)
def test_a_storage_that_lies_is_found_out(liar: Callable[[], ObjectStore], step: str) -> None:
    store = liar()
    results = steps(lambda: store)
    failed = [result for result in results.values() if result.state == "failed"]
    assert [result.name for result in failed] == [step]
    assert failed[0].code
    assert failed[0].guidance


def test_a_read_only_destination_is_only_read(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "store")
    results = steps(lambda: store, read_only=True)
    assert list(results) == ["list", "free space"]
    assert not (tmp_path / "store").exists()


def test_a_default_retention_that_would_catch_locks_is_a_warning() -> None:
    class Locked(MemoryStore):
        def lock_policy(self) -> LockPolicy:
            return LockPolicy(True, "COMPLIANCE", 30)

        def lock_until(self, key: str, until: object) -> None:
            pass

    results = steps(Locked)
    warned = results["object lock"]
    assert warned.state == "warning"
    assert "30 days" in warned.detail
    assert "default retention" in warned.guidance
    assert results["free space"].state == "ok"


def test_what_a_failed_test_wrote_is_removed() -> None:
    objects: dict[str, bytes] = {}
    store = CorruptingStore(MemoryStore(objects), at=[1])
    assert steps(lambda: store)["read back"].state == "failed"
    assert objects == {}
