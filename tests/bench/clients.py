"""Sends objects to a server and fetches them again, one after the other, with one client: ``clients.py NAME``.

The work is a JSON object on standard input (what ``Work`` holds), the answer one on standard output: seconds of wall
and CPU time for both ways.  Run as a file, so that a client may live in an environment of its own.
"""

from __future__ import annotations

import asyncio
import ftplib
import io
import json
import random
import resource
import socket
import ssl
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

BLOCK = 256 << 10


@dataclass
class Work:
    """Where to send what.  ``config`` holds the settings of a destination, secrets included."""

    config: dict[str, Any]
    count: int
    size: int

    @property
    def names(self) -> list[str]:
        return [f"data/{number % 16:02x}/{number}" for number in range(self.count)]

    def content(self) -> bytes:
        return random.Random(self.size).randbytes(self.size)


class Clock:
    """Takes the time of each way."""

    def __init__(self) -> None:
        self.taken: dict[str, float] = {}

    def time(self, way: str, work: Callable[[], None]) -> None:
        cpu, wall = _cpu(), time.perf_counter()
        work()
        self.taken[way] = time.perf_counter() - wall
        self.taken[f"{way}_cpu"] = _cpu() - cpu


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _both_ways(work: Work, put: Callable[[str, bytes], None], get: Callable[[str], bytes | bytearray]) -> Clock:
    """Time both ways; the first object warms the connection up."""
    clock, content = Clock(), work.content()
    put("data/00/warm", content[:BLOCK])

    def send() -> None:
        for name in work.names:
            put(name, content)

    def fetch() -> None:
        for name in work.names:
            if len(get(name)) != work.size:
                raise RuntimeError(f"{name} came back short")

    clock.time("put", send)
    clock.time("get", fetch)
    return clock


def holdfast(work: Work) -> Clock:
    """The driver of this project, with none of its wrappers."""
    from destinations.storage.config import from_plain
    from destinations.storage.registry import make_driver

    store = make_driver(from_plain({**work.config, "connections": 1}))
    try:
        return _both_ways(work, store.put, store.get)
    finally:
        for name in (*work.names, "data/00/warm"):
            store.delete(name)
        store.close()


class _Reusing(ftplib.FTP_TLS):
    """The few lines that servers insist on: the data channel goes on with the session of the control channel."""

    def ntransfercmd(self, cmd: str, rest: int | str | None = None) -> tuple[socket.socket, int]:
        connection, size = ftplib.FTP.ntransfercmd(self, cmd, rest)
        assert isinstance(self.sock, ssl.SSLSocket)
        return self.context.wrap_socket(connection, server_hostname=self.host, session=self.sock.session), size


def with_ftplib(work: Work) -> Clock:
    """The standard library's client."""
    config = work.config
    context = ssl.create_default_context(cadata=config["ca"] or None) if config["tls"] else None
    client = _Reusing(context=context) if context else ftplib.FTP()
    client.connect(config["host"], config["port"], 30)
    client.login(config["user"], config["password"])
    if isinstance(client, ftplib.FTP_TLS):
        client.prot_p()
    for folder in ("", "data", *(f"data/{number:02x}" for number in range(16))):
        try:
            client.mkd(f"{config['path']}/{folder}".rstrip("/"))
        except ftplib.error_perm:
            pass

    def put(name: str, content: bytes) -> None:
        client.storbinary(f"STOR {config['path']}/{name}", io.BytesIO(content), BLOCK)

    def get(name: str) -> bytes:
        blocks: list[bytes] = []
        client.retrbinary(f"RETR {config['path']}/{name}", blocks.append, BLOCK)
        return b"".join(blocks)

    clock = _both_ways(work, put, get)
    for name in (*work.names, "data/00/warm"):
        client.delete(f"{config['path']}/{name}")
    client.quit()
    return clock


def with_paramiko(work: Work) -> Clock:
    """paramiko as it is fastest: no delay, AES-GCM, pipelined writes."""
    import paramiko

    config = work.config
    transport = paramiko.Transport(socket.create_connection((config["host"], config["port"])))
    transport.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    transport.get_security_options().ciphers = ("aes128-gcm@openssh.com",)
    key = paramiko.Ed25519Key.from_private_key(io.StringIO(config["private_key"]))
    transport.connect(username=config["user"], pkey=key)
    client = paramiko.SFTPClient.from_transport(transport)
    for folder in (config["path"], *(f"{config['path']}/data{end}" for end in ("", *(f"/{n:02x}" for n in range(16))))):
        try:
            client.mkdir(folder)
        except OSError:
            pass

    def put(name: str, content: bytes) -> None:
        with client.open(f"{config['path']}/{name}", "wb") as file:
            file.set_pipelined(True)
            file.write(content)

    def get(name: str) -> bytes:
        with client.open(f"{config['path']}/{name}", "rb") as file:
            file.prefetch(file.stat().st_size)
            content: bytes = file.read()
            return content

    clock = _both_ways(work, put, get)
    for name in (*work.names, "data/00/warm"):
        client.remove(f"{config['path']}/{name}")
    transport.close()
    return clock


def with_asyncssh(work: Work) -> Clock:
    """asyncssh with AES-GCM; what it sends is made durable, as the driver does."""
    import asyncssh

    config = work.config
    loop = asyncio.new_event_loop()

    async def connect() -> tuple[Any, Any]:
        connection = await asyncssh.connect(
            config["host"],
            config["port"],
            username=config["user"],
            client_keys=[asyncssh.import_private_key(config["private_key"])],
            known_hosts=None,
            config=[],
            encryption_algs=["aes128-gcm@openssh.com"],
        )
        return connection, await connection.start_sftp_client()

    connection, client = loop.run_until_complete(connect())
    for number in range(16):
        loop.run_until_complete(client.makedirs(f"{config['path']}/data/{number:02x}", exist_ok=True))

    async def send(name: str, content: bytes) -> None:
        async with client.open(f"{config['path']}/{name}", "wb") as file:
            await file.write(content)
            await file.fsync()

    async def fetch(name: str) -> bytes:
        async with client.open(f"{config['path']}/{name}", "rb") as file:
            content: bytes = await file.read()
            return content

    clock = _both_ways(
        work,
        lambda name, content: loop.run_until_complete(send(name, content)),
        lambda name: loop.run_until_complete(fetch(name)),
    )
    for name in (*work.names, "data/00/warm"):
        loop.run_until_complete(client.remove(f"{config['path']}/{name}"))
    connection.close()
    loop.run_until_complete(connection.wait_closed())
    return clock


def with_boto3(work: Work) -> Clock:
    """boto3, without the checksums that older services refuse."""
    import boto3
    from botocore.config import Config

    config = work.config
    client = boto3.client(
        "s3",
        endpoint_url=config["endpoint"],
        region_name="us-east-1",
        aws_access_key_id=config["access_key"],
        aws_secret_access_key=config["secret_key"],
        config=Config(request_checksum_calculation="when_required", s3={"addressing_style": "path"}),
    )
    bucket, prefix = config["bucket"], config["prefix"]
    clock = _both_ways(
        work,
        lambda name, content: client.put_object(Bucket=bucket, Key=f"{prefix}/{name}", Body=content),
        lambda name: client.get_object(Bucket=bucket, Key=f"{prefix}/{name}")["Body"].read(),
    )
    for name in (*work.names, "data/00/warm"):
        client.delete_object(Bucket=bucket, Key=f"{prefix}/{name}")
    return clock


def with_obstore(work: Work) -> Clock:
    """obstore: signed requests, as the line is not encrypted."""
    from obstore.store import S3Store

    config = work.config
    store = S3Store(
        config["bucket"],
        prefix=config["prefix"],
        endpoint=config["endpoint"],
        region="us-east-1",
        access_key_id=config["access_key"],
        secret_access_key=config["secret_key"],
        virtual_hosted_style_request=False,
        client_options={"allow_http": True},
    )
    clock = _both_ways(
        work,
        lambda name, content: store.put(name, content, use_multipart=False),
        lambda name: bytes(store.get(name).bytes()),
    )
    store.delete([*work.names, "data/00/warm"])
    return clock


CLIENTS: dict[str, Callable[[Work], Clock]] = {
    "holdfast": holdfast,
    "ftplib": with_ftplib,
    "paramiko": with_paramiko,
    "asyncssh": with_asyncssh,
    "boto3": with_boto3,
    "obstore": with_obstore,
}

if __name__ == "__main__":
    print(json.dumps(CLIENTS[sys.argv[1]](Work(**json.load(sys.stdin))).taken))
