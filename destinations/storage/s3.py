"""A bucket of a service that speaks S3."""

from __future__ import annotations

import base64
import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import botocore  # type: ignore[import-untyped]
import botocore.session  # type: ignore[import-untyped]
import msgspec
from botocore.awsrequest import AWSResponse  # type: ignore[import-untyped]
from botocore.config import Config as ClientConfig  # type: ignore[import-untyped]
from botocore.exceptions import BotoCoreError, ClientError  # type: ignore[import-untyped]

from destinations.storage.base import Capabilities, Data, LockPolicy, ObjectInfo, Pace, parts_of
from destinations.storage.config import S3Config
from destinations.storage.errors import BadConfig, BucketMissing, ObjectMissing, ShortRead, StoreError
from destinations.storage.forking import renew_after_fork
from destinations.storage.names import check_key, check_prefix, check_range, is_key
from destinations.storage.places import Places
from destinations.storage.pool import Pool, Tally
from destinations.storage.s3_errors import meaning
from destinations.storage.s3_http import Body, HttpLink, Raw, Target, target_of

_AMAZON = (".amazonaws.com", ".amazonaws.com.cn")


def _now() -> datetime:
    return datetime.now(UTC)


class _ClientMaker:
    """Makes clients from one session, which keeps the large description of the service in memory.

    Nothing of the environment counts, nor files in the home of whoever runs this: a destination says all itself.
    """

    def __init__(self) -> None:
        self._session: Any = None
        self.renew_after_fork()
        renew_after_fork(self)

    def renew_after_fork(self) -> None:
        """Replace the lock, which another thread of the parent may have held."""
        self._lock = threading.Lock()

    def client(self, **settings: Any) -> Any:
        """Return a new client."""
        nowhere = (None, None, os.devnull, None)
        with self._lock:
            if self._session is None:
                nothing = (None, None, None, None)
                names = {"config_file": nowhere, "credentials_file": nowhere, "profile": nothing}
                self._session = botocore.session.Session(session_vars=names)
            return self._session.create_client("s3", **settings)


_MAKER = _ClientMaker()


class S3Store:
    """Objects of a bucket, below a prefix.  Safe to use from several threads."""

    connect_steps = ("connect", "log in")

    def __init__(self, config: S3Config, *, now: Callable[[], datetime] = _now) -> None:
        """Use the bucket of ``config``; nothing is connected yet."""
        self._config, self._now = config, now
        self._prefix = "/".join(part for part in config.prefix.split("/") if part not in ("", "."))
        self._pace: Pace | None = None
        self._tally = Tally()
        self._leased = threading.local()
        self._pool: Pool[HttpLink] = Pool(lambda: HttpLink(config, self._tally.add), config.connections)
        self.renew_after_fork()
        renew_after_fork(self)

    def renew_after_fork(self) -> None:
        """Make a new client in a child: the parent's may be in use by another thread."""
        self._client_lock = threading.Lock()
        self._made: Any = None

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(connections=self._config.connections)

    def set_pace(self, pace: Pace | None) -> None:
        """Slow transfers down with ``pace``."""
        self._pace = pace

    def requests(self) -> int:
        """Return the number of HTTP requests sent."""
        return self._tally.value

    def connect_step_by_step(self) -> Iterator[str]:
        """Connect on a connection of its own; then ask for one name in the bucket."""
        link = HttpLink(self._config, self._tally.add)
        try:
            yield link.open(self._base())
        finally:
            link.close()
        try:
            with self._reading("") as client:
                client.list_objects_v2(Bucket=self._config.bucket, Prefix=self._name(""), MaxKeys=1)
        except ObjectMissing:
            yield f"there is no bucket {self._config.bucket} yet; it is made with the first object"
        else:
            yield f"the bucket {self._config.bucket} can be listed"

    def certificate(self) -> str:
        """Return the certificate's SHA-256, whether or not it is trusted; nothing is asked of the service."""
        if self._base().scheme != "https":
            return ""
        link = HttpLink(msgspec.structs.replace(self._config, verify=False, pins=()), self._tally.add)
        try:
            return link.open(self._base()).rpartition(" ")[2]
        finally:
            link.close()

    def put(self, key: str, data: Data) -> None:
        """Send the object, protected by a checksum; in parts if it is large."""
        name, parts = self._name(check_key(key)), parts_of(data)
        send = self._put_at_once if sum(part.nbytes for part in parts) <= self._config.part_size else self._put_in_parts
        try:
            send(key, name, parts)
        except BucketMissing:
            if not self._config.create_bucket:
                raise
            self._create_bucket()
            send(key, name, parts)

    def get(self, key: str, *, offset: int = 0, length: int | None = None) -> bytes:
        """Return the range; ObjectMissing, ShortRead."""
        check_range(offset, length)
        name = self._name(check_key(key))
        if length == 0:
            if offset > self.stat(key):
                raise ShortRead(f"{key} ends before {offset}", key=key)
            return b""
        wanted: dict[str, str] = {}
        if offset or length is not None:
            wanted["Range"] = f"bytes={offset}-" + ("" if length is None else str(offset + length - 1))
        with self._reading(key) as client:
            try:
                answer = client.get_object(Bucket=self._config.bucket, Key=name, **wanted)
            except ClientError as error:
                metadata = error.response.get("ResponseMetadata", {})
                if length is not None or metadata.get("HTTPStatusCode") != 416:
                    raise
            else:
                return self._received(key, answer, offset, length)
        # Nothing lies beyond the end, which is fine only just at it.
        return self.get(key, offset=offset, length=0)

    def stat(self, key: str) -> int:
        """Return the size in bytes; ObjectMissing."""
        name = self._name(check_key(key))
        with self._reading(key) as client:
            return int(client.head_object(Bucket=self._config.bucket, Key=name)["ContentLength"])

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Yield the objects below the folder, a thousand a request."""
        folder = check_prefix(prefix)
        start = self._name(f"{folder}/" if folder else "")
        skip = len(self._prefix) + 1 if self._prefix else 0
        more: dict[str, str] = {}
        while True:
            try:
                with self._reading("") as client:
                    page = client.list_objects_v2(Bucket=self._config.bucket, Prefix=start, **more)
            except ObjectMissing:
                return
            for found in page.get("Contents", ()):
                key = found["Key"][skip:]
                if is_key(key):
                    yield ObjectInfo(key, int(found["Size"]))
            if not page.get("IsTruncated"):
                return
            if more.get("ContinuationToken") == page.get("NextContinuationToken", ""):
                raise StoreError("the service's listing does not go on")
            more = {"ContinuationToken": page["NextContinuationToken"]}

    def delete(self, key: str) -> None:
        """Remove the object if it is there."""
        name = self._name(check_key(key))
        with suppress(ObjectMissing), self._asking(key) as client:
            client.delete_object(Bucket=self._config.bucket, Key=name)

    def lock_policy(self) -> LockPolicy:
        """Return what the bucket's object lock is set to."""
        try:
            with self._asking("") as client:
                answer = client.get_object_lock_configuration(Bucket=self._config.bucket)
        except BucketMissing:
            raise
        except StoreError as error:
            if error.temporary:
                raise
            return LockPolicy()
        setting = answer.get("ObjectLockConfiguration", {})
        rule = setting.get("Rule", {}).get("DefaultRetention", {})
        days = int(rule.get("Days", 0)) or 365 * int(rule.get("Years", 0))
        return LockPolicy(setting.get("ObjectLockEnabled") == "Enabled", str(rule.get("Mode", "")), days)

    def lock_until(self, key: str, until: datetime) -> None:
        """Protect the object until then, in the configured mode."""
        retention = {"Mode": self._config.object_lock or "GOVERNANCE", "RetainUntilDate": until}
        with self._asking(key) as client:
            client.put_object_retention(Bucket=self._config.bucket, Key=self._name(check_key(key)), Retention=retention)

    def share_connections(self, places: Places) -> None:
        """Connect only from one of ``places``, which other processes use too."""
        self._pool.share(places)

    def close(self) -> None:
        """Close all connections."""
        self._pool.close()

    # putting

    def _put_at_once(self, key: str, name: str, parts: _Parts) -> None:
        with self._asking(key) as client, Body(parts) as body:
            client.put_object(
                Bucket=self._config.bucket,
                Key=name,
                Body=body,
                ContentType="application/octet-stream",
                **self._checksum(parts),
                **self._class_and_lock(key),
            )

    def _put_in_parts(self, key: str, name: str, parts: _Parts) -> None:
        place = {"Bucket": self._config.bucket, "Key": name}
        with self._asking(key) as client:
            begun = client.create_multipart_upload(
                **place, ContentType="application/octet-stream", **self._class_and_lock(key)
            )
        place["UploadId"] = begun["UploadId"]
        try:
            sent = []
            for number, piece in enumerate(_pieces(parts, self._config.part_size), 1):
                with self._asking(key) as client, Body(piece) as body:
                    part = client.upload_part(**place, PartNumber=number, Body=body, **self._checksum(piece))
                sent.append({"PartNumber": number, "ETag": part["ETag"]})
            with self._asking(key) as client:
                client.complete_multipart_upload(**place, MultipartUpload={"Parts": sent})
        except BaseException:
            with suppress(StoreError), self._asking(key) as client:
                client.abort_multipart_upload(**place)
            raise

    def _checksum(self, parts: _Parts) -> dict[str, str]:
        """Over TLS an MD5 goes along, for the service to compare; without, the signature covers every byte."""
        if self._base().scheme != "https" and not self._config.object_lock:
            return {}
        digest = hashlib.md5(usedforsecurity=False)
        for part in parts:
            digest.update(part)
        return {"ContentMD5": base64.b64encode(digest.digest()).decode()}

    def _class_and_lock(self, key: str) -> dict[str, Any]:
        more: dict[str, Any] = {}
        if self._config.storage_class:
            more["StorageClass"] = self._config.storage_class.upper()
        if self._config.object_lock and "locks" not in key.split("/")[:-1]:
            more["ObjectLockMode"] = self._config.object_lock
            more["ObjectLockRetainUntilDate"] = self._now() + timedelta(days=self._config.object_lock_days)
        return more

    def _create_bucket(self) -> None:
        more: dict[str, Any] = {}
        if self._config.region not in ("", "us-east-1"):
            more["CreateBucketConfiguration"] = {"LocationConstraint": self._config.region}
        if self._config.object_lock:
            more["ObjectLockEnabledForBucket"] = True
        with self._asking("") as client:
            client.create_bucket(Bucket=self._config.bucket, **more)

    # getting

    def _received(self, key: str, answer: dict[str, Any], offset: int, length: int | None) -> bytes:
        link: HttpLink = self._leased.link
        there = int(answer["ContentLength"])
        if offset and "ContentRange" not in answer and answer["ResponseMetadata"]["HTTPStatusCode"] == 200:
            # This service does not know ranges: the object comes from its beginning.
            if offset > there:
                raise ShortRead(f"{key} has {there} bytes, not {offset}", key=key)
            left = offset
            while left:
                left -= len(link.receive(min(left, 1 << 20)))
            there -= offset
        if length is not None and there < length:
            raise ShortRead(f"{key} ends {length - there} bytes early", key=key)
        return link.receive(there if length is None else length)

    # requests

    def _name(self, key: str) -> str:
        return f"{self._prefix}/{key}" if self._prefix else key

    def _base(self) -> Target:
        region = self._config.region or "us-east-1"
        return target_of(self._config.endpoint or f"https://s3.{region}.amazonaws.com")

    @contextmanager
    def _asking(self, key: str) -> Iterator[Any]:
        """Yield the client, with a connection for this thread; its errors become ours."""
        with self._pool.lease() as link:
            link.pace, self._leased.link = self._pace, link
            try:
                yield self._client()
            except ClientError as error:
                raise meaning(error.response, key) from None
            except BotoCoreError as error:
                text = " ".join(str(error).split())[:200]
                raise BadConfig(f"{self._base().host} does not speak S3 as expected: {text}") from None
            finally:
                link.finish()

    @contextmanager
    def _reading(self, key: str) -> Iterator[Any]:
        """Do the same for a call that finds nothing where the bucket has yet to be made."""
        try:
            with self._asking(key) as client:
                yield client
        except BucketMissing:
            if not self._config.create_bucket:
                raise
            raise ObjectMissing(f"{key} is not there, nor is the bucket", key=key) from None

    def _client(self) -> Any:
        with self._client_lock:
            if self._made is None:
                self._made = self._make_client()
            return self._made

    def _make_client(self) -> Any:
        config = self._config
        style = config.addressing if config.addressing != "auto" else "virtual" if not config.endpoint else "path"
        settings = ClientConfig(
            signature_version="s3v4" if config.access_key else botocore.UNSIGNED,
            retries={"total_max_attempts": 1, "mode": "standard"},
            s3={"addressing_style": style},
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            ignore_configured_endpoint_urls=True,
            user_agent="holdfast",
        )
        client = _MAKER.client(
            region_name=config.region or "us-east-1",
            endpoint_url=config.endpoint or None,
            aws_access_key_id=config.access_key or None,
            aws_secret_access_key=config.secret_key.reveal() or None,
            aws_session_token=config.session_token.reveal() or None,
            config=settings,
        )
        client.meta.events.register("before-send.s3", self._send)
        return client

    def _send(self, request: Any, **_more: Any) -> AWSResponse:
        """Take the place of botocore's own sending."""
        self._check_host(target_of(request.url).host)
        headers = {
            name: value.decode() if isinstance(value, bytes) else str(value) for name, value in request.headers.items()
        }
        body = request.body
        if isinstance(body, str):
            body = body.encode()
        link: HttpLink = self._leased.link
        response = link.send(request.method, request.url, headers, body)
        # The reader of answers takes the last of equal headers; HEAD answers keep their Content-Length.
        return AWSResponse(request.url, response.status, response.headers.items(), Raw(response))

    def _check_host(self, host: str) -> None:
        """No answer of a service may send us, and our signature, to another host."""
        base = self._base().host
        ours = host == base or host == f"{self._config.bucket}.{base}".lower()
        if not ours and not (not self._config.endpoint and host.endswith(_AMAZON)):
            raise BadConfig(f"the service points to another host, {host[:100]}")


# Inside the class, ``list`` is the method.
_Parts = list[memoryview]


def _pieces(parts: _Parts, size: int) -> Iterator[_Parts]:
    """Yield ``parts`` in pieces of ``size`` bytes together; the last may be smaller."""
    piece: _Parts = []
    room = size
    for part in parts:
        while part.nbytes:
            piece.append(part[:room])
            part, room = part[room:], room - piece[-1].nbytes
            if not room:
                yield piece
                piece, room = [], size
    if piece:
        yield piece
