"""What one run of a program costs: wall and CPU seconds, and the memory of all its processes."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

# A process of its own starts the program: a child's peak memory begins at the size of what forked it.
LAUNCHER = """
import json, os, sys, time
began = time.perf_counter()
child = os.posix_spawnp(sys.argv[2], sys.argv[2:], os.environ)
_, status, used = os.wait4(child, 0)
wall = time.perf_counter() - began
cost = [os.waitstatus_to_exitcode(status), wall, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024]
os.write(int(sys.argv[1]), json.dumps(cost).encode())
"""
EVERY = 0.2  # seconds between two looks at the memory


@dataclass(frozen=True)
class Cost:
    """Of one run: exit code, seconds, CPU seconds of the whole process tree, and MiB."""

    code: int
    wall: float
    cpu: float
    memory: float

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(
            self.code or other.code, self.wall + other.wall, self.cpu + other.cpu, max(self.memory, other.memory)
        )


def descendants(pid: int) -> Iterator[int]:
    """The processes below this one, as far as they live while we look."""
    try:
        threads = os.listdir(f"/proc/{pid}/task")
        children = [int(c) for t in threads for c in Path(f"/proc/{pid}/task/{t}/children").read_text().split()]
    except OSError:
        return
    for child in children:
        yield child
        yield from descendants(child)


def proportional_size(pid: int) -> int:
    """KiB of a process, with what it shares counted in parts; 0 when it is gone."""
    try:
        with open(f"/proc/{pid}/smaps_rollup") as handle:
            return next((int(line.split()[1]) for line in handle if line.startswith("Pss:")), 0)
    except OSError:
        return 0


class MemoryWatch(threading.Thread):
    """Samples the memory of everything below a process and keeps the highest sum."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.pid = pid
        self.peak = 0.0  # MiB
        self.several = False
        self._done = threading.Event()

    def run(self) -> None:
        while not self._done.wait(EVERY):
            sizes = [proportional_size(pid) for pid in descendants(self.pid)]
            self.several = self.several or len(sizes) > 1
            self.peak = max(self.peak, sum(sizes) / 1024)

    def stop(self) -> None:
        self._done.set()
        self.join()


def measure(
    command: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: Path,
    log: IO[bytes],
    timeout: float = 3600,
) -> Cost:
    """Run a program to its end; its output goes to the log. After the timeout (seconds) it is killed and costs -9.

    The memory of a program with one process is the kernel's own peak; of one with several the sampled sum.
    """
    reader, writer = os.pipe()
    launch = [sys.executable, "-I", "-S", "-c", LAUNCHER, str(writer), *command]
    process = subprocess.Popen(
        launch,
        env=dict(env),
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        pass_fds=(writer,),
        start_new_session=True,
    )
    os.close(writer)
    watch = MemoryWatch(process.pid)
    watch.start()
    killer = threading.Timer(timeout, os.killpg, (process.pid, signal.SIGKILL))
    killer.start()
    with os.fdopen(reader, "rb") as handle:
        answer = handle.read()
    process.wait()
    killer.cancel()
    watch.stop()
    if not answer:
        return Cost(-9, timeout, 0.0, watch.peak)
    code, wall, cpu, largest = json.loads(answer)
    return Cost(code, wall, cpu, watch.peak if watch.several else max(largest, watch.peak))
