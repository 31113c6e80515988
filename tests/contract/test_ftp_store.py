"""What is special about FTP: few commands, odd servers, and causes told apart."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from destinations.storage import StoreError, StoreUnreachable
from destinations.storage.config import Secret
from destinations.storage.errors import (
    AccessDenied,
    CertificateExpired,
    CertificateUntrusted,
    FingerprintMismatch,
    FolderNotWritable,
    HostUnknown,
    LoginRefused,
    PortClosed,
    QuotaExceeded,
    ServerBusy,
    TlsFailed,
    TransferDamaged,
)
from destinations.storage.ftp import FtpStore
from destinations.storage.ftp_link import FtpLink
from destinations.storage.ftp_listing import Entry, UnknownListing, parse_list, parse_mlsd
from tests.contract.places import ftp_config
from tests.fakes.proxy import Proxy
from tests.servers import alone, lend
from tests.servers.kinds import free_port

Opener = Callable[..., FtpStore]


@pytest.fixture
def opened(tmp_path: Path, request: pytest.FixtureRequest) -> Opener:
    def open_one(server: str = "pure-ftpd", **settings: Any) -> FtpStore:
        store = FtpStore(ftp_config(server, tmp_path, **settings))
        request.addfinalizer(store.close)
        return store

    return open_one


def commands(store: FtpStore, work: Callable[[], object]) -> int:
    before = store.requests()
    work()
    return store.requests() - before


# few commands


@pytest.mark.parametrize(("tls", "most"), [(False, 6), (True, 5)])
def test_a_pack_costs_at_most_seven_commands_with_its_confirmation(opened: Opener, tls: bool, most: int) -> None:
    store = opened(tls=tls)
    store.put("data/ab/first", b"1")
    assert commands(store, lambda: store.put("data/ab/second", bytes(500_000))) == most
    assert commands(store, lambda: store.get("data/ab/second", offset=100, length=100)) <= 4
    assert commands(store, lambda: store.delete("data/ab/second")) == 1
    assert commands(store, lambda: store.stat("data/ab/first")) == 1


def test_the_commands_counted_are_those_on_the_wire(opened: Opener, tmp_path: Path) -> None:
    told = lend("pure-ftpd")
    low, high = told["data_ports"]
    with Proxy([told["port"], *range(low, high + 1)], listen_to=[told["port"]]) as proxy:
        store = opened(host=proxy.address, connections=1)
        store.put("data/ab/one", b"1")
        store.get("data/ab/one")
        list(store.list(""))
        assert proxy.commands(told["port"])[0].startswith("USER ")
        assert store.requests() == len(proxy.commands(told["port"]))
        store.close()


def test_the_features_of_a_server_are_asked_once(opened: Opener) -> None:
    store = opened(connections=0)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda number: store.put(f"index/{number}", bytes(1000)), range(12)))
    link_one = commands(store, lambda: store.stat("index/1"))
    assert link_one == 1


def test_preparing_folders_asks_for_what_is_missing_only(opened: Opener) -> None:
    store = opened()
    folders = ["data", "index", *(f"data/{number:02x}" for number in range(20))]
    store.prepare(folders)
    again = opened()
    assert commands(again, lambda: again.prepare(folders)) < 20
    assert commands(store, lambda: store.put("data/05/x", b"1")) <= 7


# connections


@pytest.fixture
def few() -> Iterator[str]:
    """A server of few places that no other test uses meanwhile."""
    with alone("pure-ftpd-few"):
        yield "pure-ftpd-few"


def test_a_server_that_lets_few_in_is_used_with_few_connections(few: str, opened: Opener) -> None:
    store = opened(few, connections=8)
    when_there_is_a_place(lambda: store.put("config", b"1"))
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: store.put(f"index/{number}", bytes(200_000)), range(24)))
    assert len(list(store.list("index"))) == 24


def test_a_server_with_no_place_at_all_is_named_busy(few: str, opened: Opener) -> None:
    first, second = opened(few, connections=1), opened(few, connections=1)
    for store in (first, second):
        when_there_is_a_place(partial(store.put, "config", b"1"))
    with pytest.raises(ServerBusy) as busy:
        opened(few, connections=1).stat("config")
    assert busy.value.temporary


def when_there_is_a_place(act: Callable[[], None], patience: float = 20) -> None:
    """Act as soon as the server has noticed that the tests before have left."""
    ends = time.monotonic() + patience
    while True:
        try:
            return act()
        except ServerBusy:
            if time.monotonic() > ends:
                raise
            time.sleep(0.2)


def test_a_connection_that_the_server_closed_at_rest_is_replaced(opened: Opener) -> None:
    told = lend("pure-ftpd")
    low, high = told["data_ports"]
    with Proxy([told["port"], *range(low, high + 1)]) as proxy:
        store = opened(host=proxy.address, connections=2)
        store.put("config", b"1")
        proxy.cut_all()
        assert store.get("config") == b"1"
        store.close()


# causes told apart


def test_each_wrong_setting_has_its_own_code(opened: Opener) -> None:
    wrong: list[tuple[type[StoreError], str, dict[str, Any]]] = [
        (HostUnknown, "HF-STORE-HOST", {"host": "no-such-host.invalid"}),
        (PortClosed, "HF-STORE-PORT", {"port": free_port()}),
        (LoginRefused, "HF-STORE-LOGIN", {"password": Secret("hunter2-wrong")}),
        (LoginRefused, "HF-STORE-LOGIN", {"user": "nobody-here"}),
        (CertificateUntrusted, "HF-STORE-CERT", {"tls": True, "ca": ""}),
        (FingerprintMismatch, "HF-STORE-FINGERPRINT", {"tls": True, "pins": ("ab" * 32,)}),
    ]
    for kind, code, settings in wrong:
        with pytest.raises(kind) as raised:
            opened(**settings).stat("config")
        assert raised.value.code == code
        assert raised.value.guidance
        assert "hunter2" not in repr(raised.value) + str(raised.value)


def test_an_expired_certificate_is_named_unless_it_is_pinned(opened: Opener) -> None:
    with pytest.raises(CertificateExpired):
        opened("pure-ftpd-expired", tls=True).stat("config")
    pinned = opened("pure-ftpd-expired", tls=True, pins=(lend("pure-ftpd-expired")["pin"].upper(),))
    pinned.put("config", b"1")
    assert pinned.get("config") == b"1"
    opened("pure-ftpd-expired", tls=True, verify=False).put("config", b"2")


def test_a_certificate_for_another_name_is_refused(opened: Opener) -> None:
    told = lend("pure-ftpd")
    with Proxy([told["port"]]) as proxy, pytest.raises(CertificateUntrusted) as refused:
        opened(tls=True, host=proxy.address).stat("config")
    assert "another host name" in str(refused.value)


def test_a_server_without_tls_and_one_that_insists_on_it_are_told_apart(opened: Opener) -> None:
    with pytest.raises(TlsFailed):
        opened("odd-ftp", tls=True, pins=("ab" * 32,)).stat("config")
    with pytest.raises(TlsFailed) as wants:
        opened("vsftpd-strict").stat("config")
    assert "wants a secure connection" in str(wants.value)


def test_a_used_up_quota_is_named_and_leaves_no_leftovers(opened: Opener) -> None:
    small = opened(user="small")
    for info in list(small.list("")):
        small.delete(info.key)
    small.put("data/00/fits", bytes(300_000))
    with pytest.raises(QuotaExceeded) as full:
        small.put("data/00/too-much", bytes(900_000))
    assert full.value.code == "HF-STORE-QUOTA"
    small.put("data/00/fits-too", bytes(300_000))
    assert {info.key for info in small.list("")} == {"data/00/fits", "data/00/fits-too"}
    home = Path(lend("pure-ftpd")["home"]).parent / "small" / ftp_config_path(small)
    assert sorted(path.name for path in (home / "data/00").iterdir()) == ["fits", "fits-too"]
    for name in ("fits", "fits-too"):
        small.delete(f"data/00/{name}")


def ftp_config_path(store: FtpStore) -> str:
    return store._root


@pytest.mark.parametrize("change", [lambda store: store.put("locks/x", b"l"), lambda store: store.delete("locks/y")])
@pytest.mark.parametrize("server", ["pure-ftpd", "vsftpd-plain"])
def test_what_a_killed_writer_left_goes_after_a_day(
    opened: Opener, server: str, change: Callable[[FtpStore], None]
) -> None:
    store = opened(server)
    store.put("data/ab/pack", b"w")
    folder = Path(lend(server)["home"]) / ftp_config_path(store).removeprefix("files/") / "data/ab"
    kept = {"pack", "PACK-tmp-1", "FOREIGN.txt", "new-tmp-123"}
    for name in {"pack-tmp-123456"} | kept - {"pack"}:
        (folder / name).write_bytes(b"half")
        os.chown(folder / name, folder.stat().st_uid, folder.stat().st_gid)
        if not name.startswith("new"):
            os.utime(folder / name, (1, time.time() - 86_500))
    (folder / "folder-tmp-1").mkdir()
    everything = {path.name for path in folder.iterdir()}
    assert [info.key for info in store.list("")] == ["data/ab/pack"]
    assert {path.name for path in folder.iterdir()} == everything, "a listing changes nothing"
    change(store)
    assert {path.name for path in folder.iterdir()} == everything - {"pack-tmp-123456"}
    assert store.get("data/ab/pack") == b"w"


def test_a_folder_that_may_not_be_written_is_named(opened: Opener) -> None:
    store = opened()
    store.put("data/00/x", b"1")
    home = Path(lend("pure-ftpd")["home"]) / ftp_config_path(store)
    (home / "data/00").chmod(0o500)
    try:
        with pytest.raises(FolderNotWritable):
            store.put("data/00/y", b"2")
        with pytest.raises(FolderNotWritable):
            store.delete("data/00/x")
        assert store.get("data/00/x") == b"1"
    finally:
        (home / "data/00").chmod(0o700)


@pytest.mark.parametrize("server", ["pure-ftpd", "vsftpd-plain"])
def test_a_folder_that_may_not_be_read_does_not_pass_for_empty(opened: Opener, server: str) -> None:
    store = opened(server)
    store.put("data/00/x", b"1")
    path = Path(lend(server)["home"]) / ftp_config_path(store).removeprefix("files/") / "data/00"
    path.chmod(0o000)
    try:
        with pytest.raises(AccessDenied):
            list(store.list("data"))
    finally:
        path.chmod(0o700)
    assert list(store.list("nowhere")) == []


# odd servers


def test_an_address_of_another_host_in_pasv_is_not_followed(opened: Opener) -> None:
    store = opened("odd-ftp-poor")
    store.put("config", b"still the server we logged in to")
    assert store.get("config", offset=6, length=3) == b"the"
    assert dict(store.list("")) == {"config": 32}


def test_a_server_that_reckons_hashes_is_not_asked_for_the_bytes(opened: Opener) -> None:
    store = opened("odd-ftp-hash")
    store.put("data/00/a", b"1")
    with_hash = commands(store, lambda: store.put("data/00/b", bytes(300_000)))
    assert with_hash == 5
    assert store.sha256("data/00/b") == sha256(bytes(300_000)).hexdigest()
    opened().put("data/00/b", b"1")
    assert opened().sha256("data/00/b") is None


def test_folders_with_blanks_and_letters_of_other_languages_work(opened: Opener) -> None:
    for server in ("pure-ftpd", "vsftpd-plain", "odd-ftp"):
        base = "files/" if server.startswith("vsftpd") else ""
        store = opened(server, path=f"{base}my backups {os.getpid()}/säge [1]")
        store.put("data/00/x", b"1")
        assert dict(store.list("")) == {"data/00/x": 1}
        store.delete("data/00/x")


def test_a_line_end_in_a_setting_cannot_become_a_command() -> None:
    for settings in ({"path": "a\r\nDELE b"}, {"user": "u\r\nDELE b"}, {"password": Secret("p\nDELE b")}):
        with pytest.raises(StoreError) as refused:
            ftp_config("pure-ftpd", Path("x"), **settings)
        assert refused.value.code == "HF-STORE-CONFIG"


def test_what_a_failed_put_left_is_removed_by_the_next(opened: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    store = opened()
    store.put("data/00/x", b"1")

    def broken(_link: FtpLink, _path: str) -> int:
        raise StoreUnreachable("cut by the test")

    with monkeypatch.context() as patch:
        patch.setattr(FtpStore, "_confirm", lambda *_: broken(None, ""))  # type: ignore[arg-type]
        with pytest.raises(StoreUnreachable):
            store.put("data/00/y", b"2")
    folder = Path(lend("pure-ftpd")["home"]) / ftp_config_path(store) / "data/00"
    store.put("data/00/z", b"3")
    assert sorted(path.name for path in folder.iterdir()) == ["x", "z"]


def test_bytes_that_changed_on_the_way_are_noticed_before_they_have_a_name(
    opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = opened()
    real = FtpLink.store

    def flip(link: FtpLink, path: str, parts: list[memoryview], pace: object) -> None:
        changed = bytearray(b"".join(parts))
        changed[len(changed) // 2] ^= 1
        real(link, path, [memoryview(bytes(changed))], None)

    monkeypatch.setattr(FtpLink, "store", flip)
    with pytest.raises(TransferDamaged):
        store.put("data/00/x", bytes(400_000))
    monkeypatch.undo()
    assert list(store.list("")) == []


# listings


def test_unix_listings_of_many_servers_are_read() -> None:
    lines = """total 12
drwxr-xr-x    2 1000     1000         4096 Nov 20 23:58 ab
-r--------    1 backup   backup   17825795 Jan  1  2025 pack
-rw-r--r--   1 ftp ftp            155 Mar 03 09:07 config
-rwxrwxrwx   1 owner    group             5 Dec 31 1999 with blank
drwxr-xr-x 1 owner group 0 2026-11-20 09:07 iso
-rw-r--r--+ 1 a b 7 Nov 20 12:01:59 seconds
lrwxrwxrwx 1 a b 7 Nov 20 12:01 link -> pack
-rw-r--r-- 1 1000 0 20 Nov 12:01 day-first""".splitlines()
    found = {entry.name: entry for entry in parse_list(lines[:-1])}
    assert found == {
        "ab": Entry("ab", True, 4096),
        "pack": Entry("pack", False, 17825795),
        "config": Entry("config", False, 155),
        "with blank": Entry("with blank", False, 5),
        "iso": Entry("iso", True, 0),
        "seconds": Entry("seconds", False, 7),
    }


def test_windows_listings_are_read() -> None:
    lines = [
        "11-20-26  09:07AM       <DIR>          data",
        "11-20-2026  23:58             17,825,795 pack",
        "2026-11-20  09:07                  155 config",
        "11/20/26  09:07 PM       5 a name",
        "11-20-26  09:07AM       <JUNCTION>     link",
    ]
    assert parse_list(lines) == [
        Entry("data", True, None),
        Entry("pack", False, 17825795),
        Entry("config", False, 155),
        Entry("a name", False, 5),
    ]


def test_a_listing_that_nobody_knows_is_not_guessed_at() -> None:
    with pytest.raises(UnknownListing):
        parse_list(["PACK     ZIP   17825795  20-NOV-2026"])


def test_mlsd_facts_are_read_in_any_order_and_case() -> None:
    lines = [
        "Type=cdir;Modify=20261120; .",
        "type=pdir;unique=1; ..",
        "size=155;Type=FILE; config",
        "modify=20261120;type=dir; data",
        "type=OS.unix=slink:/etc;size=1; link",
        "type=file; no size",
        "type=file;size=3; ",
        "",
    ]
    assert parse_mlsd(lines) == [
        Entry("config", False, 155),
        Entry("data", True, None),
        Entry("no size", False, None),
    ]
