"""Installations for the tests of this folder."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.servers import lend
from tests.worker.installation import Installation


@pytest.fixture(scope="session")
def _plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    installation = Installation(tmp_path_factory.mktemp("plain"))
    installation.start("broker")
    yield installation
    installation.close()


@pytest.fixture
def plain(_plain: Installation) -> Iterator[Installation]:
    """What ``make run`` gives: SQLite and the embedded broker; only the broker runs, and nothing waits."""
    yield _plain
    _plain.tidy()


@pytest.fixture
def production(_production: Installation) -> Iterator[Installation]:
    """PostgreSQL and Redis, with their passwords in files; nothing runs, and nothing waits."""
    yield _production
    _production.tidy()


@pytest.fixture(scope="session")
def _production(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    import psycopg

    folder = tmp_path_factory.mktemp("production")
    database, redis = lend("postgresql"), lend("redis")
    name = f"holdfast_{os.getpid()}_{folder.name[-1]}"
    with psycopg.connect(database["url"] + "postgres", autocommit=True) as connection:
        connection.execute("SELECT pg_advisory_lock(7)")
        if not connection.execute("SELECT 1 FROM pg_roles WHERE rolname = 'panel'").fetchone():
            connection.execute("CREATE ROLE panel LOGIN PASSWORD 'database word' CREATEDB")
        connection.execute(f'CREATE DATABASE "{name}" OWNER panel')  # type: ignore[arg-type]
    (folder / "database").write_text("database word\n")
    (folder / "redis").write_text(f"{redis['url']}{os.getpid() % 60}\n")
    installation = Installation(
        folder,
        DATABASE_URL=f"postgresql://panel@127.0.0.1:{database['port']}/{name}",
        DATABASE_PASSWORD_FILE=str(folder / "database"),
        REDIS_URL_FILE=str(folder / "redis"),
    )
    yield installation
    installation.close()
