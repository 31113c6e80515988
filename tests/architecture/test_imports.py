"""The engine and the storage below it run with no framework: on the day everything else is gone, and quickly."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ["backups.engine", "destinations.storage", "restores.targets", "backups.sources"]
PROBE = """
import importlib, json, pkgutil, sys
package = importlib.import_module(sys.argv[1])
for found in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
    if not found.name.endswith("__main__"):
        importlib.import_module(found.name)
print(json.dumps(sorted(sys.modules)))
"""


@pytest.mark.parametrize(
    "package", [name for name in PACKAGES if ROOT.joinpath(*name.split("."), "__init__.py").exists()]
)
def test_every_module_of_a_pure_package_imports_without_a_framework(package: str) -> None:
    done = subprocess.run([sys.executable, "-c", PROBE, package], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    loaded = {name.partition(".")[0] for name in json.loads(done.stdout)}
    assert not loaded & {"django", "celery", "kombu", "panel", "worker", "notifications"}
