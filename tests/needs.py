"""What to do when a program, a server or a right is missing here."""

import os
import shutil
from pathlib import Path
from typing import NoReturn

import pytest


def missing(reason: str) -> NoReturn:
    """Skip the running test with this reason; with CI=true fail it, so that nothing is left out unseen."""
    if os.environ.get("CI", "").lower() in ("1", "true", "yes"):
        pytest.fail(f"missing, and CI=true: {reason}", pytrace=False)
    pytest.skip(reason)


def program(name: str, package: str = "") -> Path:
    """The path of a program on this machine, also from the system folders that are not on every user's path."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin:/usr/local/sbin")
    if not found:
        missing(f"no program {name!r}" + (f" (Debian package {package})" if package else ""))
    return Path(found)
