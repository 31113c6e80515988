"""Who may import whom: the contracts of pyproject.toml hold, and each of them can be broken."""

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]

# Rooms that contracts name before they are built. Take a name out when it is there.
PLANNED = {
    *(f"destinations.storage.{name}" for name in ("ftp", "sftp", "s3", "config", "registry", "probe")),
    *(f"{app}.models" for app in ("backups", "destinations", "restores")),
    *(f"backups.{name}" for name in ("sources", "gateway", "work", "selectors", "services")),
    *(f"panel.{name}" for name in ("web", "accounts", "options", "audit")),
    *("destinations.factory", "django", "celery"),
}

# One import each contract must refuse: (contract, importer, imported).
REFUSED = [
    ("pure", "backups.engine.pack", "panel.accounts"),
    ("pure", "backups.engine.pack", "django"),
    ("pure", "restores.targets.folder", "destinations.models"),
    ("storage", "destinations.storage.local", "backups.engine"),
    ("engine", "backups.engine.pack", "destinations.storage.local"),
    ("engine", "backups.engine.pack", "destinations.storage.wrappers"),
    ("doors", "backups.views", "backups.engine"),
    ("doors", "panel.accounts", "restores.work"),
    ("domain", "restores.services", "backups.views"),
    ("tasks", "backups.tasks", "backups.models"),
    ("front-door", "restores.work", "backups.engine.pack"),
    ("downwards", "backups.models", "restores.models"),
    ("downwards", "panel.accounts", "worker.models"),
    ("backends", "destinations.storage.s3", "destinations.storage.local"),
    ("one-importer", "restores.work", "destinations.storage.local"),
]
ALLOWED = [
    ("backups.engine.__main__", "destinations.storage.local"),
    ("backups.engine.__main__", "restores.targets.folder"),
    ("backups.engine.__main__", "restores"),
    ("backups.engine.__main__", "backups.sources"),
    ("backups.engine.pack", "destinations.storage.base"),
    ("restores.targets.folder", "backups.engine"),
    ("backups.gateway", "destinations.factory"),
]


def contracts() -> list[dict[str, Any]]:
    tool = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
    found: list[dict[str, Any]] = tool["importlinter"]["contracts"]
    return found


def lint(folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-logo", "--no-cache", *args]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)


def exists(module: str) -> bool:
    path = ROOT.joinpath(*module.split("."))
    return path.with_suffix(".py").exists() or path.is_dir()


def add_module(folder: Path, name: str, text: str = "") -> None:
    """Write a module and the packages it lies in."""
    *parents, last = name.split(".")
    place = folder
    for parent in parents:
        place = place / parent
        place.mkdir(exist_ok=True)
        (place / "__init__.py").touch()
    if (place / last).is_dir():
        (place / last / "__init__.py").write_text(text)
    else:
        (place / f"{last}.py").write_text(text)


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """An empty house with the contracts of the real one."""
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    add_module(tmp_path, "tests.architecture.contracts", (ROOT / "tests/architecture/contracts.py").read_text())
    for name in ("panel", "worker", "backups", "destinations", "restores", "notifications"):
        add_module(tmp_path, f"{name}.__init__")
    return tmp_path


def test_the_contracts_hold() -> None:
    done = lint(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(("contract", "importer", "imported"), REFUSED)
def test_a_forbidden_import_breaks_its_contract(house: Path, contract: str, importer: str, imported: str) -> None:
    if imported not in ("django", "celery"):
        add_module(house, imported)
    add_module(house, importer, f"import {imported}\n")
    done = lint(house, "--contract", contract)
    assert "BROKEN" in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize(("importer", "imported"), ALLOWED)
def test_a_wanted_import_breaks_none(house: Path, importer: str, imported: str) -> None:
    add_module(house, imported)
    add_module(house, importer, f"import {imported}\n")
    done = lint(house)
    assert done.returncode == 0, done.stdout + done.stderr


def test_contracts_name_rooms_that_are_there_or_planned() -> None:
    fields = ("source_modules", "forbidden_modules", "modules")
    named = {
        name for contract in contracts() for field in fields for name in contract.get(field, []) if "*" not in name
    }
    assert {name for name in named if not exists(name)} <= PLANNED
