"""Settings from the environment: wrong values stop the start with a sentence, and production is safe."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from panel.settings.database import database
from panel.settings.env import Env

ROOT = Path(__file__).parents[2]
LONG = "0123456789 abcdefghijklmnopqrstuvwxyz ABCDEFGHIJKLMNOPQRSTUVWXYZ"
PRODUCTION = {"PRODUCTION": "yes", "SECRET_KEY": LONG, "ALLOWED_HOSTS": "backup.example.com"}


def manage(folder: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("HOLDFAST_", "DJANGO_"))}
    given = {f"HOLDFAST_{name}": value for name, value in ({"DATA_DIR": str(folder)} | variables).items()}
    return subprocess.run(
        [sys.executable, str(ROOT / "manage.py"), *words], env=plain | given, capture_output=True, text=True,
        check=False, timeout=60,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("PRODUCTION", "maybe", "write yes or no"),
        ("SECRET_KEY", "short", "at least 50 characters"),
        ("ALLOWED_HOSTS", "", "HOLDFAST_ALLOWED_HOSTS is empty"),
        ("REDIS_URL", "http://broker", "must begin with one of: redis://"),
        ("DATABASE_URL", "postgresql://u@h:99999/x", "no number from 1 to 65535"),
        ("DEBUG", "yes", "exclude each other"),
    ],
)
def test_a_wrong_value_stops_the_start_with_one_sentence(tmp_path: Path, name: str, value: str, sentence: str) -> None:
    done = manage(tmp_path, "check", **PRODUCTION | {name: value})
    assert done.returncode != 0
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_secrets_come_from_files_and_never_from_two_places(tmp_path: Path) -> None:
    (tmp_path / "word").write_text("hidden\n")
    (tmp_path / "empty").write_text("\n")
    file = str(tmp_path / "word")
    assert Env({"HOLDFAST_X_FILE": file}).secret("X") == "hidden"
    for variables, sentence in (
        ({"HOLDFAST_X_FILE": file, "HOLDFAST_X": "y"}, "keep one of them"),
        ({"HOLDFAST_X_FILE": str(tmp_path / "gone")}, "cannot be read"),
        ({"HOLDFAST_X_FILE": str(tmp_path / "empty")}, "is empty"),
    ):
        with pytest.raises(ImproperlyConfigured, match=sentence) as caught:
            Env(variables).secret("X")
        assert "hidden" not in str(caught.value)


def test_a_variable_that_nothing_reads_is_named() -> None:
    env = Env({"HOLDFAST_DATABSE_URL": "x", "HOLDFAST_DEBUG": "no", "HOLDFAST_ENGINE_WORKERS": "2", "HOME": "/"})
    env.flag("DEBUG", default=False)
    assert env.unknown() == ["HOLDFAST_DATABSE_URL"]


def test_a_database_password_given_by_itself_wins() -> None:
    found = database("postgresql://panel:old@db.example:5433/holdfast", Path("/d"), "new")
    assert (found["HOST"], found["PORT"], found["NAME"], found["PASSWORD"]) == ("db.example", 5433, "holdfast", "new")


def test_the_production_configuration_passes_the_check_for_deployment(tmp_path: Path) -> None:
    done = manage(tmp_path, "check", "--deploy", "--fail-level", "WARNING", **PRODUCTION)
    assert done.returncode == 0, done.stderr
    assert "no issues" in done.stdout


def test_a_port_that_is_taken_stops_the_start_with_a_sentence(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = manage(tmp_path, "up", LISTEN_PORT=str(taken.getsockname()[1]))
    assert done.returncode != 0 and "Traceback" not in done.stderr
    assert "another program listens on port" in done.stderr and "HOLDFAST_LISTEN_PORT=" in done.stderr
    assert not (tmp_path / "db" / "panel.sqlite3").exists(), "nothing was made yet"


def test_the_migrations_make_what_the_models_say(tmp_path: Path) -> None:
    done = manage(tmp_path, "makemigrations", "--check", "--dry-run")
    assert done.returncode == 0, done.stdout + done.stderr
