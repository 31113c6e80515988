"""Being modest: a session gives way to the sites of the server it runs on."""

from __future__ import annotations

import os
import resource
from contextlib import suppress
from pathlib import Path

_LOWEST_BEST_EFFORT = 7


def be_modest(nice: int, group: str = "", memory: int = 0) -> None:
    """Lower this process's claim to processor and disk, and enter a control group; children inherit all of it.

    ``memory`` is how many bytes a process may take before it gets no more; 0 = any.  ``nice`` 0 changes nothing.  What
    the machine does not allow is left out: the work matters more than its pace.
    """
    if nice:
        import psutil  # takes long, and who only answers questions does without

        os.nice(nice)
        with suppress(psutil.Error, OSError):
            psutil.Process().ionice(psutil.IOPRIO_CLASS_BE, _LOWEST_BEST_EFFORT)
    if memory:
        hardest = resource.getrlimit(resource.RLIMIT_DATA)[1]
        most = memory if hardest == resource.RLIM_INFINITY else min(memory, hardest)
        resource.setrlimit(resource.RLIMIT_DATA, (most, hardest))
    if group:
        with suppress(OSError):
            (Path(group) / "cgroup.procs").write_text(str(os.getpid()))
