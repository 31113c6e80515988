"""Django for the panel's tests: in this process, on SQLite in memory."""

from __future__ import annotations

import os
import subprocess

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "panel.settings.test")

import django
from django.conf import settings

django.setup()

from pathlib import Path  # noqa: E402
from types import SimpleNamespace  # noqa: E402
from typing import Any  # noqa: E402

import pytest  # noqa: E402
from django.test import Client  # noqa: E402

from destinations.models import Destination  # noqa: E402
from panel.accounts.models import Account, Package, PriorityGroup, Role, Server, User  # noqa: E402
from panel.core.sealing import MasterKey  # noqa: E402
from tests import forking  # noqa: E402
from worker import children, doorbell  # noqa: E402


@pytest.fixture(scope="session")
def django_db_use_migrations() -> bool:
    """Make the tables from the models: quicker, and alike.  PostgreSQL and whole installations run the migrations."""
    return bool(os.environ.get("HOLDFAST_DATABASE_URL"))


@pytest.fixture(autouse=True)
def _no_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doorbell, "ring", lambda queue: False)


@pytest.fixture(autouse=True)
def _children_start_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sessions are the real program, without the time that its imports take; tests/worker starts whole ones."""
    quick = SimpleNamespace(Popen=forking.Popen, PIPE=subprocess.PIPE, TimeoutExpired=subprocess.TimeoutExpired)
    monkeypatch.setattr(children, "subprocess", quick)


@pytest.fixture
def keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MasterKey:
    """An installation's master key, in files that the settings name."""
    key = MasterKey.generate()
    key.save(tmp_path / "master.key", tmp_path / "master.pub")
    monkeypatch.setattr(settings, "PUBLIC_KEY_FILE", tmp_path / "master.pub")
    monkeypatch.setattr(settings, "MASTER_KEY_FILE", tmp_path / "master.key")
    return key


@pytest.fixture
def people(db: Any) -> dict[str, Any]:
    """An administrator, alice with an account, mallory with another, and what they stand on."""
    server = Server.objects.create(name="srv")
    package = Package.objects.create(name="Standard")
    group = PriorityGroup.objects.create(name="Normal", is_default=True)
    found: dict[str, Any] = {"server": server}
    for name, role in (("root", Role.ADMIN), ("alice", Role.END_USER), ("mallory", Role.END_USER)):
        found[name] = User.objects.create_user(name, "a long password", role=role)
    for name in ("alice", "mallory"):
        found[f"{name}_account"] = Account.objects.create(
            name=name, server=server, home=f"/home/{name}", owner=found[name], package=package, priority=group
        )
    found["destination"] = Destination.objects.create(name="Local", kind="local", config={"path": "/nowhere"})
    return found


@pytest.fixture
def browser(people: dict[str, Any]) -> Any:
    """Return a function that gives a client signed in as somebody."""

    def signed_in(name: str) -> Client:
        client = Client()
        client.force_login(people[name], backend="panel.accounts.backends.NameOrMailBackend")
        return client

    return signed_in
