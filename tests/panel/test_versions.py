"""The versions of a path in all repositories of an account."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from backups.models import Repository, Snapshot
from backups.services.schedules import ScheduleData, schedule_create
from backups.versions import merged
from destinations.models import Destination
from panel.core.errors import PanelError
from tests.panel.restoring import Site, signed_in, site, write  # noqa: F401 - site is a fixture


def version(*pks: int, marks: str) -> dict[str, Any]:
    """A version as a repository tells it; snapshots are as old as their numbers are small."""
    return {"marks": list(marks), "snapshots": [{"pk": pk, "taken_at": pk} for pk in pks]}


def numbers(found: list[dict[str, Any]]) -> list[list[int]]:
    return [[one["pk"] for one in version["snapshots"]] for version in found]


def test_versions_that_share_a_mark_are_one_and_the_newest_come_first() -> None:
    one = [version(7, 3, marks="ab"), version(1, marks="c")]
    two = [version(9, marks="d"), version(8, 2, marks="be")]
    three = [version(4, marks="e")]
    assert numbers(merged([one, two, three])) == [[9], [8, 7, 4, 3, 2], [1]]


def test_what_one_repository_tells_apart_stays_apart() -> None:
    assert numbers(merged([[version(2, marks="a"), version(1, marks="a")]])) == [[2], [1]]


@pytest.fixture
def two_places(site: Site, tmp_path: Path) -> Site:  # noqa: F811
    """The site, backed up to two destinations."""
    other = Destination.objects.create(
        name="Elsewhere", kind="local", config={"kind": "local", "path": str(tmp_path / "elsewhere")}
    )
    values = {"name": "Twice", "scope": "web", "frequency": "daily", "hour": 4, "retention": {"last": 50}}
    places = [site.people["destination"], other]
    site.schedule = schedule_create(
        ScheduleData(site.people["server"], site.account, places, values), actor=site.people["root"]
    )
    return site


@pytest.mark.django_db
def test_states_in_two_storages_are_told_apart_by_what_they_are_not_by_where(
    two_places: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = two_places  # noqa: F811
    large = random.Random(5).randbytes(2 << 20)
    write(site.home, {"large.bin": large})
    site.back_up()
    write(site.home, {"notes.txt": b"second\n", "large.bin": large[::-1]})
    last = site.back_up()
    mine = Snapshot.objects.filter(kind="manual")
    assert mine.count() == 4
    with signed_in(site.people, "alice") as browser:
        for name in ("notes.txt", "large.bin"):
            page = browser.get(f"/snapshots/{last.pk}/versions/", {"path": f"{site.top}/{name}"})
            found = page.context["versions"]
            assert [len(version["snapshots"]) for version in found] == [2, 2], name
            assert [version["mine"] for version in found] == [True, False]
            assert page.context["searched"] == 4
            assert "Elsewhere" not in page.content.decode()
    with signed_in(site.people, "root") as browser:
        page = browser.get(f"/snapshots/{last.pk}/versions/", {"path": f"{site.top}/notes.txt"}).content.decode()
        assert "Elsewhere" in page

        real = site.readers._opened

        def closed(repository: Repository) -> Any:
            if repository.pk != last.repository_id:
                raise PanelError("Not reachable.")
            return real(repository)

        monkeypatch.setattr(site.readers, "_opened", closed)
        page = browser.get(f"/snapshots/{last.pk}/versions/", {"path": f"{site.top}/notes.txt"})
        assert (page.context["searched"], page.context["silent"]) == (2, 1)
        assert "did not answer" in page.content.decode()
