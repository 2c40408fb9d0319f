"""Cycles and cache misses of all CPUs, where the machine has a PMU: many virtual machines do not.

Counters run on each CPU, for all that runs there. Where the PMU has fewer counters than are
asked for, by others too, the kernel lets them take turns: what they counted is then extrapolated
to the whole time (perf_event_open(2), "time_enabled").
"""

from __future__ import annotations

import errno
import os
import struct
from typing import TYPE_CHECKING, Self

from locality.bpf.tracefs import perf_event_open
from locality.errors import Unsupported
from locality.machine import topology
from locality.machine.limits import raise_if_ours

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

HARDWARE, SOFTWARE = 0, 1
"""PERF_TYPE_HARDWARE and PERF_TYPE_SOFTWARE of include/uapi/linux/perf_event.h."""
#: What is counted: PERF_COUNT_HW_CPU_CYCLES and PERF_COUNT_HW_CACHE_MISSES, which are those of the
#: last-level cache.
EVENTS: Mapping[str, tuple[int, int]] = {
    "cycles": (HARDWARE, 0),
    "cache_misses": (HARDWARE, 3),
}
NO_PMU = "no PMU here: cycles and cache misses are not known"

_ATTRIBUTES = struct.Struct(
    "=IIQQQQ"
)  # type, size, config, sample_period, sample_type, read_format
_SIZE = 64  # PERF_ATTR_SIZE_VER0
_WITH_TIMES = 1 | 2  # PERF_FORMAT_TOTAL_TIME_ENABLED, PERF_FORMAT_TOTAL_TIME_RUNNING
_VALUE = struct.Struct("=QQQ")
#: What perf_event_open answers where the machine has nothing to count with.
_NONE = {errno.ENOENT, errno.EOPNOTSUPP, errno.ENODEV, errno.EINVAL}


class Pmu:
    """Counters on every CPU, from the moment it is made; an event that is refused has none.

    Args:
        events: The type and configuration of each, by its name.

    Raises:
        Unsupported: No event can be counted here; says why.
    """

    def __init__(self, events: Mapping[str, tuple[int, int]] = EVENTS) -> None:
        self._fds: dict[str, list[int]] = {}
        refused = None
        try:
            for name, event in events.items():
                try:
                    self._fds[name] = _open(*event, topology.online_cpus())
                except OSError as error:
                    raise_if_ours(error.errno)
                    refused = refused or error
        except BaseException:
            self.close()
            raise
        if refused is not None and not self._fds:
            if refused.errno in _NONE:
                raise Unsupported(NO_PMU)
            hint = (
                " (CAP_PERFMON is needed)" if refused.errno in {errno.EACCES, errno.EPERM} else ""
            )
            raise Unsupported(
                f"cycles and cache misses are not known: perf_event_open: {refused.strerror}{hint}"
            )

    def read(self) -> dict[str, int | None]:
        """What was counted since it was made, by name; None of what cannot be counted."""
        return {name: _sum(fds) for name, fds in self._fds.items()}

    def close(self) -> None:
        """Count no more."""
        for fds in self._fds.values():
            for fd in fds:
                os.close(fd)
        self._fds.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()


def _open(type_: int, config: int, cpus: Sequence[int]) -> list[int]:
    attributes = _ATTRIBUTES.pack(type_, _SIZE, config, 0, 0, _WITH_TIMES).ljust(_SIZE, b"\0")
    fds: list[int] = []
    try:
        for cpu in cpus:
            fds.append(perf_event_open(attributes, cpu))  # noqa: PERF401 - closed if one fails
    except OSError:
        for fd in fds:
            os.close(fd)
        raise
    return fds


def _sum(fds: Sequence[int]) -> int | None:
    """The sum over CPUs; None where a counter never had its turn."""
    total = 0
    for fd in fds:
        try:
            value, enabled, running = _VALUE.unpack(os.read(fd, _VALUE.size))
        except (OSError, struct.error):  # the CPU went offline
            return None
        if enabled and not running:
            return None
        total += value if enabled == running else value * enabled // running
    return total
