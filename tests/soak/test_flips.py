"""Every single byte of a repository."""

from __future__ import annotations

from pathlib import Path

import pytest

from backups.engine.errors import EngineError
from tests.engine.flipping import flips, found, is_for_the_owner, make
from tests.engine.repositories import PASSWORD, on_disk
from tests.peers import Restic

pytestmark = pytest.mark.soak

HEAL_EVERY, STOCK_EVERY = 4, 100


@pytest.mark.timeout(3000)
def test_each_byte_is_found_and_healed(tmp_path: Path, newest_restic: Restic, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    whole = make(tmp_path)
    healed = 0
    for number, (place, bit) in enumerate(flips(list(whole.places()), 10**9, seed=2)):
        objects = whole.with_flip(place, bit)
        findings = found(objects)
        assert findings, place
        if is_for_the_owner(place) or number % HEAL_EVERY:
            continue
        assert not isinstance(findings, EngineError), place
        whole.healed(objects, findings)
        assert found(objects) == [], place
        healed += 1
        if healed % STOCK_EVERY == 0:
            path = on_disk(objects, tmp_path / f"{number}")
            newest_restic.run(path, "check", "--read-data", password=PASSWORD)
    print(f"{sum(map(len, whole.objects.values()))} bytes found, {healed} of them healed")
