"""Source: what CPUs interrupt each other for.

`Causes` counts calls of functions on other CPUs by function, and reschedulings: see
probes/cost_interrupts.bpf.c. Before Linux 6.4 there are no such tracepoints.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from locality.bpf.btf import check_layout
from locality.bpf.counters import Counters
from locality.bpf.ladder import Rung, attach_best
from locality.bpf.object import Object
from locality.cost.bill import OTHER, RESCHEDULING
from locality.errors import Unsupported

if TYPE_CHECKING:
    from locality.bpf.engine import Kernel

#: `struct cross_cpu_call`, and its places: functions, those without a place, reschedulings.
CALL = np.dtype([("function", "u8"), ("count", "u8"), ("name", "S48")])
FUNCTIONS = 64

PROGRAMS = ("raw_queued", "raw_sent")
_TRACEPOINTS = ("csd_queue_cpu", "ipi_send_cpu")


def _open() -> Object:
    obj = Object.open("cost_interrupts")
    check_layout(CALL, obj.btf.struct("cross_cpu_call"), "cross_cpu_call")
    obj.resize("cross_cpu_calls", FUNCTIONS + 2)
    return obj


class Causes:
    """What CPUs interrupt each other for, from the moment it is made.

    Attributes:
        attachment: What it attached.

    Raises:
        Unsupported: This kernel does not tell; says why.
    """

    def __init__(self) -> None:
        self.attachment = attach_best(RUNGS, _open)
        obj = self.attachment.obj
        self._calls = Counters(obj, "cross_cpu_calls", CALL, (FUNCTIONS + 2,))

    def read(self) -> dict[str, int]:
        """Calls since the start, by function; those that never occurred are left out."""
        calls = self._calls.read()
        names = [name.decode(errors="backslashreplace") for name in calls["name"].tolist()]
        names[FUNCTIONS:] = [OTHER, RESCHEDULING]
        found: dict[str, int] = {}
        for name, count in zip(names, calls["count"].tolist(), strict=True):
            if count:
                # Its name is written a moment after its first call is counted.
                found[name or OTHER] = found.get(name or OTHER, 0) + count
        return found

    def close(self) -> None:
        """Detach the probes."""
        self.attachment.obj.close()


def _programs(kernel: Kernel) -> tuple[str, ...]:
    for name in _TRACEPOINTS:
        if kernel.tracepoint_arguments(name) is None:
            raise Unsupported(f"this kernel has no tracepoint {name} (6.4)")
    return PROGRAMS


RUNGS = (Rung("raw-tracepoint", _programs),)
