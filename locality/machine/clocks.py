"""CLOCK_MONOTONIC as the kernel and BPF programs have it: a time namespace may have another."""

from __future__ import annotations

import time
from pathlib import Path


def namespace_offset(proc: Path = Path("/proc/self/timens_offsets")) -> int:
    """What this process's CLOCK_MONOTONIC has more than the kernel's, ns (time_namespaces(7))."""
    try:
        lines = proc.read_text().splitlines()
    except OSError:  # before Linux 5.6, or built without
        return 0
    for line in lines:
        name, *values = line.split()
        if name in {"monotonic", str(time.CLOCK_MONOTONIC)}:
            seconds, ns = map(int, values)
            return seconds * 10**9 + ns
    return 0


def monotonic_ns() -> int:
    """This moment of the kernel's CLOCK_MONOTONIC, ns."""
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC) - namespace_offset()


def monotonic_to_utc() -> int:
    """What to add to a time of the kernel's CLOCK_MONOTONIC for UTC, ns since the epoch."""
    return time.time_ns() - monotonic_ns()
