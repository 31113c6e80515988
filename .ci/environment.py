"""Make the environment in .venv/: locked packages, this project, and the native parts where they can be built.

    environment.py run      what the panel needs
    environment.py dev      that, and what tests and checks need

Needs nothing but the standard library. A stamp keyed by everything that went in makes a second call a quick no-op.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
LOCKS = {"run": "requirements.lock", "dev": "requirements-dev.lock"}
NATIVE = sorted((ROOT / "backups").glob("*/_*.c"))
LOG = VENV / "native-build.log"


def fingerprint(level: str) -> str:
    """Hash of what an environment is made from."""
    digest = hashlib.sha256(sys.version.encode() + os.environ.get("CFLAGS", "").encode())
    for path in (ROOT / LOCKS[level], ROOT / "pyproject.toml", *NATIVE, Path(__file__)):
        digest.update(path.read_bytes() if path.exists() else b"absent")
    return digest.hexdigest()


def stamp(level: str) -> Path:
    return VENV / f"holdfast-{level}.stamp"


def is_ready(level: str) -> bool:
    """Whether .venv/ already holds this level, or a level that contains it."""
    wanted = {"run": ("run", "dev"), "dev": ("dev",)}[level]
    return PYTHON.exists() and any(stamp(n).exists() and stamp(n).read_text() == fingerprint(n) for n in wanted)


def call(*args: str | Path) -> None:
    done = subprocess.run([str(a) for a in args], cwd=ROOT, check=False)
    if done.returncode:
        sys.exit(f"setup: failed: {' '.join(map(str, args))}")


def make_venv() -> None:
    """Create .venv/, or again when its interpreter or its pip is gone."""
    if (
        PYTHON.exists()
        and not subprocess.run([PYTHON, "-m", "pip", "--version"], capture_output=True, check=False).returncode
    ):
        return
    try:
        import ensurepip  # noqa: F401
        import venv
    except ImportError:
        sys.exit(f"setup: {sys.executable} has no venv module (Debian and Ubuntu: apt-get install python3-venv).")
    print(f"setup: making .venv/ with Python {sys.version.split()[0]}", flush=True)
    venv.EnvBuilder(with_pip=True, clear=VENV.exists(), symlinks=True).create(VENV)


def install_project() -> None:
    """Install this project in place; the native parts are built on the way."""
    began = time.time()
    command = [str(PYTHON), "-m", "pip", "install", "--no-deps", "--no-build-isolation", "--verbose", "-e", "."]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    LOG.write_bytes(done.stdout)
    if done.returncode:
        sys.stdout.write(done.stdout.decode(errors="replace"))
        sys.exit("setup: this project could not be installed.")
    for source in NATIVE:
        for built in source.parent.glob(f"{source.stem}.*so"):
            if built.stat().st_mtime < began - 1 and built.stat().st_mtime < source.stat().st_mtime:
                built.unlink()  # an older source's result: Python's own way is right, this one may not be


def report_native() -> None:
    modules = [".".join(source.relative_to(ROOT).with_suffix("").parts) for source in NATIVE]
    missing = [
        name
        for name in modules
        if subprocess.run([PYTHON, "-c", f"import {name}"], cwd=ROOT, capture_output=True, check=False).returncode
    ]
    if not missing:
        print("setup: native parts built", flush=True)
        return
    compiler = os.environ.get("CC", "cc")
    why = "see .venv/native-build.log" if shutil.which(compiler) else f"there is no C compiler ('{compiler}')"
    print(f"setup: WARNING: could NOT be built: {', '.join(missing)}: {why}.")
    print("setup:          The engine works without, with the same results, but slower: large files at 10 MB/s.")
    print(
        "setup:          Install a compiler and Python's headers (Debian: gcc, python3-dev), then run this again.",
        flush=True,
    )


def main(level: str) -> None:
    if is_ready(level):
        return
    (ROOT / "var").mkdir(exist_ok=True)
    with (ROOT / "var" / "setup.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if is_ready(level):
            return
        make_venv()
        print(f"setup: installing the packages of {LOCKS[level]}", flush=True)
        call(PYTHON, "-m", "pip", "install", "-qq", "--no-deps", "--require-hashes", "-r", LOCKS[level])
        install_project()
        report_native()
        stamp(level).write_text(fingerprint(level))


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "dev")
