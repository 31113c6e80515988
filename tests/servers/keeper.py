"""Starts one test server, says when it is ready, and ends it when no test process is left."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
import traceback
from pathlib import Path

from tests.servers.kinds import Missing, kind


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _in_use(users: Path) -> bool:
    return any(_alive(int(user.name)) for user in users.iterdir())


def _say(folder: Path, told: dict[str, object]) -> None:
    draft = folder / "ready.tmp"
    draft.write_text(json.dumps(told))
    draft.rename(folder / "ready.json")


def main(name: str, folder: Path) -> None:
    server = kind(name)(folder / "server")
    (folder / "server").mkdir(mode=0o711, exist_ok=True)
    try:
        _say(folder, server.start())
    except Missing as reason:
        _say(folder, {"missing": str(reason)})
    except Exception:  # noqa: BLE001 - told to whoever asked for the server
        _say(folder, {"failed": traceback.format_exc()})
    try:
        while _in_use(folder / "users"):
            time.sleep(0.5)
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)
        try:
            folder.parent.rmdir()
        except OSError:
            pass


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
