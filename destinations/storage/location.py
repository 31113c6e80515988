"""Destinations as one word on a command line, such as ``sftp:backup@host:/path``.

A location never holds a secret: command lines can be read by everybody on a machine.  Secrets come from the
environment, directly or as the name of a file (``…_FILE``).
"""

from __future__ import annotations

import base64
import fnmatch
import hashlib
import hmac
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

from destinations.storage.base import ObjectStore
from destinations.storage.config import Config, FtpConfig, LocalConfig, S3Config, Secret, SftpConfig
from destinations.storage.errors import BadConfig
from destinations.storage.registry import open_store

_KEY_FILES = ("id_ed25519", "id_ecdsa", "id_rsa")
_YES = ("1", "true", "yes", "on")


def open_location(location: str, env: Mapping[str, str] | None = None) -> ObjectStore:
    """Return the store of a location; see :func:`parse_location`."""
    return open_store(parse_location(location, os.environ if env is None else env))


def parse_location(location: str, env: Mapping[str, str]) -> Config:
    """Return the settings that a location and the environment give; BadConfig.

    Forms: a path or ``local:path``; ``sftp:user@host:path`` or ``sftp://user@host:port/path`` (a second slash makes
    the path absolute); ``ftp://user@host:port/path``, with explicit TLS as ``ftps://``; ``s3:https://host/bucket/prefix``,
    ``s3:host/bucket/prefix`` or ``s3://bucket/prefix`` at Amazon.
    """
    kind, colon, rest = location.partition(":")
    if not location or "\0" in location:
        raise BadConfig("the location is empty")
    if not colon or "/" in kind or kind == "local":
        path = rest if kind == "local" and colon else location
        return LocalConfig(path=str(Path(path).expanduser().absolute()))
    if kind == "sftp":
        return _sftp(rest, env)
    if kind in ("ftp", "ftps"):
        return _ftp(kind, rest, env)
    if kind == "s3":
        return _s3(rest, env)
    raise BadConfig(f"unknown kind of location {kind!r}; there are local, sftp, ftp, ftps and s3")


def _sftp(rest: str, env: Mapping[str, str]) -> SftpConfig:
    if rest.startswith("//"):
        parts = _split(f"sftp:{rest}")
        host, port, user, path = _host(parts), _port(parts, 22), unquote(parts.username or ""), unquote(parts.path)[1:]
    else:
        place, _, path = rest.partition(":")
        user, _, host = place.rpartition("@")
        port = 22
        _refuse_password(user)
    user = user or env.get("HOLDFAST_SFTP_USER", "") or env.get("USER", "")
    return SftpConfig(
        host=host,
        port=port,
        user=user,
        path=path,
        password=_secret(env, "HOLDFAST_SFTP_PASSWORD"),
        private_key=_private_key(env),
        passphrase=_secret(env, "HOLDFAST_SFTP_PASSPHRASE"),
        agent=bool(env.get("SSH_AUTH_SOCK")),
        host_keys=_host_keys(env, host, port),
        **_common(env),
    )


def _ftp(kind: str, rest: str, env: Mapping[str, str]) -> FtpConfig:
    parts = _split(f"ftp:{rest}")
    return FtpConfig(
        host=_host(parts),
        port=_port(parts, 21),
        user=unquote(parts.username or "") or env.get("HOLDFAST_FTP_USER", "") or "anonymous",
        path=unquote(parts.path)[1:],
        password=_secret(env, "HOLDFAST_FTP_PASSWORD"),
        tls=kind == "ftps",
        ca=_file(env, "HOLDFAST_FTP_CA_FILE"),
        pins=_words(env, "HOLDFAST_FTP_PINS"),
        passive=env.get("HOLDFAST_FTP_ACTIVE", "").lower() not in _YES,
        **_common(env),
    )


def _s3(rest: str, env: Mapping[str, str]) -> S3Config:
    if rest.startswith("//"):
        endpoint, path = "", rest[2:]
    else:
        parts = _split(rest if "://" in rest else f"https://{rest}")
        endpoint, path = f"{parts.scheme}://{parts.netloc}", unquote(parts.path)[1:]
    bucket, _, prefix = path.partition("/")
    return S3Config(
        endpoint=endpoint,
        bucket=bucket,
        prefix=prefix.strip("/"),
        region=env.get("AWS_DEFAULT_REGION", "") or env.get("AWS_REGION", ""),
        access_key=env.get("AWS_ACCESS_KEY_ID", ""),
        secret_key=_secret(env, "AWS_SECRET_ACCESS_KEY"),
        session_token=_secret(env, "AWS_SESSION_TOKEN"),
        ca=_file(env, "HOLDFAST_S3_CA_FILE"),
        pins=_words(env, "HOLDFAST_S3_PINS"),
        addressing=env.get("HOLDFAST_S3_ADDRESSING", "auto"),
        create_bucket=env.get("HOLDFAST_S3_CREATE_BUCKET", "").lower() in _YES,
        storage_class=env.get("HOLDFAST_S3_STORAGE_CLASS", ""),
        object_lock=env.get("HOLDFAST_S3_OBJECT_LOCK", "").upper(),
        object_lock_days=_number(env, "HOLDFAST_S3_OBJECT_LOCK_DAYS"),
        **_common(env),
    )


def _number(env: Mapping[str, str], name: str) -> int:
    text = env.get(name, "") or "0"
    if not text.isdecimal():
        raise BadConfig(f"{name} is a number")
    return int(text)


def _common(env: Mapping[str, str]) -> dict[str, Any]:
    """Return the settings that every remote kind takes from the environment."""
    found: dict[str, Any] = {}
    try:
        if connections := env.get("HOLDFAST_CONNECTIONS", ""):
            found["connections"] = int(connections)
        if retries := env.get("HOLDFAST_RETRIES", ""):
            found["retries"] = int(retries)
        if timeout := env.get("HOLDFAST_TIMEOUT", ""):
            found["timeout"] = float(timeout)
    except ValueError as error:
        raise BadConfig(f"a number is expected in the environment: {error}") from None
    return found


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise BadConfig("the location is not a URL") from None
    if parts.password is not None:
        _refuse_password("user:password")
    return parts


def _refuse_password(user: str) -> None:
    if ":" in user:
        raise BadConfig("a password does not belong into a location: set it in the environment or a file named there")


def _host(parts: SplitResult) -> str:
    if not parts.hostname:
        raise BadConfig("the location names no host")
    return parts.hostname


def _port(parts: SplitResult, default: int) -> int:
    return parts.port or default


def _secret(env: Mapping[str, str], name: str) -> Secret:
    return Secret(env.get(name, "") or _file(env, f"{name}_FILE").rstrip("\r\n"))


def _words(env: Mapping[str, str], name: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in env.get(name, "").split(",") if word.strip())


def _file(env: Mapping[str, str], name: str) -> str:
    path = env.get(name, "")
    if not path:
        return ""
    try:
        return Path(path).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise BadConfig(f"the file of {name} cannot be read: {type(error).__name__}") from None


def _private_key(env: Mapping[str, str]) -> Secret:
    """Return the key of the file that is named; with no other way to log in, the first of the usual ones."""
    if env.get("HOLDFAST_SFTP_KEY_FILE"):
        return Secret(_file(env, "HOLDFAST_SFTP_KEY_FILE"))
    if env.get("SSH_AUTH_SOCK") or env.get("HOLDFAST_SFTP_PASSWORD") or env.get("HOLDFAST_SFTP_PASSWORD_FILE"):
        return Secret("")
    folder = Path(env.get("HOME", "/nonexistent")) / ".ssh"
    for name in _KEY_FILES:
        if (folder / name).is_file():
            return Secret((folder / name).read_text())
    return Secret("")


def _host_keys(env: Mapping[str, str], host: str, port: int) -> tuple[str, ...]:
    """Return the confirmed identities: those in the environment, or those that ssh has confirmed before."""
    if env.get("HOLDFAST_SFTP_FINGERPRINT"):
        return _words(env, "HOLDFAST_SFTP_FINGERPRINT")
    known = Path(env.get("HOME", "/nonexistent")) / ".ssh" / "known_hosts"
    if not known.is_file():
        return ()
    name = host if port == 22 else f"[{host}]:{port}"
    lines = known.read_text(errors="replace").splitlines()
    return tuple(key for line in lines if (key := _known_key(line, name.lower())))


def _known_key(line: str, name: str) -> str:
    """Return the key of a line of ``known_hosts`` if it is for ``name``; marked lines are left out."""
    words = line.split()
    if len(words) < 3 or words[0].startswith(("#", "@")):
        return ""
    patterns = words[0].split(",")
    if any(_is_host(pattern[1:], name) for pattern in patterns if pattern.startswith("!")):
        return ""
    return f"{words[1]} {words[2]}" if any(_is_host(pattern, name) for pattern in patterns) else ""


def _is_host(pattern: str, name: str) -> bool:
    if pattern.startswith("|1|"):
        salt, _, digest = pattern[3:].partition("|")
        try:
            reckoned = hmac.digest(base64.b64decode(salt), name.encode(), hashlib.sha1)
        except ValueError:
            return False
        return hmac.compare_digest(base64.b64encode(reckoned).decode(), digest)
    # Brackets stand for themselves here, around a host whose port is not 22.
    return fnmatch.fnmatchcase(name, pattern.lower().replace("[", "[[]"))
