"""Room on disks is looked at before a run."""

from __future__ import annotations

import shutil
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest

from backups.services.schedules import ScheduleData, schedule_create, schedule_run
from destinations.models import Destination
from worker.claim import claim_next
from worker.room import Room, first_problem
from worker.run import work_on
from worker.states import State

_Usage = namedtuple("_Usage", "total used free")


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk of 100 GB of which 4 GB are free."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _: _Usage(100_000_000_000, 96_000_000_000, 4_000_000_000))


@pytest.mark.usefixtures("disk")
def test_too_little_room_is_a_sentence_with_both_sizes(tmp_path: Path) -> None:
    text = Room("backups at Local", tmp_path, percent=5).problem()
    assert text == "Too little room for backups at Local: 4.00 GB are free, 5.00 GB must be."
    assert not Room("backups at Local", tmp_path, percent=3).problem()


@pytest.mark.usefixtures("disk")
def test_what_a_download_will_need_counts_too(tmp_path: Path) -> None:
    assert "downloads" in Room("downloads", tmp_path, need=5_000_000_000).problem()


@pytest.mark.usefixtures("disk")
def test_a_folder_that_is_not_there_yet_is_judged_by_its_parent(tmp_path: Path) -> None:
    places = (Room("a", tmp_path), Room("b", tmp_path / "not" / "yet", percent=50))
    assert first_problem(*places).startswith("Too little room for b")


@pytest.mark.usefixtures("disk", "keys")
@pytest.mark.django_db
def test_a_backup_to_a_disk_that_is_too_full_does_not_start(people: dict[str, Any], tmp_path: Path) -> None:
    Destination.objects.filter(pk=people["destination"].pk).update(config={"path": str(tmp_path)})
    values = {"name": "Nightly", "scope": "web", "retention": {"last": 3}}
    data = ScheduleData(people["server"], people["alice_account"], [people["destination"]], values)
    job = schedule_run(schedule_create(data, actor=people["root"]), actor=people["root"])
    claim = claim_next("w/1", people["server"].pk)
    assert claim is not None
    work_on(claim)
    item = job.items.get()
    assert (item.state, item.error_code) == (State.FAILED, "HF-NO-ROOM")
    assert item.error == "Too little room for backups at Local: 4.00 GB are free, 5.00 GB must be."
    assert item.guidance
    assert item.error in job.log.values_list("text", flat=True)
