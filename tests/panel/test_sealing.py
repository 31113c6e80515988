"""Closing without being able to open."""

from __future__ import annotations

from pathlib import Path

import pytest

from panel.core.sealing import MasterKey, Place, PublicSealer, SealError


def test_what_the_public_key_closes_only_the_private_key_opens(tmp_path: Path) -> None:
    MasterKey.generate().save(tmp_path / "private", tmp_path / "public")
    public = PublicSealer.load(tmp_path / "public")
    place = Place("table", "column", "1")
    sealed = public.seal(place, "a secret")
    assert "a secret" not in sealed
    assert not hasattr(public, "open")
    assert MasterKey.read(tmp_path / "private").open(place, sealed) == "a secret"
    assert (tmp_path / "private").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("other", [Place("t", "c", "2"), Place("t", "d", "1"), Place("u", "c", "1")])
def test_a_secret_moved_to_another_place_does_not_open(other: Place) -> None:
    key = MasterKey.generate()
    with pytest.raises(SealError):
        key.open(other, key.seal(Place("t", "c", "1"), "x"))


def test_another_installation_cannot_open() -> None:
    place = Place("t", "c", "1")
    with pytest.raises(SealError):
        MasterKey.generate().open(place, MasterKey.generate().seal(place, "x"))
