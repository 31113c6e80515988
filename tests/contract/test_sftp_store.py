"""What is special about SFTP: identities, log-ins, modes, and causes told apart."""

from __future__ import annotations

import io
import os
import stat
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import paramiko  # type: ignore[import-untyped]
import pytest

from destinations.storage import BadConfig, StoreError, StoreFull
from destinations.storage.config import Secret, SftpConfig
from destinations.storage.errors import (
    FingerprintMismatch,
    FingerprintUnknown,
    FolderNotWritable,
    HostUnknown,
    KeyRefused,
    LoginRefused,
    PortClosed,
    StoreUnreachable,
)
from destinations.storage.sftp import SftpStore
from destinations.storage.sftp_key import install_key, make_key
from destinations.storage.sftp_link import matches
from tests.contract.places import sftp_config
from tests.servers import lend
from tests.servers.kinds import free_port

Opener = Callable[..., SftpStore]


@pytest.fixture
def opened(tmp_path: Path, request: pytest.FixtureRequest) -> Opener:
    def open_one(server: str = "openssh", **settings: Any) -> SftpStore:
        store = SftpStore(sftp_config(server, tmp_path, **settings))
        request.addfinalizer(store.close)
        return store

    return open_one


def other_key(passphrase: str = "") -> str:
    key = paramiko.RSAKey.generate(2048)
    text = io.StringIO()
    key.write_private_key(text, password=passphrase or None)
    return text.getvalue()


# identities


def test_an_unconfirmed_identity_is_shown_before_anything_secret_is_said(opened: Opener) -> None:
    with pytest.raises(FingerprintUnknown) as shown:
        opened(host_keys=(), private_key=Secret("not even a key")).stat("config")
    assert shown.value.fingerprint == f"ssh-ed25519 {lend('openssh')['fingerprint']}"
    assert shown.value.code == "HF-STORE-FINGERPRINT-NEW"


def test_a_confirmed_identity_is_accepted_in_every_form(opened: Opener) -> None:
    told = lend("openssh")
    public = (Path(told["home"]).parent / "host_ed25519.pub").read_text().split()
    for pin in (
        told["fingerprint"],
        f"ssh-ed25519 {told['fingerprint']}",
        f"{public[0]} {public[1]}",
        f"ssh-rsa {told['rsa_fingerprint']}",
    ):
        opened(host_keys=("SHA256:AAAA", pin)).put("config", b"1")


def test_another_identity_than_the_confirmed_one_is_refused(opened: Opener) -> None:
    for pin in ("SHA256:" + "A" * 43, f"ssh-rsa {lend('openssh')['fingerprint']}", "nonsense", "ssh-ed25519 !!"):
        with pytest.raises(FingerprintMismatch) as refused:
            opened(host_keys=(pin,)).stat("config")
        assert lend("openssh")["fingerprint"] in refused.value.fingerprint or "rsa" in refused.value.fingerprint
    assert not matches("", "ssh-ed25519", b"key")


# log-ins


def test_each_wrong_setting_has_its_own_code(opened: Opener) -> None:
    wrong: list[tuple[type[StoreError], str, str, dict[str, Any]]] = [
        (HostUnknown, "HF-STORE-HOST", "openssh", {"host": "no-such-host.invalid"}),
        (PortClosed, "HF-STORE-PORT", "openssh", {"port": free_port()}),
        (KeyRefused, "HF-STORE-KEY", "openssh", {"private_key": Secret(other_key())}),
        (LoginRefused, "HF-STORE-LOGIN", "rclone-sftp", {"password": Secret("hunter2-wrong")}),
        (LoginRefused, "HF-STORE-LOGIN", "openssh", {"private_key": Secret(""), "password": Secret("hunter2")}),
        (LoginRefused, "HF-STORE-LOGIN", "openssh", {"private_key": Secret("")}),
    ]
    for kind, code, server, settings in wrong:
        with pytest.raises(kind) as raised:
            opened(server, **settings).stat("config")
        assert raised.value.code == code
        assert raised.value.guidance
        assert "hunter2" not in repr(raised.value) + str(raised.value)


def test_a_port_that_speaks_something_else_is_named(opened: Opener) -> None:
    port = int(lend("rclone-s3")["endpoint"].rpartition(":")[2])
    with pytest.raises(StoreUnreachable):
        opened(port=port, timeout=3).stat("config")


def test_keys_of_every_kind_log_in_with_their_passphrase(opened: Opener, tmp_path: Path) -> None:
    authorized = Path(lend("openssh")["authorized"])
    before = authorized.read_text()
    try:
        for kind in ("ed25519", "ecdsa", "rsa"):
            file = tmp_path / kind
            subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "open sesame", "-f", file], check=True)
            with authorized.open("a") as keys:
                keys.write((tmp_path / f"{kind}.pub").read_text())
            store = opened(private_key=Secret(file.read_text()), passphrase=Secret("open sesame"))
            store.put("config", kind.encode())
            with pytest.raises(BadConfig) as no_passphrase:
                opened(private_key=Secret(file.read_text())).stat("config")
            assert "passphrase" in str(no_passphrase.value)
            with pytest.raises(BadConfig):
                opened(private_key=Secret(file.read_text()), passphrase=Secret("wrong")).stat("config")
    finally:
        authorized.write_text(before)


def test_the_agent_logs_in(opened: Opener, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started = subprocess.run(["ssh-agent", "-a", tmp_path / "agent"], capture_output=True, text=True, check=True)
    pid = int(started.stdout.split("SSH_AGENT_PID=")[1].split(";")[0])
    try:
        monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "agent"))
        key = tmp_path / "key"
        key.write_text(lend("openssh")["private_key"])
        key.chmod(0o600)
        subprocess.run(["ssh-add", "-q", key], check=True)
        store = opened(private_key=Secret(""), agent=True)
        store.put("config", b"by the agent")
        assert store.get("config") == b"by the agent"
    finally:
        os.kill(pid, 15)


def test_a_customers_destination_never_uses_the_agent(tmp_path: Path) -> None:
    with pytest.raises(BadConfig):
        sftp_config("openssh", tmp_path, agent=True, public_only=True)


# our own key


def test_our_key_is_installed_with_the_password_and_used_from_then_on(tmp_path: Path) -> None:
    config = sftp_config("small-ssh", tmp_path)
    home = Path(lend("small-ssh")["home"])
    (home / ".ssh").mkdir(exist_ok=True)
    keys = home / ".ssh/authorized_keys"
    keys.write_text("ssh-ed25519 AAAAtheirs somebody@else")
    private, public = make_key("holdfast@web 1")
    assert public.endswith(" holdfast@web-1")
    settled = install_key(config, private, public)
    assert not settled.password
    assert settled.private_key
    assert install_key(config, private, public) == settled, "installing twice is harmless"
    assert keys.read_text() == f"ssh-ed25519 AAAAtheirs somebody@else\n{public}\n"
    assert stat.S_IMODE(keys.stat().st_mode) == 0o600
    store = SftpStore(settled)
    store.put("config", b"by our own key")
    store.close()


def test_a_key_that_the_server_does_not_take_is_told(tmp_path: Path) -> None:
    config = sftp_config("rclone-sftp", tmp_path)
    with pytest.raises(KeyRefused):
        install_key(config, *make_key("holdfast"))
    with pytest.raises(BadConfig):
        install_key(config, Secret(""), 'command="evil" ssh-ed25519 AAAA\nssh-rsa BBBB')


# folders and modes


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def home_of(store: SftpStore) -> Path:
    return Path(store._root)


def test_folders_are_private_and_finished_files_read_only(opened: Opener) -> None:
    store = opened()
    store.put("data/ab/pack", b"1")
    store.prepare(["index", "data/cd"])
    for folder in ("", "data", "data/ab", "data/cd", "index"):
        assert mode(home_of(store) / folder) == 0o700
    assert mode(home_of(store) / "data/ab/pack") == 0o400
    store.put("data/ab/pack", b"22")
    assert store.get("data/ab/pack") == b"22"


def test_a_repository_whose_config_the_group_reads_stays_the_groups(opened: Opener) -> None:
    first = opened()
    first.put("config", b"1")
    (home_of(first) / "config").chmod(0o440)
    store = opened()
    store.put("data/ab/pack", b"1")
    assert mode(home_of(store) / "data/ab") == 0o770
    assert mode(home_of(store) / "data/ab/pack") == 0o440


def test_a_full_disk_is_named_and_leaves_nothing_behind() -> None:
    told = lend("openssh-small-disk")
    config = SftpConfig(
        host=told["host"],
        port=told["port"],
        user=told["user"],
        private_key=Secret(told["private_key"]),
        host_keys=(told["fingerprint"],),
        path=told["home"],
    )
    store = SftpStore(config)
    store.put("data/00/fits", bytes(1 << 20))
    total, free = store.capacity()
    assert total == 4 << 20
    assert free <= 3 << 20
    with pytest.raises(StoreFull) as full:
        store.put("data/00/too-much", bytes(6 << 20))
    assert full.value.code == "HF-STORE-FULL"
    store.put("data/00/fits-too", bytes(1 << 20))
    assert {info.key for info in store.list("")} == {"data/00/fits", "data/00/fits-too"}
    for info in list(store.list("")):
        store.delete(info.key)
    assert store.capacity()[1] > 3.9 * (1 << 20), "a leftover fills the disk"
    store.close()


def test_what_a_killed_writer_left_goes_after_a_day(opened: Opener, tmp_path: Path) -> None:
    store = opened()
    store.put("data/ab/pack", b"w")
    folder = Path(store._root) / "data/ab"
    left = f"pack-restic-temp-{'0' * 32}"
    kept = {"pack", f"PACK-restic-temp-{'0' * 32}", "FOREIGN.txt", f"new-restic-temp-{'1' * 32}"}
    for name in {left} | kept - {"pack"}:
        (folder / name).write_bytes(b"half")
        if not name.startswith("new"):
            os.utime(folder / name, (1, time.time() - 86_500))
    (folder / f"folder-restic-temp-{'0' * 32}").mkdir()
    everything = {path.name for path in folder.iterdir()}
    assert [info.key for info in store.list("")] == ["data/ab/pack"]
    assert {path.name for path in folder.iterdir()} == everything, "a listing changes nothing"
    store.delete("locks/x")
    assert {path.name for path in folder.iterdir()} == everything - {left}
    assert store.get("data/ab/pack") == b"w"


def test_a_server_that_lets_nobody_write_is_named(opened: Opener, tmp_path: Path) -> None:
    opened().put("config", b"1")
    told = lend("openssh-read-only")
    reader = opened("openssh-read-only", path=str(home_of(opened())))
    assert told["port"] != lend("openssh")["port"]
    assert reader.get("config") == b"1"
    with pytest.raises(FolderNotWritable):
        reader.put("data/00/x", b"1")
    with pytest.raises(FolderNotWritable):
        reader.delete("config")


# few requests


def test_a_pack_costs_few_requests(opened: Opener) -> None:
    store = opened()
    content = os.urandom(4 << 20)
    store.put("data/00/first", content)
    before = store.requests()
    store.put("data/00/second", [content[start : start + 4096] for start in range(0, 4 << 20, 4096)])
    assert store.requests() - before <= 17 + 6, "small parts are not joined to large requests"
    before = store.requests()
    assert store.get("data/00/second", offset=5, length=(4 << 20) - 5) == content[5:]
    assert store.requests() - before <= 17 + 2


def test_folders_are_prepared_in_a_few_round_trips_and_requests(opened: Opener) -> None:
    store = opened()
    store.prepare(f"data/{number:02x}" for number in range(256))
    before = store.requests()
    store.prepare(f"data/{number:02x}" for number in range(256))
    assert store.requests() - before < 300
    assert len(list(home_of(store).glob("data/*"))) == 256


def test_a_listing_of_many_names_is_complete(opened: Opener) -> None:
    store = opened()
    store.put("index/x", b"1")
    for number in range(700):
        (home_of(store) / f"index/{number:064d}").write_bytes(b"12")
    assert len(dict(store.list("index"))) == 701
