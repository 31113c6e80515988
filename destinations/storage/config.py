"""The settings of a destination as frozen values, one class per kind, from and to plain data.

Times are seconds, sizes bytes, rates bytes a second; 0 means "no limit" wherever a limit can be given.
"""

from __future__ import annotations

import hmac
from datetime import datetime
from typing import Any, NoReturn
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from destinations.storage.connect import Reach
from destinations.storage.errors import BadConfig
from destinations.storage.names import check_prefix

_HIDDEN = "***"


class Secret:
    """A text that prints as ``***``, cannot be pickled, and is read with :meth:`reveal` only."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Return the text itself."""
        return self._text

    def __bool__(self) -> bool:
        return bool(self._text)

    def __repr__(self) -> str:
        return _HIDDEN

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(self._text.encode(), other._text.encode())

    __hash__ = None  # type: ignore[assignment]

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is not pickled")


class FrameConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Bandwidth limits for a time of day, ``start`` up to ``end`` ("22:00"), beginning on ``days`` (0 = Monday)."""

    start: str
    end: str
    days: tuple[int, ...] = (0, 1, 2, 3, 4, 5, 6)
    up: int = 0
    down: int = 0

    def __post_init__(self) -> None:
        minutes_of(self.start)
        minutes_of(self.end)
        _require(bool(self.days) and all(0 <= day <= 6 for day in self.days), "a day is a number from 0 to 6")
        _require(self.up >= 0 and self.down >= 0, "a rate is not negative")


class Common(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What every kind of destination has."""

    read_only: bool = False
    """Restore and download only."""
    locks_when_read_only: bool = False
    """Write ``locks/`` all the same, to keep other programs from pruning meanwhile."""
    disk_limit: int = 0
    """Percent of used space from which on nothing new is stored."""
    retries: int = 5
    """Repetitions of a call that failed for a passing reason."""
    connections: int = 2
    """Calls or connections at once."""
    up: int = 0
    down: int = 0
    frames: tuple[FrameConfig, ...] = ()
    """Times of day with rates of their own; the first that holds counts."""
    zone: str = "UTC"
    """The time zone of the frames."""
    public_only: bool = False
    """Refuse hosts on private networks; for destinations that customers enter."""
    allowed_networks: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _require(0 <= self.disk_limit <= 100, "the disk limit is a number of percent")
        _require(self.retries >= 0, "the number of retries is not negative")
        _require(0 <= self.connections <= 400, "the number of connections is 0 to 400")
        _require(self.up >= 0 and self.down >= 0, "a rate is not negative")
        try:
            ZoneInfo(self.zone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise BadConfig(f"{self.zone!r} is no time zone") from None
        self.reach()

    def reach(self) -> Reach:
        """Return the networks that may be connected to."""
        return Reach(self.public_only, self.allowed_networks)

    def local_time(self) -> datetime:
        """Return the present time in the zone of the frames."""
        return datetime.now(ZoneInfo(self.zone))


class LocalConfig(Common, frozen=True, kw_only=True, tag_field="kind", tag="local"):
    """A folder of this machine.  Defined by administrators only."""

    path: str
    connections: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        _require(self.path.startswith("/") and "\0" not in self.path, "a local path begins with /")


class Remote(Common, frozen=True, kw_only=True):
    """What every kind with a host and a log-in has."""

    host: str
    user: str
    path: str = ""
    """Start folder, relative to the user's home unless it begins with /."""
    timeout: float = 30.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_host(self.host)
        _require(bool(self.user), "the user name is missing")
        _require(_printable(self.user, self.path), "user name and path hold no line ends or control characters")
        _require(0 < self.timeout <= 3600, "the timeout is between 0 and 3600 seconds")


class FtpConfig(Remote, frozen=True, kw_only=True, tag_field="kind", tag="ftp"):
    """A server that speaks FTP, plain or with explicit TLS."""

    port: int = 21
    password: Secret = Secret("")
    tls: bool = False
    """Explicit TLS on the control and the data connections."""
    verify: bool = True
    ca: str = ""
    """Authorities to trust instead of the system's, PEM."""
    pins: tuple[str, ...] = ()
    """SHA-256 fingerprints of certificates to accept, whoever signed them."""
    passive: bool = True
    read_back: bool | None = None
    """Compare what arrived before it counts.  Not set: yes without TLS, no with it."""
    connections: int = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        check_port(self.port)
        _require(_printable(self.password.reveal()), "a password holds no line ends or control characters")
        _check_pins(self.pins)


class SftpConfig(Remote, frozen=True, kw_only=True, tag_field="kind", tag="sftp"):
    """A server that speaks SFTP."""

    port: int = 22
    password: Secret = Secret("")
    private_key: Secret = Secret("")
    """Private key in OpenSSH's or PEM form."""
    passphrase: Secret = Secret("")
    """Opens the private key."""
    agent: bool = False
    """Use the keys of the running ssh agent; never for destinations of customers."""
    host_keys: tuple[str, ...] = ()
    """Confirmed identities: ``SHA256:…``, ``ssh-ed25519 SHA256:…`` or ``ssh-ed25519 AAAA…``."""
    connections: int = 5

    def __post_init__(self) -> None:
        super().__post_init__()
        check_port(self.port)
        _require(not (self.agent and self.public_only), "the ssh agent is not for destinations of customers")


class S3Config(Common, frozen=True, kw_only=True, tag_field="kind", tag="s3"):
    """A bucket of a service that speaks S3."""

    bucket: str
    endpoint: str = ""
    """URL of the service; empty = Amazon's for the region."""
    region: str = ""
    prefix: str = ""
    access_key: str = ""
    secret_key: Secret = Secret("")
    session_token: Secret = Secret("")
    addressing: str = "auto"
    """``path``, ``virtual`` (bucket in the host name), or ``auto``: virtual for Amazon, path elsewhere."""
    verify: bool = True
    ca: str = ""
    pins: tuple[str, ...] = ()
    storage_class: str = ""
    part_size: int = 200 << 20
    """Objects above this size are sent in parts of it."""
    create_bucket: bool = False
    object_lock: str = ""
    """``GOVERNANCE`` or ``COMPLIANCE``: put every object but locks under retention."""
    object_lock_days: int = 0
    timeout: float = 30.0
    connections: int = 5

    def __post_init__(self) -> None:
        super().__post_init__()
        _require(not self.endpoint or self.endpoint.startswith(("http://", "https://")), "an endpoint is a URL")
        _require(_printable(self.endpoint, self.region, self.prefix), "settings hold no control characters")
        _require(_is_bucket(self.bucket), "the bucket's name is not a legal one")
        _require(_printable(self.access_key, self.secret_key.reveal()), "keys hold no control characters")
        _require(self.addressing in ("auto", "path", "virtual"), "addressing is auto, path or virtual")
        _require(
            self.storage_class.upper() not in ("GLACIER", "DEEP_ARCHIVE"),
            "an archive class cannot be read at once; use a class with instant access, or a rule of the bucket",
        )
        _require(5 << 20 <= self.part_size <= 5 << 30, "the part size is between 5 MiB and 5 GiB")
        _require(self.object_lock in ("", "GOVERNANCE", "COMPLIANCE"), "object lock is GOVERNANCE or COMPLIANCE")
        _require(bool(self.object_lock) == (self.object_lock_days > 0), "object lock needs a mode and a number of days")
        _require(0 < self.timeout <= 3600, "the timeout is between 0 and 3600 seconds")
        _check_pins(self.pins)


Config = LocalConfig | FtpConfig | SftpConfig | S3Config
"""The settings of a destination of any kind."""


def from_plain(data: object) -> Config:
    """Return the settings held by a plain dictionary with a ``kind``; BadConfig."""
    try:
        config: Config = msgspec.convert(data, Config, dec_hook=_take)
    except msgspec.ValidationError as error:
        raise BadConfig(f"the destination's settings are not valid: {error}") from None
    return config


def to_plain(config: Config, *, reveal: bool = False) -> dict[str, Any]:
    """Return the settings as a plain dictionary; secrets as ``***`` unless they are asked for."""

    def give(value: Any) -> str:
        if isinstance(value, Secret):
            return value.reveal() if reveal or not value else _HIDDEN
        raise NotImplementedError

    plain: dict[str, Any] = msgspec.to_builtins(config, enc_hook=give)
    return plain


def below(config: Config, folder: str) -> Config:
    """Return the settings for a folder of the destination: the path of one repository."""
    name = check_prefix(folder)
    if not name:
        return config
    if isinstance(config, S3Config):
        return msgspec.structs.replace(config, prefix=f"{config.prefix.rstrip('/')}/{name}".lstrip("/"))
    return msgspec.structs.replace(config, path=f"{config.path.rstrip('/')}/{name}" if config.path else name)


def minutes_of(text: str) -> int:
    """Return the minute of the day that ``text`` ("22:30") names; BadConfig."""
    hours, colon, minutes = text.partition(":")
    legal = bool(colon) and hours.isdecimal() and minutes.isdecimal() and len(minutes) == 2
    _require(legal and int(hours) < 24 and int(minutes) < 60, f"{text!r} is no time of day")
    return int(hours) * 60 + int(minutes)


def check_host(host: str) -> None:
    """Raise BadConfig unless ``host`` can be a host name or an address."""
    legal = host.replace(".", "").replace("-", "").replace(":", "").replace("_", "").isalnum()
    _require(legal and not host.startswith("-") and len(host) <= 253, f"{host[:80]!r} is not a host name")


def check_port(port: int) -> None:
    """Raise BadConfig unless ``port`` is one."""
    _require(0 < port < 65536, "a port is a number from 1 to 65535")


def _check_pins(pins: tuple[str, ...]) -> None:
    if pins:
        from destinations.storage.tls import normal_pin  # TLS takes long to import, and a folder needs none

        for pin in pins:
            normal_pin(pin)


def _take(kind: type, value: Any) -> Any:
    if kind is Secret and isinstance(value, str):
        return Secret(value)
    raise TypeError("text is expected")


def _is_bucket(name: str) -> bool:
    plain = name.replace(".", "").replace("-", "").replace("_", "")
    return 3 <= len(name) <= 255 and name.isascii() and plain.isalnum() and ".." not in name


def _printable(*texts: str) -> bool:
    return all(text.isprintable() for text in texts)


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise BadConfig(otherwise)
