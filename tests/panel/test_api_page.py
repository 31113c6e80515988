"""docs/api.md: every example is run by a shell with curl against a panel that listens, and answers what is printed."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from backups.models import Repository, Schedule, Snapshot, SnapshotKind
from panel.accounts.models import Account
from panel.accounts.services.tokens import SCOPES, TokenData, token_create
from panel.web.api_urls import urlpatterns
from tests.needs import program
from worker.clock import now
from worker.models import Job
from worker.states import Kind, State

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "api.md").read_text()
BLOCKS = re.findall(r"```sh\n(.*?)```\n(?:```json\n(.*?)```\n)?", PAGE, re.DOTALL)


def shape(value: Any) -> Any:
    """What a value is like: names and kinds; lists by their first entry, nothing about what is null."""
    if isinstance(value, dict):
        return {name: shape(inner) for name, inner in value.items() if inner is not None}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    return type(value).__name__


def names(value: Any) -> Any:
    """Every name in it, of what is null too."""
    if isinstance(value, dict):
        return {name: names(inner) for name, inner in value.items()}
    return [names(value[0])] if isinstance(value, list) and value else None


@pytest.fixture
def panel(people: dict[str, Any], live_server: Any) -> dict[str, str]:
    """A listening panel with what the page tells of; the variables that its examples need."""
    account = people["alice_account"]
    Account.objects.filter(pk=account.pk).update(uid="shop-k3xq", name="shop", domain="shop.example", home="/home/shop")
    account.refresh_from_db()
    schedule = Schedule.objects.create(
        pk=12, name="Nightly full", server=people["server"], account=account, scope="web", frequency="daily",
        retention={"last": 7}, next_run_at=now(),
    )  # fmt: skip
    schedule.destinations.add(people["destination"])
    repository = Repository.objects.create(destination=people["destination"], path=account.uid, account=account)
    Snapshot.objects.create(
        pk=345, repository=repository, snapshot_id="a" * 64, tree="b" * 64, account=account, scope="web",
        components=["web"], taken_at=now(), schedule=schedule, kind=SnapshotKind.SCHEDULED, files=2119, size=48_200_000,
    )  # fmt: skip
    Job.objects.create(
        pk=31, kind=Kind.BACKUP, name="Nightly full", scope="web", server=people["server"], account=account,
        state=State.SUCCESS, created_at=now(), started_at=now(), finished_at=now(), items_total=1, items_done=1,
        bytes_done=48_200_000, bytes_total=48_200_000,
    )  # fmt: skip
    _, text = token_create(TokenData("Scripts", people["root"], scopes=tuple(SCOPES)), actor=people["root"])
    return {"HOLDFAST": live_server.url, "TOKEN": text}


def test_the_examples_of_the_page_run_and_answer_what_is_printed(panel: dict[str, str]) -> None:
    program("curl", "curl")
    assert len(BLOCKS) > 10
    for command, printed in BLOCKS:
        done = subprocess.run(
            ["bash", "-euc", command], env=os.environ | panel | {"no_proxy": "*"}, capture_output=True, text=True,
            timeout=60, check=True,
        )  # fmt: skip
        answers = [json.loads(line) for line in done.stdout.replace("}{", "}\n{").splitlines()]
        assert answers, command
        wanted = json.loads(printed) if printed else None
        for answer in answers:
            if wanted is None:
                assert "error" not in answer or answer["error"] is None, (command, answer)
                continue
            assert names(answer) == names(wanted), command
            got, told = shape(answer), shape(wanted)
            assert {name: got[name] for name in got.keys() & told.keys()} == {
                name: told[name] for name in got.keys() & told.keys()
            }, command
        if wanted and "error" in wanted and isinstance(wanted["error"], dict):
            assert answers == [wanted], command


def test_the_page_tells_of_every_address_method_scope_and_choice() -> None:
    for pattern in urlpatterns:
        address = re.sub(r"<\w+:verb>", "suspend", str(pattern.pattern))
        plain = re.sub(r"<int:\w+>", "<id>", re.sub(r"<uid:\w+>", "<uid>", address))
        assert plain in PAGE, plain
    assert all(f"| `{scope}` |" in PAGE for scope in SCOPES)
    assert all(f"`{state}`" in PAGE for state in State.values)
    for status in ("401", "403", "404", "405", "409", "422", "503"):
        assert f"| {status} |" in PAGE
