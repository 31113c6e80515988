"""``manage.py doctor`` names what is wrong with an installation, one fault at a time."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from tests.worker.installation import ROOT, Installation


@pytest.fixture(scope="module")
def here(_plain: Installation) -> Iterator[Installation]:
    """An installation in which all parts run."""
    _plain.call("collect")
    _plain.start("worker", "scheduler")
    _plain.until(lambda: "Workers: server.local" in doctor(_plain)[1])
    yield _plain
    _plain.tidy()


def doctor(here: Installation, **variables: str) -> tuple[int, str]:
    manage = here.commands["scheduler"][:-1]
    env = here.env | {f"HOLDFAST_{name}": value for name, value in variables.items()}
    done = subprocess.run(
        [*manage, "doctor"], cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=60
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout


def test_an_installation_that_works_has_nothing_wrong(here: Installation) -> None:
    status, text = doctor(here)
    assert status == 0, text
    for word in ("Database: SQLite answers", "Broker: It answers", "Keys: The master key", "Scheduler: Seen", "Clock:"):
        assert word in text


def test_a_broker_that_is_down_is_named(here: Installation) -> None:
    status, text = doctor(here, REDIS_URL="redis://127.0.0.1:1/0")
    assert status == 1
    assert "WRONG   Broker: It does not answer" in text
    assert "WRONG   Workers: None answers" in text


def test_a_database_that_is_down_is_named(here: Installation) -> None:
    status, text = doctor(here, DATABASE_URL="postgresql://u@127.0.0.1:1/x")
    assert status == 1
    assert "WRONG   Database: It does not answer" in text


def test_missing_migrations_are_counted(here: Installation) -> None:
    (here.folder / "data" / "empty" / "db").mkdir(parents=True, exist_ok=True)
    status, text = doctor(here, DATA_DIR=str(here.folder / "data" / "empty"))
    assert status == 1
    assert "migrations are missing" in text
    assert "Keys: The public key cannot be used" in text


def test_a_key_that_others_can_read_or_that_is_gone_is_named(here: Installation) -> None:
    key = here.folder / "data" / "keys" / "master.key"
    key.chmod(0o644)
    try:
        assert "is open to others (mode 644)" in doctor(here)[1]
    finally:
        key.chmod(0o600)
    assert "is missing: no worker can open" in doctor(here, MASTER_KEY_FILE=str(key) + ".gone")[1]


def test_a_typing_error_in_a_variable_and_a_folder_open_to_all_are_named(here: Installation) -> None:
    folder = here.folder / "data" / "backups"
    folder.chmod(0o755)
    try:
        text = doctor(here, DATABSE_URL="x")[1]
    finally:
        folder.chmod(0o700)
    assert "Nothing reads HOLDFAST_DATABSE_URL" in text
    assert f"{folder} can be read by everybody" in text
