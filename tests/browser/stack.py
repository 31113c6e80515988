"""A whole panel of its own: web, worker, readers, scheduler and broker, in a temporary folder, on a free port."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[2]
PASSWORD = "quiet harbour lights"
START_SECONDS = 180

# The first people and accounts.  What the machine itself lists as accounts goes: pages must be alike everywhere.
_PEOPLE = """
from pathlib import Path
from panel.accounts.models import Account, Role, Server, User
from panel.accounts.services import account_add
from panel.options.models import *
server = Server.objects.get()
Server.objects.update(name="srv-fra-02")
server.refresh_from_db()
Account.objects.filter(source="system").delete()
admin = User.objects.get(username="admin")
admin.set_password(PASSWORD)
admin.save()
reseller = User.objects.create_user("northwind", PASSWORD, role=Role.RESELLER, email="north@example.org")
user = User.objects.create_user("juniper", PASSWORD, role=Role.END_USER, email="juniper@example.org")
User.objects.create_user("hubertus", PASSWORD, role=Role.END_USER)
made = {}
for name, domain in (("juniper", "juniperandoak.example"), ("hubertus", "hotel-hubertus.example")):
    home = Path(HOMES) / name
    for path, content in FILES.items():
        file = home / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content.replace("NAME", name))
    owner = User.objects.get(username=name)
    extra = {"reseller": reseller} if name == "juniper" else {}
    made[name] = account_add(server, name, str(home), domain=domain, owner=owner, **extra).pk
sample = Account.objects.get(source="sample")
result = {"accounts": made | {"sample": sample.pk}, "sample_home": sample.home}
"""
FILES = {
    "public_html/index.html": "<!doctype html>\n<title>NAME</title>\n<h1>Welcome</h1>\n",
    "public_html/shop/cart.php": "<?php echo 'cart of NAME';\n",
    "public_html/notes.txt": "first line of NAME\n",
    "public_html/Ünïcode – Straße.txt": "umlauts\n",
    "public_html/שלום עולם.txt": "from right to left\n",
    "logs/access.log": "203.0.113.9 GET /\n" * 200,
}


def free_port() -> int:
    """A port of the loopback address that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Stack:
    """A running panel.  ``address`` begins every URL; ``folder`` holds everything it writes."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes] | None = None
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def address(self) -> str:
        """Where the panel answers, without a closing slash."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        """What the processes printed."""
        return (self.folder / "panel.log").read_text(errors="replace")

    @property
    def environment(self) -> dict[str, str]:
        """The variables that every process of this panel runs with."""
        own = {"HOLDFAST_DATA_DIR": str(self.folder / "data"), "HOLDFAST_WORKER_PROCESSES": "2"}
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("HOLDFAST_", "PYTEST_")) and name != "DJANGO_SETTINGS_MODULE"
        }
        return kept | own

    def start(self) -> None:
        """Start the panel, wait until it answers, and make people; RuntimeError if it does not."""
        with (self.folder / "panel.log").open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "manage.py", "up", "--port", str(self.port)], cwd=PROJECT, env=self.environment,
                stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        until(self.answers, START_SECONDS, lambda: f"the panel did not start:\n{self.log[-4000:]}")
        homes = self.folder / "home"
        homes.mkdir()
        homes.chmod(0o755)
        self.facts = self.run_code(_PEOPLE, PASSWORD=PASSWORD, HOMES=str(homes), FILES=FILES)

    def answers(self) -> bool:
        """Whether the health page says yes."""
        if self.process is None or self.process.poll() is not None:
            raise RuntimeError(f"the panel ended:\n{self.log[-4000:]}")
        try:
            with urllib.request.urlopen(f"{self.address}/health", timeout=5) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def run_code(self, code: str, **names: Any) -> Any:
        """Run code inside the panel, with these names set; returns what it left in ``result`` (JSON)."""
        program = textwrap.dedent(
            """
            import json, os, sys
            os.environ["DJANGO_SETTINGS_MODULE"] = "panel.settings"
            import django
            django.setup()
            told = json.load(sys.stdin)
            space = dict(told["names"])
            exec(told["code"], space)
            print("\\n" + json.dumps(space.get("result")))
            """
        )
        told = json.dumps({"code": textwrap.dedent(code), "names": names})
        done = subprocess.run(
            [sys.executable, "-c", program], input=told, env=self.environment, cwd=PROJECT, capture_output=True,
            text=True, timeout=120, check=False,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"code inside the panel failed:\n{done.stderr[-4000:]}")
        return json.loads(done.stdout.strip().splitlines()[-1])

    def stop(self) -> None:
        """End every process and remove the folder."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(40)
            except subprocess.TimeoutExpired:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


def until(
    happened: Callable[[], Any], seconds: float = 60, what: Callable[[], str] | str = "it did not happen in time"
) -> Any:
    """Ask until the answer is true and return it; AssertionError with ``what`` when the time is over."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        answer = happened()
        if answer:
            return answer
        time.sleep(0.2)
    raise AssertionError(what() if callable(what) else what)


def new_stack() -> Stack:
    """A panel that was not started yet.  Its folder is open to its web process, which is another user."""
    folder = Path(tempfile.mkdtemp(prefix="hf-look-"))
    folder.chmod(0o755)
    return Stack(folder, free_port())
