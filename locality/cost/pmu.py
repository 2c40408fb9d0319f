"""Whether this machine counts cycles and cache misses: many virtual machines do not."""

from __future__ import annotations

from pathlib import Path

DEVICES = Path("/sys/bus/event_source/devices")
#: What the kernel calls the counters of a CPU: x86, x86 with two kinds of cores, arm64.
_PATTERNS = ("cpu", "cpu_core", "armv8_*")


def has_pmu(devices: Path = DEVICES) -> bool:
    """Whether there is a performance monitoring unit of the CPUs."""
    return any(any(devices.glob(pattern)) for pattern in _PATTERNS)
