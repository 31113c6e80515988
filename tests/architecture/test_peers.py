"""The other side of the interoperability tests is what it says it is."""

from pathlib import Path

import pytest

from tests.fetch import find_mirror
from tests.peers import PASSWORD, RepositoryMaker, Restic


def test_a_fresh_repository_is_empty_and_opens(restic: Restic, restic_repository: RepositoryMaker) -> None:
    repo = restic_repository(restic)
    assert restic.json(repo, "snapshots") in ([], None)
    config = restic.json(repo, "cat", "config")
    assert config["version"] == 2
    assert restic.run(repo, "check").returncode == 0


def test_what_went_in_comes_out_of_a_version_1_repository(
    newest_restic: Restic, restic_repository: RepositoryMaker, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "file").write_bytes(b"\xff\x00held fast")
    repo = restic_repository(newest_restic, version=1)
    events = newest_restic.events(repo, "backup", source)
    assert events[-1]["message_type"] == "summary"
    assert newest_restic.output(repo, "dump", "latest", source / "file").stdout == b"\xff\x00held fast"


def test_two_copies_of_one_template_do_not_share_a_cache(
    newest_restic: Restic, restic_repository: RepositoryMaker, tmp_path: Path
) -> None:
    first, second = (restic_repository(newest_restic, name=name) for name in ("one", "two"))
    newest_restic.output(first, "backup", "--stdin", stdin=b"only in the first")
    assert len(newest_restic.json(first, "snapshots")) == 1
    assert not newest_restic.json(second, "snapshots")


def test_a_wrong_password_is_seen(newest_restic: Restic, restic_repository: RepositoryMaker) -> None:
    repo = restic_repository(newest_restic)
    assert newest_restic.run(repo, "snapshots", password=PASSWORD + "!", check=False).returncode != 0


def test_the_versions_are_ordered(all_restics: list[Restic]) -> None:
    versions = [one.version for one in all_restics]
    assert versions == sorted(versions)
    assert versions[-1] >= (0, 18)


STANZA = "Types: deb\nURIs: http://a.example/debian\nSuites: bookworm bookworm-updates\n"
LINE = "# comment\ndeb [arch=amd64 signed-by=/x] http://b.example/debian bookworm main\n"


@pytest.mark.parametrize(
    ("file", "text", "uri"),
    [
        ("sources.list.d/debian.sources", STANZA, "http://a.example/debian"),
        ("sources.list", LINE, "http://b.example/debian"),
    ],
)
def test_the_mirror_is_found_in_both_notations_of_apt(
    file: str, text: str, uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.fetch.codename", lambda: "bookworm")
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    ring = tmp_path / "ring.gpg"
    ring.write_bytes(b"")
    monkeypatch.setattr("tests.fetch.KEYRING", ring)
    path = tmp_path / file
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    assert find_mirror(tmp_path).uri == uri
