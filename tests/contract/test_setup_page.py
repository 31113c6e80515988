"""What docs/destinations.md tells administrators to do is done here, word for word, on real servers."""

from __future__ import annotations

import json
import os
import re
import subprocess
import uuid
from contextlib import closing
from pathlib import Path
from typing import Any

import paramiko
import pytest

from destinations.storage import StoreError, errors
from destinations.storage.config import Secret, SftpConfig
from destinations.storage.errors import AccessDenied, FolderNotWritable, TlsFailed
from destinations.storage.ftp import FtpStore
from destinations.storage.location import open_location
from destinations.storage.probe import Probe
from destinations.storage.s3 import S3Store
from destinations.storage.sftp import SftpStore
from destinations.storage.sftp_link import SftpLink
from tests.contract.places import ftp_config, s3_config
from tests.contract.remote_engine import Ours
from tests.contract.remotes import make_tree, same, sftp_remote
from tests.needs import missing
from tests.servers import lend
from tests.servers.ssh_servers import block_of

PAGE = (Path(__file__).parents[2] / "docs/destinations.md").read_text()


def test_every_error_code_is_in_the_table_with_its_next_step() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, StoreError)]
    rows = {row[1]: row[0] for row in re.findall(r"(?m)^(\| `(HF-STORE-[A-Z-]+)` \|.*)$", PAGE)}
    assert rows.keys() == {kind.code for kind in kinds}
    for kind in kinds:
        assert kind.guidance.rstrip(".") in rows[kind.code], kind
        assert rows[kind.code].endswith("| yes |") == kind.temporary, kind
    assert set(re.findall(r"HF-STORE-[A-Z]+(?:-[A-Z]+)*", PAGE)) == rows.keys()


def locked_down(**settings: Any) -> SftpConfig:
    told = lend("openssh-locked-down")
    values = {
        "host": told["host"],
        "port": told["port"],
        "user": told["user"],
        "private_key": Secret(told["private_key"]),
        "host_keys": (told["fingerprint"],),
    }
    return SftpConfig(**{**values, **settings})


def test_the_locked_down_user_can_keep_backups() -> None:
    results = list(Probe(lambda: SftpStore(locked_down()), speed_bytes=1 << 20).run())
    assert [result for result in results if result.state != "ok"] == []
    with closing(SftpStore(locked_down())) as store:
        store.put("config", b"1")
        assert (Path(lend("openssh-locked-down")["home"]) / "config").read_bytes() == b"1"
        store.delete("config")


def test_the_locked_down_user_can_do_nothing_else() -> None:
    with closing(SftpStore(locked_down(path="/"))) as store, pytest.raises(FolderNotWritable):
        store.put("etc/passwd", b"1")
    with closing(SftpStore(locked_down(path="../../../../etc"))) as store:
        assert list(store.list("")) == []
    link = SftpLink(locked_down(), lambda: None)
    for step in (link.greet, link.verify, link.login):
        step()
    transport = link._transport
    assert transport
    try:
        with pytest.raises(paramiko.ChannelException):
            transport.open_channel("direct-tcpip", ("127.0.0.1", 22), ("127.0.0.1", 1), timeout=10)
        session = transport.open_session(timeout=10)
        session.settimeout(10)
        session.exec_command("id > /repositories/was-here")
        session.close()
        with pytest.raises(paramiko.SSHException):
            transport.open_session(timeout=10).get_pty()
    finally:
        link.close()
    with closing(SftpStore(locked_down())) as store:
        assert "was-here" not in dict(store.list(""))


def _freezable(folder: Path) -> None:
    probe = folder / "freezable"
    probe.touch()
    done = subprocess.run(["chattr", "+i", probe], capture_output=True, check=False)
    subprocess.run(["chattr", "-i", probe], capture_output=True, check=False)
    if done.returncode:
        missing("files cannot be frozen here")


def test_frozen_files_can_be_added_to_and_not_deleted(tmp_path: Path) -> None:
    _freezable(tmp_path)
    remote = sftp_remote(tmp_path)
    home = remote.location("x").partition(":")[2].split("/", 3)[3]
    freeze = block_of("sh", "+i").replace("/srv/backups/panel1/repositories", home).replace("-mmin +60", "-mmin -60")
    thaw = block_of("sh", "chattr -R -i").replace("/srv/backups/panel1/repositories", home)
    tree = make_tree(tmp_path / "tree", files=40, size=2000)
    ours = Ours(remote.location("127.0.0.1"), remote.env, tmp_path)
    ours.done("init")
    ours.done("backup", tree)
    subprocess.run(["sh", "-ec", freeze], check=True)
    try:
        (tree / "new").write_bytes(os.urandom(1000))
        ours.done("backup", tree)
        ours.done("check", "--read-data")
        ours.done("restore", "latest", "-t", tmp_path / "out")
        assert same(tree, tmp_path / "out" / tree.relative_to("/"))
        store = open_location(ours.location, remote.env)
        for info in list(store.list("data")):
            if "i" in _flags(f"{home}/{info.key}"):
                with pytest.raises(FolderNotWritable):
                    store.delete(info.key)
        store.close()
        assert ours.run("forget", "--keep-last", "1", "--prune").returncode != 0
        ours.done("check", "--read-data")
    finally:
        subprocess.run(["sh", "-ec", thaw], check=True)
    ours.done("forget", "--keep-last", "1", "--prune")
    ours.done("check", "--read-data")


def _flags(path: str) -> str:
    return subprocess.run(["lsattr", path], capture_output=True, text=True, check=True).stdout.split()[0]


def test_a_key_under_the_policy_adds_and_reads_and_cannot_delete(tmp_path: Path) -> None:
    told = lend("ceph-rgw")
    bucket = f"append-{uuid.uuid4().hex}"
    owner = S3Store(s3_config("ceph-rgw", tmp_path, bucket=bucket, prefix=""))
    owner.put("by-the-owner", b"1")
    policy = json.loads(block_of("json").replace("user/panel1", "user/small").replace(":::backups", f":::{bucket}"))
    with owner._asking("") as client:
        client.put_bucket_policy(Bucket=bucket, Policy=json.dumps(policy))
        client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    keys = {"AWS_ACCESS_KEY_ID": told["limited_access_key"], "AWS_SECRET_ACCESS_KEY": told["secret_key"]}
    tree = make_tree(tmp_path / "tree", files=40, size=2000)
    for prefix in ("", "server"):
        work = tmp_path / f"work-{prefix}"
        work.mkdir()
        ours = Ours(f"s3:{told['endpoint']}/{bucket}/{prefix}", keys, work)
        ours.done("init")
        ours.done("backup", tree)
        if prefix:
            ours.done("backup", tree)
            ours.done("restore", "latest", "-t", work / "out")
            assert same(tree, work / "out" / tree.relative_to("/"))
            assert ours.run("forget", "--keep-last", "1", "--prune").returncode != 0
            ours.done("check", "--read-data")
        with closing(open_location(ours.location, keys)) as store:
            assert list(store.list("locks")) == []
            pack = next(iter(store.list("data"))).key
            with pytest.raises(AccessDenied):
                store.delete(pack)
            content = store.get(pack)
            store.put(pack, b"something else")
        name = f"{prefix}/{pack}".lstrip("/")
        with owner._asking("") as client:
            versions = client.list_object_versions(Bucket=bucket, Prefix=name)["Versions"]
            assert len(versions) == 2
            newest = next(version["VersionId"] for version in versions if version["IsLatest"])
            client.delete_object(Bucket=bucket, Key=name, VersionId=newest)
        with closing(open_location(ours.location, keys)) as store:
            assert store.get(pack) == content
    owner.close()


def test_a_repository_under_object_lock_is_used_as_any_other(tmp_path: Path) -> None:
    told = lend("ceph-rgw")
    bucket = f"locked-{uuid.uuid4().hex}"
    env = {
        "AWS_ACCESS_KEY_ID": told["access_key"],
        "AWS_SECRET_ACCESS_KEY": told["secret_key"],
        "HOLDFAST_S3_CREATE_BUCKET": "yes",
        "HOLDFAST_S3_OBJECT_LOCK": "governance",
        "HOLDFAST_S3_OBJECT_LOCK_DAYS": "1",
    }
    tree = make_tree(tmp_path / "tree", files=40, size=2000)
    ours = Ours(f"s3:{told['endpoint']}/{bucket}/server", env, tmp_path)
    ours.done("init")
    for _ in range(2):
        ours.done("backup", tree)
    ours.done("check", "--read-data")
    ours.done("restore", "latest", "-t", tmp_path / "out")
    assert same(tree, tmp_path / "out" / tree.relative_to("/"))
    with closing(open_location(ours.location, env)) as store:
        assert list(store.list("locks")) == []


def test_a_certificate_made_and_pinned_by_the_page_is_accepted_and_plain_log_ins_are_not(tmp_path: Path) -> None:
    pin = lend("pure-ftpd-tls-only")["pin"]
    assert "=" in pin, "openssl's own words"
    with closing(FtpStore(ftp_config("pure-ftpd-tls-only", tmp_path, tls=True, pins=(pin,)))) as store:
        store.put("config", b"1")
        assert store.get("config") == b"1"
    with closing(FtpStore(ftp_config("pure-ftpd-tls-only", tmp_path))) as store, pytest.raises(TlsFailed):
        store.stat("config")
