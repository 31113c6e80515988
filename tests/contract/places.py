"""Places to run the contract on: each hands out clients of one storage that starts empty."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from destinations.storage.base import ObjectStore
from destinations.storage.config import FtpConfig, S3Config, Secret, SftpConfig
from destinations.storage.ftp import FtpStore
from destinations.storage.local import LocalStore
from destinations.storage.memory import MemoryStore
from destinations.storage.s3 import S3Store
from destinations.storage.sftp import SftpStore
from destinations.storage.wrappers import (
    BandwidthStore,
    LimitedStore,
    MeteredStore,
    PrefixedStore,
    RetryingStore,
    WriteProtectedStore,
)
from destinations.storage.wrappers.bandwidth import Rates, Throttle
from destinations.storage.wrappers.metered import Meter
from destinations.storage.wrappers.retrying import RetryPolicy
from tests.fakes.faulty_store import FailingStore
from tests.servers import lend


@dataclass(frozen=True)
class Place:
    """One empty storage.  ``open`` makes a new client of it, also in another process if ``shared``."""

    open: Callable[[], ObjectStore]
    shared: bool = True
    many: int = 1100
    """How many objects a long listing has."""
    replaces_at_once: bool = True
    """Whether the server renames over a file as one step; rclone's own removes the old one first."""


def wrapped(inner: ObjectStore) -> ObjectStore:
    """The stack as it is used for a destination, around ``inner``."""
    paced = BandwidthStore(inner, Throttle(Rates(up=1 << 31, down=1 << 31)))
    metered = MeteredStore(paced, Meter())
    return RetryingStore(LimitedStore(metered, 4), RetryPolicy(first_pause=0.001), rng=random.Random(1))


def _memory(_folder: Path) -> Place:
    objects: dict[str, bytes] = {}
    return Place(lambda: MemoryStore(objects), shared=False)


def _local(folder: Path) -> Place:
    return Place(lambda: LocalStore(folder / "store"))


def _stack_on_local(folder: Path) -> Place:
    return Place(lambda: wrapped(LocalStore(folder / "store")))


def _prefixed(folder: Path) -> Place:
    LocalStore(folder / "store").put("beside/this", b"not below the prefix")
    return Place(lambda: PrefixedStore(LocalStore(folder / "store"), "server-1/alice-7f3k"))


def _stack_on_prefixed_memory(_folder: Path) -> Place:
    objects: dict[str, bytes] = {"beside": b"1", "server2/x": b"2"}
    return Place(lambda: wrapped(PrefixedStore(MemoryStore(objects), "server")), shared=False)


def _locks_allowed(folder: Path) -> Place:
    """Everything below locks/, through the write protection that lets just that pass."""
    return Place(
        lambda: PrefixedStore(WriteProtectedStore(LocalStore(folder / "store"), allow_locks=True), "repo/locks")
    )


def _retried_faults(folder: Path) -> Place:
    """A store that fails every fifth call by chance, half of them after the effect, made good by retries."""

    def client() -> ObjectStore:
        early = FailingStore(LocalStore(folder / "store"), chance=0.1, seed=1)
        late = FailingStore(early, chance=0.1, seed=2, after=True)
        return RetryingStore(late, RetryPolicy(retries=0, first_pause=0.0001, gone_after=60), rng=random.Random(3))

    return Place(client)


def ftp_config(server: str, folder: Path, **settings: Any) -> FtpConfig:
    """Settings for a lent FTP server; every test folder has a folder of its own there."""
    told = lend(server)
    tls = settings.get("tls", False)
    base = f"{told['path']}/" if "path" in told else ""
    values: dict[str, Any] = {
        "host": told["host"],
        "port": told["port"],
        "user": told["user"],
        "password": Secret(told["password"]),
        "path": f"{base}{_own(folder)}",
        "ca": told["ca"] if tls and "pins" not in settings else "",
    }
    return FtpConfig(**{**values, **settings})


def _own(folder: Path) -> str:
    return f"{folder.parent.name}-{folder.name}-{os.getpid()}"


def _ftp(server: str, **settings: Any) -> Callable[[Path], Place]:
    def make(folder: Path) -> Place:
        config = ftp_config(server, folder, **settings)
        return Place(lambda: FtpStore(config), many=100)

    return make


def sftp_config(server: str, folder: Path, **settings: Any) -> SftpConfig:
    """Settings for a lent SSH server; every test folder has a folder of its own there."""
    told = lend(server)
    log_in: dict[str, Any] = {name: Secret(told[name]) for name in ("password", "private_key") if name in told}
    base = f"{told['home']}/" if server == "openssh" else ""
    values: dict[str, Any] = {
        "host_keys": (told["fingerprint"],),
        "path": f"{base}{_own(folder)}",
        **log_in,
        **settings,
    }
    return SftpConfig(**{"host": told["host"], "port": told["port"], "user": told["user"], **values})


def _sftp(server: str, replaces_at_once: bool = True, **settings: Any) -> Callable[[Path], Place]:
    def make(folder: Path) -> Place:
        config = sftp_config(server, folder, **settings)
        return Place(
            lambda: SftpStore(config),
            many=300,
            replaces_at_once=replaces_at_once,
        )

    return make


def _stack_on_sftp(folder: Path) -> Place:
    config = sftp_config("openssh", folder)
    return Place(lambda: wrapped(SftpStore(config)), many=100)


def _stack_on_ftp(folder: Path) -> Place:
    config = ftp_config("pure-ftpd", folder)
    return Place(lambda: wrapped(FtpStore(config)), many=100)


def s3_config(server: str, folder: Path, **settings: Any) -> S3Config:
    """Settings for a lent S3 server; every test folder has a prefix of its own there."""
    told = lend(server)
    values: dict[str, Any] = {
        "bucket": told.get("bucket", f"contract-{os.getpid()}"),
        "create_bucket": "bucket" not in told,
        "prefix": _own(folder),
        "endpoint": told["endpoint"],
        "access_key": told["access_key"],
        "secret_key": Secret(told["secret_key"]),
    }
    return S3Config(**{**values, **settings})


def _s3(server: str, secure: bool = False, **settings: Any) -> Callable[[Path], Place]:
    def make(folder: Path) -> Place:
        if secure:
            told = lend(server)
            settings.update(endpoint=told["secure_endpoint"], ca=told["ca"])
        config = s3_config(server, folder, **settings)
        if config.create_bucket:
            make_bucket(config)
        return Place(
            lambda: S3Store(config), many=1100 if server == "ceph-rgw" else 100, replaces_at_once=server != "rclone-s3"
        )

    return make


@cache
def _bucket_made(endpoint: str, bucket: str) -> set[str]:
    return set()


def make_bucket(config: S3Config) -> None:
    made = _bucket_made(config.endpoint, config.bucket)
    if made:
        return
    made.add(config.bucket)
    store = S3Store(msgspec.structs.replace(config, prefix=""))
    store.put("bucket-is-there", b"")
    store.close()


def _stack_on_s3(folder: Path) -> Place:
    place = _s3("ceph-rgw")(folder)
    return Place(lambda: wrapped(place.open()), many=100)


PLACES: dict[str, Callable[[Path], Place]] = {
    "memory": _memory,
    "local": _local,
    "local-stack": _stack_on_local,
    "prefixed-local": _prefixed,
    "prefixed-memory-stack": _stack_on_prefixed_memory,
    "locks-of-read-only-local": _locks_allowed,
    "faulty-local-retried": _retried_faults,
    "pure-ftpd": _ftp("pure-ftpd"),
    "pure-ftpd-tls": _ftp("pure-ftpd", tls=True),
    "pure-ftpd-active": _ftp("pure-ftpd", passive=False, read_back=False),
    "vsftpd-strict-tls": _ftp("vsftpd-strict", tls=True),
    "vsftpd-no-mlsd": _ftp("vsftpd-plain"),
    "odd-ftp": _ftp("odd-ftp"),
    "odd-ftp-hash": _ftp("odd-ftp-hash"),
    "odd-ftp-poor": _ftp("odd-ftp-poor"),
    "pure-ftpd-stack": _stack_on_ftp,
    "openssh": _sftp("openssh"),
    "small-ssh": _sftp("small-ssh"),
    "rclone-sftp": _sftp("rclone-sftp", replaces_at_once=False),
    "openssh-stack": _stack_on_sftp,
    "ceph-rgw": _s3("ceph-rgw"),
    "ceph-rgw-tls-parts": _s3("ceph-rgw", secure=True, part_size=5 << 20),
    "rclone-s3": _s3("rclone-s3"),
    "ceph-rgw-stack": _stack_on_s3,
}
