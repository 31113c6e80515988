"""Install the Debian packages that the tests use, where that is allowed; otherwise name the missing ones."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LIST = Path(__file__).with_name("debian-packages.txt")
POLICY = Path("/usr/sbin/policy-rc.d")


def wanted() -> list[str]:
    lines = (line.partition("#")[0].strip() for line in LIST.read_text().splitlines())
    return [line for line in lines if line]


def missing(names: list[str]) -> list[str]:
    done = subprocess.run(
        ["dpkg-query", "-W", "-f", "${Package} ${db:Status-Status}\n", *names],
        capture_output=True,
        text=True,
        check=False,
    )
    here = {line.split()[0] for line in done.stdout.splitlines() if line.endswith(" installed")}
    return [name for name in names if name not in here]


@contextmanager
def no_daemons() -> Iterator[None]:
    """Keep package scripts from starting system services: the tests start their own servers."""
    mine = not POLICY.exists()
    if mine:
        POLICY.write_text("#!/bin/sh\nexit 101\n")
        POLICY.chmod(0o755)
    try:
        yield
    finally:
        if mine:
            POLICY.unlink(missing_ok=True)


def install(names: list[str]) -> bool:
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    print(f"packages: installing {' '.join(names)}", flush=True)
    with no_daemons():
        subprocess.run(["apt-get", "update", "-qq"], env=env, check=False)
        done = subprocess.run(
            ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *names],
            env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
        )  # fmt: skip
    if done.returncode:
        print(done.stdout[-2000:])
    return done.returncode == 0


def main() -> None:
    names = wanted()
    if not shutil.which("dpkg-query") or not shutil.which("apt-get"):
        print(f"packages: this is no Debian; tests may be skipped for want of: {' '.join(names)}")
        return
    gone = missing(names)
    if not gone or (os.geteuid() == 0 and install(gone)):
        return
    reason = "apt-get could not install them" if os.geteuid() == 0 else "not root"
    print(f"packages: missing ({reason}), some tests will be skipped: {' '.join(missing(names))}", file=sys.stderr)


if __name__ == "__main__":
    main()
