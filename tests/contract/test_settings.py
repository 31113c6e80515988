"""Settings, locations, the networks that may be reached, and what the registry makes of them."""

from __future__ import annotations

import ipaddress
import pickle
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from destinations.storage import BadConfig, ObjectStore, ReadOnlyStore, ReportsCapacity, StoreError, StoreFull
from destinations.storage.config import (
    Config,
    FtpConfig,
    LocalConfig,
    S3Config,
    Secret,
    SftpConfig,
    below,
    from_plain,
    to_plain,
)
from destinations.storage.connect import Reach, resolve
from destinations.storage.errors import AddressForbidden, DiskLimitReached, HostUnknown
from destinations.storage.ftp import FtpStore
from destinations.storage.local import LocalStore
from destinations.storage.location import open_location, parse_location
from destinations.storage.memory import MemoryStore
from destinations.storage.registry import make_driver, open_store, throttle_of
from destinations.storage.s3 import S3Store
from destinations.storage.sftp import SftpStore
from destinations.storage.wrappers import DiskGuardedStore
from destinations.storage.wrappers.bandwidth import Rates
from destinations.storage.wrappers.metered import Meter
from tests.contract.places import ftp_config, make_bucket, s3_config, sftp_config
from tests.fakes.clock import HandClock
from tests.servers import lend

# secrets and settings


def test_a_secret_shows_in_nothing_but_what_asks_for_it() -> None:
    config = FtpConfig(host="h", user="u", password=Secret("hunter2"))
    for text in (repr(config), str(config), f"{config}", repr(to_plain(config)), repr([config]), repr(config.password)):
        assert "hunter2" not in text
    assert to_plain(config)["password"] == "***"
    assert to_plain(config, reveal=True)["password"] == "hunter2"
    assert config.password.reveal() == "hunter2"
    with pytest.raises(TypeError):
        pickle.dumps(config.password)
    with pytest.raises(TypeError):
        hash(config.password)


CONFIGS: list[Config] = [
    LocalConfig(path="/var/backups", disk_limit=90),
    FtpConfig(host="ftp.example.org", user="u", password=Secret("p"), tls=True, pins=("ab" * 32,)),
    SftpConfig(host="::1", user="u", host_keys=("SHA256:abc",), private_key=Secret("k"), retries=0),
    S3Config(bucket="my.bucket-1", endpoint="https://s3.example.org", secret_key=Secret("s"), access_key="a"),
]


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: type(config).__name__)
def test_settings_survive_being_plain_data(config: Config) -> None:
    assert from_plain(to_plain(config, reveal=True)) == config
    assert from_plain(to_plain(config, reveal=True)) != from_plain({**to_plain(config, reveal=True), "retries": 77})


@pytest.mark.parametrize(
    "data",
    [
        {},
        None,
        {"kind": "floppy"},
        {"kind": "local"},
        {"kind": "local", "path": "relative"},
        {"kind": "local", "path": "/x", "pth": "/y"},
        {"kind": "ftp", "host": "h", "user": "u", "port": 0},
        {"kind": "ftp", "host": "h", "user": "u", "port": 65536},
        {"kind": "ftp", "host": "h", "user": ""},
        {"kind": "ftp", "host": "h h", "user": "u"},
        {"kind": "ftp", "host": "-oProxyCommand=x", "user": "u"},
        {"kind": "ftp", "host": "h", "user": "u", "timeout": 0},
        {"kind": "ftp", "host": "h", "user": "u", "retries": -1},
        {"kind": "ftp", "host": "h", "user": "u", "pins": ["short"]},
        {"kind": "ftp", "host": "h", "user": "u", "zone": "Mars/Olympus"},
        {"kind": "ftp", "host": "h", "user": "u", "frames": [{"start": "25:00", "end": "06:00"}]},
        {"kind": "ftp", "host": "h", "user": "u", "frames": [{"start": "1:00", "end": "06:00", "days": [7]}]},
        {"kind": "ftp", "host": "h", "user": "u", "allowed_networks": ["10.0.0.1/8"]},
        {"kind": "ftp", "host": "h", "user": "u", "password": 12345},
        {"kind": "sftp", "host": "h", "user": "u", "disk_limit": 101},
        {"kind": "s3", "bucket": "UP/down"},
        {"kind": "s3", "bucket": "a..b"},
        {"kind": "s3", "bucket": "bucket", "endpoint": "ftp://x"},
        {"kind": "s3", "bucket": "bucket", "part_size": 1},
        {"kind": "s3", "bucket": "bucket", "object_lock": "GOVERNANCE"},
        {"kind": "s3", "bucket": "bucket", "object_lock_days": 5},
    ],
)
def test_settings_that_cannot_work_are_refused_with_a_code(data: object) -> None:
    with pytest.raises(BadConfig) as refused:
        from_plain(data)
    assert refused.value.code == "HF-STORE-CONFIG"
    assert "12345" not in str(refused.value)


def test_a_repository_lies_below_its_destination() -> None:
    assert below(CONFIGS[0], "server/alice-7f3k").path == "/var/backups/server/alice-7f3k"  # type: ignore[union-attr]
    assert below(CONFIGS[1], "server").path == "server"  # type: ignore[union-attr]
    assert below(CONFIGS[3], "server").prefix == "server"  # type: ignore[union-attr]
    assert below(S3Config(bucket="bucket", prefix="a/"), "b").prefix == "a/b"  # type: ignore[union-attr]
    assert below(CONFIGS[0], "") is CONFIGS[0]
    for bad in ("..", "/etc", "a/../b"):
        with pytest.raises(BadConfig):
            below(CONFIGS[0], bad)


# the networks that may be reached


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1",
        "255.255.255.255", "240.0.0.1", "192.0.2.1", "::1", "::", "fe80::1", "fd00:ec2::254", "ff02::1",
        "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::a00:1", "2002:7f00:1::", "2001:db8::1",
    ],
)  # fmt: skip
def test_customers_do_not_reach_private_and_special_networks(address: str) -> None:
    assert not Reach(public_only=True).permits(ipaddress.ip_address(address))
    assert Reach().permits(ipaddress.ip_address(address)), "administrators reach everything"


def test_public_hosts_and_allowed_networks_are_reached() -> None:
    reach = Reach(public_only=True, allowed=("10.20.0.0/16", "fd00::/8"))
    for address in ("9.9.9.9", "2620:fe::fe", "10.20.5.5", "fd00::5", "::ffff:10.20.0.1"):
        assert reach.permits(ipaddress.ip_address(address))
    assert not reach.permits(ipaddress.ip_address("10.21.0.1"))


@given(st.ip_addresses(v=4))
def test_no_embedding_of_a_forbidden_address_gets_through(address: ipaddress.IPv4Address) -> None:
    reach = Reach(public_only=True)
    if reach.permits(address):
        return
    for text in (f"::ffff:{address}", f"64:ff9b::{address}"):
        assert not reach.permits(ipaddress.ip_address(text))


@pytest.mark.parametrize(
    "store",
    [
        lambda: FtpStore(FtpConfig(host="localhost", user="u", public_only=True)),
        lambda: SftpStore(SftpConfig(host="127.0.0.1", user="u", public_only=True)),
        lambda: S3Store(S3Config(bucket="bucket", endpoint="http://[::1]:9000", public_only=True)),
        lambda: S3Store(S3Config(bucket="bucket", endpoint="http://169.254.169.254", public_only=True)),
    ],
)
def test_every_kind_keeps_to_the_networks(store: Callable[[], ObjectStore]) -> None:
    with pytest.raises(AddressForbidden):
        store().stat("config")


def test_a_name_is_resolved_once_and_its_addresses_are_what_is_connected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([["9.9.9.9", "10.0.0.1"], ["10.0.0.1"]])

    def lookup(*_: object, **__: object) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0)) for address in next(answers)]

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    assert resolve("rebinding.example.org", Reach(public_only=True)) == ["9.9.9.9"]


def test_an_outage_of_the_name_server_passes_and_an_unknown_name_lasts(monkeypatch: pytest.MonkeyPatch) -> None:
    for number, passing in ((socket.EAI_AGAIN, True), (socket.EAI_NONAME, False)):

        def lookup(*_: object, number: int = number, **__: object) -> list[Any]:
            raise socket.gaierror(number, "no")

        monkeypatch.setattr(socket, "getaddrinfo", lookup)
        with pytest.raises(HostUnknown) as unknown:
            resolve("example.org", Reach())
        assert unknown.value.temporary is passing


# locations


NO_ENV: dict[str, str] = {"HOME": "/nonexistent"}


@pytest.mark.parametrize(
    ("location", "found"),
    [
        ("/var/backups/x", LocalConfig(path="/var/backups/x")),
        ("local:/var/backups/x", LocalConfig(path="/var/backups/x")),
        ("/odd:name/x", LocalConfig(path="/odd:name/x")),
        ("sftp:u@h:/abs/path", SftpConfig(host="h", user="u", path="/abs/path")),
        ("sftp:u@h:relative", SftpConfig(host="h", user="u", path="relative")),
        ("sftp://u@h:2222/relative", SftpConfig(host="h", port=2222, user="u", path="relative")),
        ("sftp://u@h//abs", SftpConfig(host="h", user="u", path="/abs")),
        ("sftp://u@[::1]:2222/x", SftpConfig(host="::1", port=2222, user="u", path="x")),
        ("ftp://u@h/a/b", FtpConfig(host="h", user="u", path="a/b")),
        ("ftp://h/a%20b", FtpConfig(host="h", user="anonymous", path="a b")),
        ("ftps://u@h:2121/a", FtpConfig(host="h", port=2121, user="u", path="a", tls=True)),
        ("s3:https://h:9000/bucket/a/b/", S3Config(endpoint="https://h:9000", bucket="bucket", prefix="a/b")),
        ("s3:http://h/bucket", S3Config(endpoint="http://h", bucket="bucket")),
        ("s3:s3.example.org/bucket/x", S3Config(endpoint="https://s3.example.org", bucket="bucket", prefix="x")),
        ("s3://bucket/x", S3Config(bucket="bucket", prefix="x")),
    ],
)
def test_locations_of_every_kind_are_understood(location: str, found: Config) -> None:
    assert parse_location(location, NO_ENV) == found


def test_a_relative_path_is_one_from_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert parse_location("repo", NO_ENV) == LocalConfig(path=str(tmp_path / "repo"))


@pytest.mark.parametrize(
    "location",
    [
        "",
        "gopher://h/x",
        "sftp:u:hunter2@h:/x",
        "sftp://u:hunter2@h/x",
        "ftp://u:hunter2@h/x",
        "ftp:///x",
        "s3:https://h/",
        "ftp://h:99999/",
    ],
)
def test_locations_that_cannot_work_or_hold_a_password_are_refused(location: str) -> None:
    with pytest.raises(BadConfig) as refused:
        parse_location(location, NO_ENV)
    assert "hunter2" not in str(refused.value)


def test_secrets_come_from_the_environment_or_from_files(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("from a file\n")
    config = parse_location("ftp://u@h/x", {**NO_ENV, "HOLDFAST_FTP_PASSWORD_FILE": str(secret)})
    assert isinstance(config, FtpConfig)
    assert config.password.reveal() == "from a file"
    env = {**NO_ENV, "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "s", "AWS_DEFAULT_REGION": "eu-central-1"}
    found = parse_location("s3://bucket/x", env)
    assert isinstance(found, S3Config)
    assert (found.access_key, found.secret_key.reveal(), found.region) == ("a", "s", "eu-central-1")
    with pytest.raises(BadConfig) as refused:
        parse_location("ftp://u@h/x", {**NO_ENV, "HOLDFAST_FTP_PASSWORD_FILE": "/nonexistent/file"})
    assert "HOLDFAST_FTP_PASSWORD_FILE" in str(refused.value)
    with pytest.raises(BadConfig):
        parse_location("ftp://u@h/x", {**NO_ENV, "HOLDFAST_RETRIES": "many"})


def test_identities_that_ssh_has_confirmed_are_accepted(tmp_path: Path) -> None:
    ssh = tmp_path / ".ssh"
    ssh.mkdir()
    (ssh / "known_hosts").write_text(
        "# comment\n"
        "plain.example.org,10.0.0.1 ssh-ed25519 AAAA1 comment\n"
        "[plain.example.org]:2222 ssh-rsa AAAA2\n"
        "*.wild.example.org,!not.wild.example.org ssh-ed25519 AAAA3\n"
        "@revoked plain.example.org ssh-ed25519 AAAA4\n"
        "broken line\n"
    )
    env = {"HOME": str(tmp_path)}

    def keys(location: str, **more: str) -> tuple[str, ...]:
        config = parse_location(location, {**env, **more})
        assert isinstance(config, SftpConfig)
        return config.host_keys

    assert keys("sftp:u@plain.example.org:/x") == ("ssh-ed25519 AAAA1",)
    assert keys("sftp://u@Plain.example.org:2222/x") == ("ssh-rsa AAAA2",)
    assert keys("sftp:u@a.wild.example.org:/x") == ("ssh-ed25519 AAAA3",)
    assert keys("sftp:u@not.wild.example.org:/x") == ()
    assert keys("sftp:u@other.example.org:/x") == ()
    assert keys("sftp:u@x:/x", HOLDFAST_SFTP_FINGERPRINT="SHA256:a, SHA256:b") == ("SHA256:a", "SHA256:b")


def test_hashed_host_names_are_found(tmp_path: Path) -> None:
    import subprocess

    ssh = tmp_path / ".ssh"
    ssh.mkdir()
    key = (Path(lend("openssh")["home"]).parent / "host_ed25519.pub").read_text().split()
    (ssh / "known_hosts").write_text(f"hidden.example.org {key[0]} {key[1]}\n")
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", ssh / "known_hosts"], check=True, capture_output=True)
    assert "hidden" not in (ssh / "known_hosts").read_text()
    config = parse_location("sftp:u@hidden.example.org:/x", {"HOME": str(tmp_path)})
    assert isinstance(config, SftpConfig)
    assert config.host_keys == (f"{key[0]} {key[1]}",)


def test_locations_open_real_servers(tmp_path: Path) -> None:
    ssh, ftp, s3 = sftp_config("openssh", tmp_path), ftp_config("pure-ftpd", tmp_path), s3_config("ceph-rgw", tmp_path)
    make_bucket(s3)
    key = tmp_path / "key"
    key.write_text(ssh.private_key.reveal())
    env = {
        **NO_ENV,
        "HOLDFAST_SFTP_KEY_FILE": str(key),
        "HOLDFAST_SFTP_FINGERPRINT": ssh.host_keys[0],
        "HOLDFAST_FTP_PASSWORD": ftp.password.reveal(),
        "AWS_ACCESS_KEY_ID": s3.access_key,
        "AWS_SECRET_ACCESS_KEY": s3.secret_key.reveal(),
    }
    for location in (
        f"sftp://{ssh.user}@{ssh.host}:{ssh.port}/{ssh.path}",
        f"ftp://{ftp.user}@{ftp.host}:{ftp.port}/{ftp.path}",
        f"s3:{s3.endpoint}/{s3.bucket}/{s3.prefix}",
        str(tmp_path / "local"),
    ):
        store = open_location(location, env)
        store.put("data/00/x", location.encode())
        assert store.get("data/00/x") == location.encode()
        store.close()


# what the registry makes


def test_each_kind_has_its_driver(tmp_path: Path) -> None:
    drivers = [LocalStore, FtpStore, SftpStore, S3Store]
    assert [type(make_driver(config)) for config in CONFIGS] == drivers


def test_a_destination_has_all_that_its_settings_ask_for(tmp_path: Path) -> None:
    meter = Meter()
    config = LocalConfig(path=str(tmp_path / "store"), up=1 << 30, connections=3, disk_limit=100)
    store = open_store(config, meter=meter)
    store.put("data/00/x", b"12345")
    assert store.get("data/00/x") == b"12345"
    assert meter.traffic().sent == 5
    assert store.capabilities.connections == 3
    assert isinstance(store, ReportsCapacity)
    store.close()


def test_a_read_only_destination_writes_nothing_but_locks_if_wished(tmp_path: Path) -> None:
    LocalStore(tmp_path).put("config", b"1")
    closed = open_store(LocalConfig(path=str(tmp_path), read_only=True))
    assert closed.get("config") == b"1"
    for key in ("data/00/x", "locks/x"):
        with pytest.raises(ReadOnlyStore):
            closed.put(key, b"1")
    open_store(LocalConfig(path=str(tmp_path), read_only=True, locks_when_read_only=True)).put("locks/x", b"1")


def test_without_rates_nothing_is_slowed_and_frames_count_in_their_zone() -> None:
    assert throttle_of(LocalConfig(path="/x")) is None
    frame = {"start": "00:00", "end": "00:00", "up": 1000}
    config = from_plain({"kind": "local", "path": "/x", "up": 5, "frames": [frame], "zone": "Asia/Tokyo"})
    throttle = throttle_of(config)
    assert throttle
    assert throttle.rates() == Rates(up=1000)
    assert config.local_time().utcoffset() is not None


def test_zero_means_no_limit_on_every_field() -> None:
    config = from_plain({"kind": "ftp", "host": "h", "user": "u", "retries": 0, "connections": 0, "up": 0, "down": 0})
    store = open_store(config)
    assert store.capabilities.connections == 0
    store.close()


# the disk limit


class Disk(MemoryStore):
    """Memory with a capacity."""

    used, total, asked = 0, 1000, 0

    def capacity(self) -> tuple[int, int]:
        self.asked += 1
        return self.total, self.total - self.used


def test_new_backups_stop_at_the_disk_limit_and_records_of_a_running_one_do_not() -> None:
    disk, clock = Disk(), HandClock()
    store = DiskGuardedStore(disk, 80, clock=clock)
    store.put("data/00/x", b"1")
    disk.used = 800
    clock.now += 31
    with pytest.raises(DiskLimitReached) as full:
        store.put("data/00/y", b"1")
    assert isinstance(full.value, StoreFull)
    assert "80 %" in str(full.value)
    for key in ("index/x", "snapshots/x", "locks/x"):
        store.put(key, b"1")
    disk.used = 700
    store.put("data/00/y", b"1")


def test_the_free_space_is_asked_for_now_and_then_only() -> None:
    disk, clock = Disk(), HandClock()
    store = DiskGuardedStore(disk, 80, clock=clock)
    for number in range(100):
        store.put(f"data/00/{number}", b"1")
    assert disk.asked == 1
    clock.now += 31
    store.put("data/00/x", b"1")
    assert disk.asked == 2
    assert isinstance(store, ReportsCapacity)


def test_a_store_that_does_not_know_its_space_has_no_limit() -> None:
    DiskGuardedStore(MemoryStore(), 1).put("data/00/x", b"1")


def test_errors_have_stable_codes_and_a_next_step() -> None:
    kinds: list[type[StoreError]] = [StoreError, *StoreError.__subclasses__()]
    for kind in kinds:
        kinds += [below for below in kind.__subclasses__() if below not in kinds]
    ours = [kind for kind in kinds if kind.__module__ == "destinations.storage.errors"]
    codes = [kind.code for kind in ours]
    assert len(set(codes)) == len(codes) >= 25
    assert all(code.startswith("HF-STORE-") for code in codes)
    assert len({kind.guidance for kind in ours}) == len(ours)
