"""What each process of a measurement does with the system: cores, descriptors, memory, its parent's pipe."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any


def pin(core: int | None) -> None:
    """Stay on one core."""
    if core is not None:
        os.sched_setaffinity(0, {core})


def two_cores() -> tuple[int | None, int | None]:
    """Return the core of the contender and the core of the other end; None where there is no choice."""
    if not hasattr(os, "sched_setaffinity"):
        return None, None
    cores = sorted(os.sched_getaffinity(0))
    return (cores[0], cores[1]) if len(cores) > 1 else (None, None)


def third_core() -> int | None:
    """Return the core of the other end of two processes; None where there is none for it alone."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    return cores[2] if len(cores) > 2 else None


def allow_descriptors(wanted: int) -> None:
    """Raise the limit of open descriptors as far as the system lets us."""
    with contextlib.suppress(ImportError):  # not on Windows
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft < wanted:
            resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard), hard))


def proportional_set_size() -> int:
    """Return this process's memory in bytes, its share of shared pages included."""
    for line in Path("/proc/self/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("no Pss in /proc/self/smaps_rollup")


def say(**values: Any) -> None:
    """Send one line of JSON to the parent."""
    sys.stdout.write(json.dumps(values) + "\n")
    sys.stdout.flush()


def end() -> None:
    """End the process now: how a library closes is measured where it is measured, and nowhere else."""
    sys.stdout.flush()
    os._exit(0)


def answer_parent() -> None:
    """Answer the parent's questions from a thread that costs nothing meanwhile; end when the parent has gone."""

    def answer() -> None:
        for line in sys.stdin:
            if line.strip() == "pss":
                gc.collect()
                say(pss=proportional_set_size())
            elif line.strip() == "cpu":
                say(cpu=time.process_time())
        os._exit(0)

    threading.Thread(target=answer, daemon=True).start()
