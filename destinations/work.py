"""What a worker does for destinations: their tests."""

from __future__ import annotations

import json
import os
import select
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from django.conf import settings

from destinations.factory import plain_config
from destinations.metering import traffic_add
from destinations.models import Destination
from destinations.sealing import SECRETS, secret_place
from destinations.words import for_customer, headline
from panel.core.errors import PanelError
from panel.core.sealing import MasterKey
from worker.children import end_child, start_child
from worker.claim import Claim
from worker.clock import now
from worker.context import ItemContext
from worker.finish import Outcome, item_finish
from worker.states import State

_LOOK_SECONDS = 0.3


@dataclass(slots=True)
class TestRun:
    """One test while it runs: the steps so far, and those to come."""

    context: ItemContext
    destination: Destination
    report: list[dict[str, Any]] = field(default_factory=list)

    def take(self, said: dict[str, Any], key: MasterKey) -> None:
        """Note what the tester said."""
        if "steps" in said:
            self.report = [{"name": name, "state": "pending"} for name in said["steps"]]
            self._next()
        elif "result" in said:
            self._result(said["result"])
        elif "key" in said:
            self._keep_key(said["key"], key)
        elif "traffic" in said:
            traffic_add(self.destination.pk, self.context.claim.item.job_id, **said["traffic"])
        elif "total" in said:
            self._store(total_bytes=said["total"], free_bytes=said["free"], measured_at=now())

    def settle(self, *, stopped: bool) -> None:
        """Give every step that was not reached its state, and the row its result."""
        for step in self.report:
            if step["state"] in ("pending", "running"):
                step["state"] = "skipped"
        good = not stopped and bool(self.report) and all(s["state"] in ("ok", "warning") for s in self.report)
        self._store(test_report=self.report, test_ok=good, tested_at=now())

    @property
    def failed(self) -> dict[str, Any] | None:
        """The step that failed, if one did."""
        return next((step for step in self.report if step["state"] == "failed"), None)

    def _result(self, result: dict[str, Any]) -> None:
        if self.destination.account_id is not None:
            result = for_customer(result)
        step = next((step for step in self.report if step["name"] == result["name"]), None)
        if step is None:
            self.report.append(step := {})
        step |= result | {"detail": result["detail"].strip("- ")}
        text = f"{result['name']}: {result['state']}" + (f", {result['detail']}" if result["detail"] else "")
        self.context.log(text, level="error" if result["state"] == "failed" else "info")
        self._next()

    def _next(self) -> None:
        """Mark the step that runs now, and show it all."""
        if self.failed is None:
            waiting = next((step for step in self.report if step["state"] == "pending"), None)
            if waiting is not None:
                waiting["state"] = "running"
        self._store(test_report=self.report)

    def _keep_key(self, private: str, key: MasterKey) -> None:
        """Seal the key that was installed, and forget the password.  Nothing if the settings changed meanwhile."""
        row = self.destination
        place = secret_place(row.pk, "private_key", row.kind, row.config)
        if self._store(sealed={"private_key": key.seal(place, private)}):
            row.sealed = {"private_key": ""}
        else:
            self.context.log("the settings were changed meanwhile; the new key is not used", level="warning")

    def _store(self, **fields: Any) -> bool:
        mine = Destination.objects.filter(pk=self.destination.pk, test_job=self.context.claim.item.job_id)
        if "sealed" in fields:
            mine = mine.filter(config=self.destination.config)
        return bool(mine.update(**fields))


def run_test(claim: Claim) -> None:
    """Test a destination step by step."""
    destination = Destination.objects.present().filter(pk=claim.item.spec["destination"]).first()
    if destination is None:
        item_finish(claim, Outcome(State.FAILED, code="HF-INVALID", error="This destination does not exist any more."))
        return
    key = MasterKey.read(settings.MASTER_KEY_FILE)
    try:
        plain = plain_config(destination, key)
    except PanelError as error:
        Destination.objects.filter(pk=destination.pk).update(test_ok=False, tested_at=now())
        item_finish(claim, Outcome(State.FAILED, code=error.code, error=str(error), guidance=error.guidance))
        return
    hidden = [str(plain[name]) for name in SECRETS[destination.kind] if plain.get(name)]
    run = TestRun(ItemContext(claim, hidden), destination)
    spec = {"store": plain, "install_key": _key_name(claim) if claim.item.spec.get("install_key") else ""}
    spec["shared"] = str(Path(settings.CACHE_DIR) / "shared" / str(destination.pk))
    stopped = False
    for said in _said_by(spec, run.context):
        if said is None:
            stopped = True
            break
        run.take(said, key)
    run.settle(stopped=stopped)
    item_finish(claim, _outcome(run, stopped=stopped))


def _outcome(run: TestRun, *, stopped: bool) -> Outcome:
    if stopped:
        return Outcome(State.ABORTED, code="HF-CANCELED", error="Stopped on request.")
    failed = run.failed
    if failed is not None:
        text = f"{headline(failed)}: {failed['detail']}."
        return Outcome(State.FAILED, code=failed["code"], error=text, guidance=failed["guidance"])
    if not run.report:
        text = "The test ended without a word. The cause is not known."
        return Outcome(State.FAILED, code="HF-ENGINE-DIED", error=text, guidance="Test it again; the log has the rest.")
    doubts = sum(step["state"] == "warning" for step in run.report)
    return Outcome(State.WARNING if doubts else State.SUCCESS, warnings=doubts)


def _key_name(claim: Claim) -> str:
    return f"holdfast@{claim.item.server.name}"


def _said_by(spec: dict[str, Any], context: ItemContext) -> Iterator[dict[str, Any] | None]:
    """Yield what the tester says; None at the end if it was told to stop."""
    process = start_child("destinations.tester", spec, keep=("SSH_AUTH_SOCK",))
    try:
        yield from _lines(process, context)
    finally:
        _end(process)


def _lines(process: subprocess.Popen[bytes], context: ItemContext) -> Iterator[dict[str, Any] | None]:
    rest = b""
    if process.stdout is None:
        return
    while True:
        ready, _, _ = select.select([process.stdout], [], [], _LOOK_SECONDS)
        if not context.tick() or context.canceled():
            yield None
            return
        if not ready:
            continue
        data = os.read(process.stdout.fileno(), 1 << 16)
        if not data:
            return
        *lines, rest = (rest + data).split(b"\n")
        yield from (json.loads(line) for line in lines)


def _end(process: subprocess.Popen[bytes]) -> None:
    end_child(process)
    if process.stdout is not None:
        process.stdout.close()
