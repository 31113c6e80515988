"""What is special about S3: requests, checksums, parts, object lock, and causes told apart."""

from __future__ import annotations

import http.server
import os
import threading
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from destinations.storage import LockPolicy, StoreError, StoreUnreachable
from destinations.storage.config import Secret
from destinations.storage.errors import (
    BadConfig,
    BucketMissing,
    CertificateUntrusted,
    FingerprintMismatch,
    HostUnknown,
    KeyRefused,
    ObjectProtected,
    PortClosed,
    QuotaExceeded,
    RegionWrong,
    ServerBusy,
    StoreFull,
    TransferDamaged,
)
from destinations.storage.s3 import S3Store
from destinations.storage.s3_errors import meaning
from destinations.storage.s3_http import HttpLink, Target
from tests.contract.places import make_bucket, s3_config
from tests.servers import lend
from tests.servers.kinds import free_port

Opener = Callable[..., S3Store]


@pytest.fixture
def opened(tmp_path: Path, request: pytest.FixtureRequest) -> Opener:
    make_bucket(s3_config("ceph-rgw", tmp_path))

    def open_one(server: str = "ceph-rgw", **settings: Any) -> S3Store:
        store = S3Store(s3_config(server, tmp_path, **settings))
        request.addfinalizer(store.close)
        return store

    return open_one


def raw(store: S3Store) -> Any:
    """The client of a store, to look at the bucket from beside."""
    return store._asking("")


# requests


def test_each_call_is_one_request(opened: Opener) -> None:
    store = opened()
    store.put("data/00/x", bytes(300_000))
    for work in (
        lambda: store.put("data/00/y", bytes(300_000)),
        lambda: store.get("data/00/x"),
        lambda: store.get("data/00/x", offset=5, length=7),
        lambda: store.stat("data/00/x"),
        lambda: list(store.list("data")),
        lambda: store.delete("data/00/y"),
    ):
        before = store.requests()
        work()
        assert store.requests() == before + 1


def test_one_connection_is_used_again_and_again(opened: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    dialled = []
    real = HttpLink.open

    def noting(link: HttpLink, target: Target) -> str:
        dialled.append(target)
        return real(link, target)

    monkeypatch.setattr(HttpLink, "open", noting)
    store = opened()
    for number in range(5):
        store.put(f"index/{number}", bytes(100_000))
        store.get(f"index/{number}", length=1000)
        with pytest.raises(StoreError):
            store.get("index/absent")
    assert len(dialled) == 1


def test_a_connection_that_the_service_closed_at_rest_is_replaced(opened: Opener) -> None:
    from tests.fakes.proxy import Proxy

    port = int(lend("ceph-rgw")["endpoint"].rpartition(":")[2])
    with Proxy([port]) as proxy:
        store = opened(endpoint=f"http://{proxy.address}:{port}")
        store.put("config", b"1")
        proxy.cut_all()
        assert store.get("config") == b"1"
        store.close()


# checksums and parts


@pytest.mark.parametrize("secure", [False, True])
def test_bytes_that_changed_on_the_way_are_refused_by_the_service(
    opened: Opener, monkeypatch: pytest.MonkeyPatch, secure: bool
) -> None:
    told = lend("ceph-rgw")
    store = opened(endpoint=told["secure_endpoint"], ca=told["ca"]) if secure else opened()
    real = HttpLink._send_body

    def flip(link: HttpLink, body: Any) -> Any:
        changed = bytearray(b"".join(body.parts))
        changed[1000] ^= 4
        body.parts = [memoryview(bytes(changed))]
        return real(link, body)

    monkeypatch.setattr(HttpLink, "_send_body", flip)
    with pytest.raises((TransferDamaged, KeyRefused)):
        store.put("data/00/x", bytes(50_000))
    monkeypatch.undo()
    assert list(store.list("")) == []


def test_a_large_object_goes_in_parts_and_a_failed_one_leaves_none(
    opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = opened(part_size=5 << 20)
    content = os.urandom(1 << 20) * 12 + b"end"
    before = store.requests()
    store.put("data/00/large", [content[: 7 << 20], content[7 << 20 :]])
    assert store.requests() - before == 5, "begin, three parts, end"
    assert store.get("data/00/large", offset=(10 << 20) - 5, length=10) == content[(10 << 20) - 5 :][:10]
    sent = 0
    real = HttpLink._send_body

    def failing(link: HttpLink, body: Any) -> Any:
        nonlocal sent
        sent += 1
        if sent == 3:
            raise StoreUnreachable("cut by the test")
        return real(link, body)

    monkeypatch.setattr(HttpLink, "_send_body", failing)
    with pytest.raises(StoreUnreachable):
        store.put("data/00/failed", content)
    monkeypatch.undo()
    with raw(store) as client:
        uploads = client.list_multipart_uploads(Bucket=store._config.bucket, Prefix=store._name("data/00/failed"))
    assert not uploads.get("Uploads")
    assert [info.key for info in store.list("")] == ["data/00/large"]


# causes told apart


def test_each_wrong_setting_has_its_own_code(opened: Opener) -> None:
    told = lend("ceph-rgw")
    secure = told["secure_endpoint"]
    wrong: list[tuple[type[StoreError], str, dict[str, Any]]] = [
        (HostUnknown, "HF-STORE-HOST", {"endpoint": "http://no-such-host.invalid"}),
        (PortClosed, "HF-STORE-PORT", {"endpoint": f"http://127.0.0.1:{free_port()}"}),
        (BucketMissing, "HF-STORE-BUCKET", {"bucket": "no-such-bucket"}),
        (KeyRefused, "HF-STORE-KEY", {"access_key": "NOSUCHKEY"}),
        (KeyRefused, "HF-STORE-KEY", {"secret_key": Secret("hunter2-wrong")}),
        (CertificateUntrusted, "HF-STORE-CERT", {"endpoint": secure}),
        (FingerprintMismatch, "HF-STORE-FINGERPRINT", {"endpoint": secure, "pins": ("ab" * 32,)}),
        (StoreUnreachable, "HF-STORE-UNREACHABLE", {"endpoint": secure.replace("https", "http")}),
    ]
    for kind, code, settings in wrong:
        store = opened(**{"create_bucket": False, **settings})
        for arguments in ((store.list, ""), (store.put, "config", b"1")):
            with pytest.raises(kind) as raised:
                list(arguments[0](*arguments[1:]) or ())
            assert raised.value.code == code, settings
            assert raised.value.guidance
            assert "hunter2" not in repr(raised.value) + str(raised.value)


def test_a_pinned_certificate_needs_no_authority(opened: Opener) -> None:
    told = lend("ceph-rgw")
    store = opened(endpoint=told["secure_endpoint"], pins=(told["pin"],))
    store.put("config", b"1")
    assert store.get("config") == b"1"


def test_a_used_up_quota_is_named(opened: Opener) -> None:
    small = opened(access_key=lend("ceph-rgw")["limited_access_key"], bucket=f"small-{uuid.uuid4().hex}")
    small.put("data/00/fits", bytes(10_000))
    with pytest.raises(QuotaExceeded) as full:
        small.put("data/00/too-much", bytes(1_500_000))
    assert full.value.code == "HF-STORE-QUOTA"
    assert [info.key for info in small.list("")] == ["data/00/fits"]


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [
        ("SlowDown", 503, ServerBusy),
        ("", 503, ServerBusy),
        ("InternalError", 500, StoreUnreachable),
        ("AuthorizationHeaderMalformed", 400, RegionWrong),
        ("InsufficientStorage", 507, StoreFull),
        ("ObjectLocked", 403, ObjectProtected),
        ("SomethingNew", 418, StoreError),
    ],
)
def test_answers_of_other_services_are_understood(code: str, status: int, kind: type[StoreError]) -> None:
    response = {
        "Error": {"Code": code, "Message": "text\r\nwith \x1b[31mcolour"},
        "ResponseMetadata": {"HTTPStatusCode": status, "HTTPHeaders": {"x-amz-bucket-region": "eu-central-1"}},
    }
    error = meaning(response, "data/00/x")
    assert type(error) is kind
    assert error.temporary is issubclass(kind, StoreUnreachable)
    assert "\x1b" not in str(error)
    assert "\n" not in str(error)
    if kind is RegionWrong:
        assert "eu-central-1" in str(error)


@pytest.mark.parametrize("storage_class", ["GLACIER", "deep_archive"])
def test_a_class_that_cannot_be_read_at_once_is_refused(tmp_path: Path, storage_class: str) -> None:
    with pytest.raises(BadConfig):
        s3_config("ceph-rgw", tmp_path, storage_class=storage_class)


def test_the_environment_and_the_home_of_the_user_count_for_nothing(
    opened: Opener, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bad = tmp_path / "config"
    bad.write_text("[default]\nregion = nowhere\ns3 =\n    addressing_style = virtual\n")
    for name, value in {
        "AWS_PROFILE": "absent",
        "AWS_CONFIG_FILE": str(bad),
        "AWS_ACCESS_KEY_ID": "other",
        "AWS_ENDPOINT_URL": "http://192.0.2.1",
        "AWS_CA_BUNDLE": "/nonexistent",
        "HTTP_PROXY": "http://192.0.2.1:3128",
        "http_proxy": "http://192.0.2.1:3128",
    }.items():
        monkeypatch.setenv(name, value)
    store = opened()
    store.put("config", b"1")
    assert store.get("config") == b"1"


# answers that lead elsewhere


class _Elsewhere(http.server.BaseHTTPRequestHandler):
    """Sends every request on to another host, and remembers what came."""

    asked: list[str] = []
    target = ""

    def answer(self) -> None:
        self.asked.append(self.path)
        self.send_response(307)
        self.send_header("Location", f"{self.target}{self.path}")
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_PUT = do_HEAD = do_DELETE = answer

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def elsewhere() -> Iterator[tuple[str, list[str]]]:
    class Target(_Elsewhere):
        asked: list[str] = []

    class First(_Elsewhere):
        asked: list[str] = []

    servers = [http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) for handler in (Target, First)]
    First.target = f"http://127.0.0.1:{servers[0].server_address[1]}"
    threads = [threading.Thread(target=server.serve_forever) for server in servers]
    for thread in threads:
        thread.start()
    yield f"http://127.0.0.1:{servers[1].server_address[1]}", Target.asked
    for server in servers:
        server.shutdown()
        server.server_close()
    for thread in threads:
        thread.join()


def test_no_answer_sends_us_and_our_signature_to_another_host(tmp_path: Path, elsewhere: tuple[str, list[str]]) -> None:
    endpoint, asked = elsewhere
    store = S3Store(s3_config("ceph-rgw", tmp_path, endpoint=endpoint))
    for call in (lambda: store.get("config"), lambda: list(store.list("")), lambda: store.put("config", b"1")):
        with pytest.raises(StoreError):
            call()
    assert asked == []
    store.close()


# object lock


def test_object_lock_protects_everything_but_locks(opened: Opener) -> None:
    now = datetime.now(UTC)
    store = opened(
        bucket=f"locked-{uuid.uuid4().hex}", create_bucket=True, object_lock="GOVERNANCE", object_lock_days=2
    )
    store.put("data/00/x", b"1")
    store.put("locks/mine", b"2")
    assert store.lock_policy() == LockPolicy(enabled=True)
    bucket = store._config.bucket
    with raw(store) as client:
        versions = {
            found["Key"].removeprefix(store._name("")): found["VersionId"]
            for found in client.list_object_versions(Bucket=bucket)["Versions"]
        }
        kept = client.head_object(Bucket=bucket, Key=store._name("data/00/x"))
        assert "ObjectLockMode" not in client.head_object(Bucket=bucket, Key=store._name("locks/mine"))
    assert kept["ObjectLockMode"] == "GOVERNANCE"
    assert timedelta(days=1.9) < kept["ObjectLockRetainUntilDate"] - now < timedelta(days=2.1)
    with pytest.raises(StoreError), raw(store) as client:
        client.delete_object(Bucket=bucket, Key=store._name("data/00/x"), VersionId=versions["data/00/x"])
    with raw(store) as client:
        client.delete_object(Bucket=bucket, Key=store._name("locks/mine"), VersionId=versions["locks/mine"])
    store.lock_until("data/00/x", now + timedelta(days=5))
    with raw(store) as client:
        kept = client.head_object(Bucket=bucket, Key=store._name("data/00/x"))
    assert kept["ObjectLockRetainUntilDate"] - now > timedelta(days=4.9)


def test_a_default_retention_of_the_bucket_is_seen(opened: Opener) -> None:
    store = opened(bucket=f"kept-{uuid.uuid4().hex}", create_bucket=True, object_lock="GOVERNANCE", object_lock_days=1)
    store.put("config", b"1")
    rule = {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 3}}
    with raw(store) as client:
        client.put_object_lock_configuration(
            Bucket=store._config.bucket, ObjectLockConfiguration={"ObjectLockEnabled": "Enabled", "Rule": rule}
        )
    assert store.lock_policy() == LockPolicy(True, "GOVERNANCE", 3)
    assert opened().lock_policy() == LockPolicy()
