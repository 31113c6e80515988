"""From settings to a store: which class serves a kind, and which wrappers go around it."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable
from pathlib import Path

from destinations.storage.base import ObjectStore, SharesConnections
from destinations.storage.config import Common, Config, minutes_of
from destinations.storage.places import Places
from destinations.storage.wrappers.bandwidth import BandwidthStore, Frame, Rates, Throttle
from destinations.storage.wrappers.diskguard import DiskGuardedStore
from destinations.storage.wrappers.limited import LimitedStore
from destinations.storage.wrappers.metered import Meter, MeteredStore
from destinations.storage.wrappers.readonly import WriteProtectedStore
from destinations.storage.wrappers.retrying import Circuit, RetryingStore, RetryPolicy, Watcher

# By name, so that a local backup does not load the libraries of the other kinds.
_DRIVERS = {
    "LocalConfig": ("destinations.storage.local", "LocalStore"),
    "FtpConfig": ("destinations.storage.ftp", "FtpStore"),
    "SftpConfig": ("destinations.storage.sftp", "SftpStore"),
    "S3Config": ("destinations.storage.s3", "S3Store"),
}


def make_driver(config: Config, shared: Path | None = None) -> ObjectStore:
    """Return the bare store of a destination, with no wrapper.  Nothing is connected yet.

    ``shared`` is a folder through which all processes of the machine keep to the number of connections together.
    """
    module, name = _DRIVERS[type(config).__name__]
    driver = getattr(importlib.import_module(module), name)
    store: ObjectStore = driver(getattr(config, "path") if name == "LocalStore" else config)  # noqa: B009
    if shared and config.connections and isinstance(store, SharesConnections):
        store.share_connections(Places(shared / "connections", config.connections))
    return store


def open_store(
    config: Config,
    *,
    meter: Meter | None = None,
    watcher: Watcher | None = None,
    sleep: Callable[[float], None] = time.sleep,
    shared: Path | None = None,
) -> ObjectStore:
    """Return the store of a destination with all that its settings ask for.

    ``meter`` counts bytes and calls, repeated ones too.  ``watcher`` hears since when the server is gone (epoch
    seconds) and that it is back (None).  ``sleep`` waits between repetitions and for the pace; it may raise to end
    the waiting.
    ``shared`` is a folder of this destination: all processes of the machine keep to its limits together through it.
    """
    store = make_driver(config, shared)
    if throttle := throttle_of(config, shared, sleep):
        store = BandwidthStore(store, throttle)
    if meter:
        store = MeteredStore(store, meter)
    if config.connections:
        store = LimitedStore(store, config.connections)
    policy = RetryPolicy(retries=config.retries)
    store = RetryingStore(store, policy, circuit=Circuit(policy, watcher=watcher), sleep=sleep)
    if config.disk_limit:
        store = DiskGuardedStore(store, config.disk_limit)
    if config.read_only:
        store = WriteProtectedStore(store, allow_locks=config.locks_when_read_only)
    return store


def throttle_of(
    config: Common, shared: Path | None = None, sleep: Callable[[float], None] = time.sleep
) -> Throttle | None:
    """Return the pace that the settings ask for, or None if there is no limit at any time; ``sleep`` may raise."""
    frames = [
        Frame(minutes_of(frame.start), minutes_of(frame.end), Rates(frame.up, frame.down), frozenset(frame.days))
        for frame in config.frames
    ]
    if not frames and not config.up and not config.down:
        return None
    file = shared / f"pace-{_boot()}" if shared else None
    return Throttle(Rates(config.up, config.down), frames, now=config.local_time, sleep=sleep, shared=file)


def _boot() -> str:
    """Return what tells one run of the machine from the next: the clock of a pace begins anew with it."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return "unknown"
