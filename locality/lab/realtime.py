"""Real-time priority for programs of an experiment that measures short times.

Other programs of the machine then disturb them little. They must leave most of the CPU to others.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

PRIORITY = 10


def run_first(pid: int | None = None) -> bool:
    """Let a process run before ordinary ones; its children inherit that.

    Args:
        pid: The process, all of its threads; None for the thread that calls.

    Returns:
        Whether the kernel allowed it: root of a container may not have it.
    """
    # In a PID namespace of its own a process has another number than /proc shows.
    threads = [0]
    if pid is not None:
        threads = [int(thread.name) for thread in Path(f"/proc/{pid}/task").iterdir()]
    done = False
    for thread in threads:
        with suppress(OSError):
            os.sched_setscheduler(thread, os.SCHED_FIFO, os.sched_param(PRIORITY))
            done = True
    return done
