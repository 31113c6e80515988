"""The test of a destination as a process of its own: ``python -m destinations.tester --spec-fd N``.

One JSON object a line leaves on standard output: the names of the steps, each result, how much room there is, and the
key of ours that was installed, for the worker to seal.  The end of standard input means stop: a worker that was killed
leaves nothing behind.  Knows no Django and no database.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgspec

from destinations.storage.base import Connects, LocksObjects, ObjectStore, ReportsCapacity
from destinations.storage.config import SftpConfig, from_plain
from destinations.storage.connect import resolve
from destinations.storage.errors import StoreError
from destinations.storage.probe import Probe, StepResult
from destinations.storage.registry import make_driver, throttle_of
from destinations.storage.sftp_key import install_key, make_key
from destinations.storage.wrappers.bandwidth import BandwidthStore

_LARGEST_SPEC = 4 << 20
_CLIENTS = 4


class TestSpec(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What to test: a destination's plain configuration with its secrets.

    ``install_key`` names a key of ours that is installed first; then the password is not used any more.
    """

    store: dict[str, Any]
    install_key: str = ""
    shared: str = ""


def main() -> int:
    """Run one test."""
    parser = argparse.ArgumentParser(prog="destinations.tester")
    parser.add_argument("--spec-fd", type=int, required=True)
    with os.fdopen(parser.parse_args().spec_fd, "rb") as file:
        spec = msgspec.json.decode(file.read(_LARGEST_SPEC), type=TestSpec)
    signal.signal(signal.SIGTERM, _stop)
    threading.Thread(target=_stop_with_parent, daemon=True).start()
    try:
        return _run(spec)
    except StoreError as error:
        say(result=asdict(StepResult("read the settings", "failed", 0.0, str(error), error.code, error.guidance)))
        return 1


def say(**fields: Any) -> None:
    """Write a line."""
    sys.stdout.buffer.write(msgspec.json.encode(fields) + b"\n")
    sys.stdout.buffer.flush()


def _run(spec: TestSpec) -> int:
    config = from_plain(spec.store)
    shared = Path(spec.shared) if spec.shared else None
    if shared is not None:
        shared.mkdir(parents=True, exist_ok=True, mode=0o700)
    bare = make_driver(config)
    probe = Probe(
        lambda: _store(config, shared),
        read_only=config.read_only,
        locks=isinstance(bare, LocksObjects),
        clients=_clients(config.connections),
    )
    connecting = bare.connect_steps if isinstance(bare, Connects) else ()
    first = ["install a key"] if spec.install_key else []
    found = ["resolve the name"] if hasattr(config, "host") else []
    say(steps=[*found, *first, *connecting, *probe.step_names()])
    if found and not _resolved(config):
        return 1
    if spec.install_key and isinstance(config, SftpConfig):
        installed = _installed(config, spec.install_key)
        if installed is None:
            return 1
        config = installed
    good = True
    try:
        for result in probe.run():
            say(result=asdict(result))
            good = good and result.state != "failed"
    finally:
        sent, received, requests = probe.traffic()
        say(traffic={"sent": sent, "received": received, "requests": requests})
    if good:
        _tell_room(_store(config, shared))
    return 0 if good else 1


def _store(config: Any, shared: Path | None) -> ObjectStore:
    """Return the store without repetitions, which would hide a bad line, but with its limits."""
    store = make_driver(config, shared)
    throttle = throttle_of(config, shared)
    return BandwidthStore(store, throttle) if throttle else store


def _clients(connections: int) -> int:
    """Return how many may work side by side while one more connection is open."""
    return min(_CLIENTS, max(1, connections - 1)) if connections else _CLIENTS


def _resolved(config: Any) -> bool:
    try:
        addresses = resolve(config.host, config.reach())
    except StoreError as error:
        say(result=asdict(StepResult("resolve the name", "failed", 0.0, str(error), error.code, error.guidance)))
        return False
    detail = "" if config.public_only else ", ".join(addresses[:4])
    say(result=asdict(StepResult("resolve the name", "ok", 0.0, detail)))
    return True


def _installed(config: SftpConfig, name: str) -> SftpConfig | None:
    private, public = make_key(name)
    try:
        settled = install_key(config, private, public)
    except StoreError as error:
        shown = getattr(error, "fingerprint", "")
        step = StepResult("install a key", "failed", 0.0, str(error), error.code, error.guidance, shown)
        say(result=asdict(step))
        return None
    say(key=private.reveal(), public=public)
    say(result=asdict(StepResult("install a key", "ok", 0.0, "the server takes our key; the password is forgotten")))
    return settled


def _tell_room(store: ObjectStore) -> None:
    try:
        if isinstance(store, ReportsCapacity):
            total, free = store.capacity()
            say(total=total, free=free)
    except StoreError:
        pass
    finally:
        store.close()


def _stop(_number: int, _frame: object) -> None:
    raise SystemExit(2)


def _stop_with_parent() -> None:
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
