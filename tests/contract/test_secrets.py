"""Whatever goes wrong with a destination, on every kind: its own code, and no secret in anything that can be read."""

from __future__ import annotations

import logging
import pickle
import socket
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest

from destinations.storage.base import ObjectStore
from destinations.storage.config import Common, Config, Secret, to_plain
from destinations.storage.errors import StoreError
from destinations.storage.probe import Probe
from destinations.storage.registry import make_driver, open_store
from tests.contract.places import ftp_config, make_bucket, s3_config, sftp_config
from tests.contract.remote_engine import Ours
from tests.servers import lend
from tests.servers.certificates import Authority
from tests.servers.kinds import free_port

WRONG = "hunter2-W4Fz9qLkT"
PASSPHRASE = "hunter3-Pp7Xc2vB"
TOKEN = "hunter4-Tk8Ns5mR"


@dataclass(frozen=True)
class Trouble:
    """A setting that cannot work, and the code it has to lead to."""

    code: str
    config: Callable[[Path], Config]


def _ftp(server: str = "pure-ftpd", **settings: Any) -> Callable[[Path], Config]:
    return lambda folder: ftp_config(server, folder, **settings)


def _sftp(server: str = "openssh", **settings: Any) -> Callable[[Path], Config]:
    return lambda folder: sftp_config(server, folder, **settings)


def _s3(secure: bool = False, closed: bool = False, **settings: Any) -> Callable[[Path], Config]:
    def make(folder: Path) -> Config:
        config = s3_config("ceph-rgw", folder)
        make_bucket(config)
        endpoint = lend("ceph-rgw")["secure_endpoint"] if secure else config.endpoint
        endpoint = f"http://127.0.0.1:{free_port()}" if closed else endpoint
        return msgspec.structs.replace(config, **{"create_bucket": False, "endpoint": endpoint, **settings})

    return make


def _other_key() -> Secret:
    from destinations.storage.sftp_key import make_key

    return make_key("not-installed")[0]


TROUBLES: dict[str, Trouble] = {
    "ftp host": Trouble("HF-STORE-HOST", _ftp(host="no-such-host.invalid")),
    "ftp port": Trouble("HF-STORE-PORT", lambda folder: ftp_config("pure-ftpd", folder, port=free_port())),
    "ftp password": Trouble("HF-STORE-LOGIN", _ftp(password=Secret(WRONG))),
    "ftp password tls": Trouble("HF-STORE-LOGIN", _ftp(password=Secret(WRONG), tls=True)),
    "ftp certificate": Trouble("HF-STORE-CERT", _ftp(tls=True, ca="")),
    "ftp expired": Trouble("HF-STORE-CERT-EXPIRED", _ftp("pure-ftpd-expired", tls=True)),
    "ftp pin": Trouble("HF-STORE-FINGERPRINT", _ftp(tls=True, pins=("ab" * 32,))),
    "ftp no tls": Trouble("HF-STORE-TLS", _ftp("odd-ftp", tls=True, pins=("ab" * 32,))),
    "ftp full disk": Trouble("HF-STORE-FULL", _ftp("pure-ftpd-small-disk")),
    "ftp quota": Trouble("HF-STORE-QUOTA", _ftp(user="small")),
    "ftp folder": Trouble("HF-STORE-FOLDER", _ftp("vsftpd-plain", path="not-writable")),
    "sftp host": Trouble("HF-STORE-HOST", _sftp(host="no-such-host.invalid")),
    "sftp port": Trouble("HF-STORE-PORT", lambda folder: sftp_config("openssh", folder, port=free_port())),
    "sftp password": Trouble("HF-STORE-LOGIN", _sftp("small-ssh", password=Secret(WRONG))),
    "sftp key": Trouble(
        "HF-STORE-KEY", lambda folder: sftp_config("openssh", folder, private_key=_other_key(), password=Secret(""))
    ),
    "sftp passphrase": Trouble(
        "HF-STORE-CONFIG", _sftp(private_key=Secret(f"-----BEGIN X-----\n{WRONG}\n"), passphrase=Secret(PASSPHRASE))
    ),
    "sftp fingerprint": Trouble("HF-STORE-FINGERPRINT", _sftp(host_keys=("SHA256:" + "A" * 43,))),
    "sftp new fingerprint": Trouble("HF-STORE-FINGERPRINT-NEW", _sftp(host_keys=())),
    "sftp full disk": Trouble(
        "HF-STORE-FULL",
        lambda folder: sftp_config("openssh-small-disk", folder, path=f"{lend('openssh-small-disk')['home']}/full"),
    ),
    "sftp read-only": Trouble("HF-STORE-FOLDER", _sftp("openssh-read-only", path="/srv")),
    "s3 host": Trouble("HF-STORE-HOST", _s3(endpoint="http://no-such-host.invalid")),
    "s3 port": Trouble("HF-STORE-PORT", _s3(closed=True)),
    "s3 key": Trouble("HF-STORE-KEY", _s3(access_key="NOSUCHKEY")),
    "s3 secret": Trouble("HF-STORE-KEY", _s3(secret_key=Secret(WRONG))),
    "s3 token": Trouble("", _s3(session_token=Secret(TOKEN))),
    "s3 bucket": Trouble("HF-STORE-BUCKET", _s3(bucket="no-such-bucket-here")),
    "s3 certificate": Trouble("HF-STORE-CERT", _s3(secure=True)),
    "s3 pin": Trouble("HF-STORE-FINGERPRINT", _s3(secure=True, pins=("ab" * 32,))),
}


def secrets_of(config: Common) -> set[str]:
    """Every word that nobody may see: the secrets as they are, and the lines of keys."""
    found = {WRONG, PASSPHRASE, TOKEN}
    for name in config.__struct_fields__:
        value = getattr(config, name)
        if isinstance(value, Secret) and value:
            text = value.reveal()
            lines = [line for line in text.splitlines() if "-----" not in line and len(line) > 8]
            found |= {text, *lines}
    return found - {""}


def everything_said(config: Config, caplog: pytest.LogCaptureFixture) -> tuple[list[str], set[str]]:
    """Use a destination in every way and return all that can be read of it, and the codes of its errors."""
    said = [repr(config), str(config), str(to_plain(config)), str(msgspec.structs.asdict(config))]
    codes: set[str] = set()
    store, whole = make_driver(config), open_store(config)
    said += [repr(store), str(vars(store)), repr(whole), str(vars(whole))]
    for act in _acts(store):
        try:
            act()
        except StoreError as error:
            codes.add(error.code)
            said += [str(error), repr(error), str(error.args), str(vars(error)), error.guidance]
            said += traceback.format_exception(error)
    store.close()
    for result in Probe(lambda: make_driver(config), speed_bytes=1 << 16, clients=1).run():
        codes.add(result.code)
        said += [repr(result), result.detail]
    with suppress(TypeError):
        said.append(pickle.dumps(config).decode("latin-1"))
    said += [record.getMessage() for record in caplog.records]
    return said, codes - {""}


def _acts(store: ObjectStore) -> list[Callable[[], object]]:
    return [
        lambda: store.put("data/00/probe", bytes(6_000_000)),
        lambda: store.get("data/00/probe"),
        lambda: list(store.list("")),
        lambda: store.delete("data/00/probe"),
    ]


@pytest.mark.parametrize("name", list(TROUBLES))
def test_what_is_wrong_has_its_code_and_no_secret_is_said(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trouble = TROUBLES[name]
    config = trouble.config(tmp_path)
    with caplog.at_level(logging.INFO):
        said, codes = everything_said(config, caplog)
    assert not trouble.code or trouble.code in codes, codes
    for text in said:
        for secret in secrets_of(config):
            assert secret not in text, text[:300]


@contextmanager
def expired_https() -> Iterator[tuple[str, str]]:
    """A port that shows an expired certificate; yield its endpoint and its authority."""
    import ssl
    import tempfile

    authority = Authority()
    with tempfile.TemporaryDirectory() as folder, socket.create_server(("127.0.0.1", 0)) as listening:
        authority.issue(Path(folder) / "cert.pem", days=-3)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(Path(folder) / "cert.pem")

        def serve() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listening.accept()
                    with closing(connection), suppress(OSError):
                        connection.settimeout(5)
                        context.wrap_socket(connection, server_side=True).close()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield f"https://127.0.0.1:{listening.getsockname()[1]}", authority.pem
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join(10)


def test_an_expired_certificate_of_an_object_store_has_its_code(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with expired_https() as (endpoint, authority):
        config = s3_config("ceph-rgw", tmp_path, endpoint=endpoint, ca=authority)
        _, codes = everything_said(config, caplog)
    assert codes == {"HF-STORE-CERT-EXPIRED"}


@pytest.mark.parametrize("kind", ["ftp", "sftp", "s3"])
def test_the_command_line_says_the_code_and_no_secret(kind: str, tmp_path: Path) -> None:
    port = {
        "ftp": lambda: lend("pure-ftpd")["port"],
        "sftp": lambda: lend("small-ssh")["port"],
        "s3": lambda: urlsplit(lend("ceph-rgw")["endpoint"]).port,
    }[kind]()
    location, env, code = {
        "ftp": (f"ftp://backup@127.0.0.1:{port}/x", {"HOLDFAST_FTP_PASSWORD": WRONG}, "HF-STORE-LOGIN"),
        "sftp": (
            f"sftp://backup@127.0.0.1:{port}/x",
            {"HOLDFAST_SFTP_PASSWORD": WRONG, "HOLDFAST_SFTP_FINGERPRINT": lend("small-ssh")["fingerprint"]},
            "HF-STORE-LOGIN",
        ),
        "s3": (
            f"s3:http://127.0.0.1:{port}/bucket/x",
            {"AWS_ACCESS_KEY_ID": "NOSUCHKEY", "AWS_SECRET_ACCESS_KEY": WRONG, "AWS_SESSION_TOKEN": TOKEN},
            "HF-STORE-KEY",
        ),
    }[kind]
    ours = Ours(location, env, tmp_path)
    for extra in ((), ("--json",)):
        run = ours.run(*extra, "snapshots")
        assert run.returncode != 0
        assert code in run.stdout + run.stderr
        assert WRONG not in run.stdout + run.stderr
        assert TOKEN not in run.stdout + run.stderr
