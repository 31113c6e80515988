"""The test of a destination, step by step.  For workers only."""

from __future__ import annotations

import os
import secrets
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from destinations.models import Destination
from destinations.storage.errors import StoreError
from destinations.storage.local import LocalStore
from panel.core.errors import PanelError
from panel.core.text import size
from worker.clock import now

_PROBE_BYTES = 1 << 20


def probe(user: Any, destination_id: int) -> dict[str, Any]:
    """Test a destination and store the report.  PanelError if it is not the user's to test."""
    destination = Destination.objects.visible_to(user).filter(pk=destination_id).first()
    if destination is None:
        raise PanelError("This destination does not exist.")
    if destination.kind != "local":
        raise PanelError("This kind of destination cannot be tested yet.")
    report = _run(Path(destination.config["path"]))
    ok = all(step["ok"] for step in report)
    fields: dict[str, Any] = {"tested_at": now(), "test_ok": ok, "test_report": report}
    if ok:
        usage = shutil.disk_usage(destination.config["path"])
        fields |= {"total_bytes": usage.total, "free_bytes": usage.free, "measured_at": now()}
    Destination.objects.filter(pk=destination.pk).update(**fields)
    return {"ok": ok, "report": report}


def _run(path: Path) -> list[dict[str, Any]]:
    store = LocalStore(path)
    key, data = f"probe-{secrets.token_hex(8)}", os.urandom(_PROBE_BYTES)

    def folder() -> str:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        return f"{size(shutil.disk_usage(path).free)} free"

    def write() -> str:
        store.put(key, data)
        return size(len(data))

    def listed() -> str:
        if not any(info.key == key and info.size == len(data) for info in store.list("")):
            raise StoreError("what was written is not listed")
        return "found with its size"

    def read() -> str:
        if store.get(key) != data:
            raise StoreError("what was read differs from what was written")
        return "equal"

    def delete() -> str:
        store.delete(key)
        return ""

    steps: list[tuple[str, Callable[[], str]]] = [
        ("Open the folder", folder), ("Write 1 MB", write), ("List", listed), ("Read it back and compare", read),
        ("Delete it", delete),
    ]  # fmt: skip
    return _each(steps)


def _each(steps: list[tuple[str, Callable[[], str]]]) -> list[dict[str, Any]]:
    report: list[dict[str, Any]] = []
    failed = False
    for name, step in steps:
        began = time.monotonic()
        if failed:
            report.append({"name": name, "ok": False, "state": "skipped", "note": "not tried", "ms": 0})
            continue
        try:
            note, state = step(), "success"
        except (OSError, StoreError) as error:
            note, state, failed = str(error), "failed", True
        report.append(
            {"name": name, "ok": not failed, "state": state, "note": note, "ms": int(1000 * (time.monotonic() - began))}
        )
    return report
