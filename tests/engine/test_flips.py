"""One flipped bit anywhere is found, and healed by what the source still has."""

from __future__ import annotations

from pathlib import Path

import pytest

from backups.engine.errors import EngineError
from tests.engine.flipping import Flipped, flips, found, is_for_the_owner, make
from tests.engine.repositories import PASSWORD, on_disk
from tests.peers import Restic


@pytest.fixture
def whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Flipped:
    monkeypatch.chdir(tmp_path)
    return make(tmp_path)


def test_every_kind_of_byte_is_found_and_healed(whole: Flipped, tmp_path: Path, newest_restic: Restic) -> None:
    assert found(whole.objects) == []
    places = list(whole.places())
    assert len(places) == sum(map(len, whole.objects.values()))
    parts: set[str] = set()
    for place, bit in flips(places, 3, seed=1):
        objects = whole.with_flip(place, bit)
        findings = found(objects)
        assert findings, place
        if is_for_the_owner(place):
            continue
        assert not isinstance(findings, EngineError), place
        whole.healed(objects, findings)
        assert found(objects) == [], place
        if place.part not in parts:
            parts.add(place.part)
            newest_restic.run(on_disk(objects, tmp_path / place.part), "check", "--read-data", password=PASSWORD)
    assert len(parts) == 3 * 5 + 1, "three parts of each of five envelopes, and where the header begins"
