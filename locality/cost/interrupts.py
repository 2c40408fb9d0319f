"""Source: what CPUs have each other call.

`Causes` counts calls of functions on other CPUs by function: see probes/cost_interrupts.bpf.c.
Before Linux 6.4 there is no such tracepoint.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from locality.bpf.btf import check_layout
from locality.bpf.counters import Counters
from locality.bpf.ladder import Rung, attach_best
from locality.bpf.object import Object
from locality.bpf.source import Probing
from locality.cost.bill import OTHER
from locality.errors import Unsupported
from locality.machine import topology

if TYPE_CHECKING:
    from locality.bpf.engine import Kernel

#: `struct called_function`, and the places of functions; behind them those without one.
CALLED = np.dtype([("address", "u8"), ("name", "S56")])
FUNCTIONS = 64
PLACES = FUNCTIONS + 1


def _programs(kernel: Kernel) -> tuple[str, ...]:
    if kernel.tracepoint_arguments("csd_queue_cpu") is None:
        raise Unsupported("this kernel has no tracepoint csd_queue_cpu (6.4)")
    return ("raw_queued",)


RUNGS = (Rung("raw-tracepoint", _programs),)


class Causes(Probing):
    """What CPUs have each other call, from the moment it is made.

    Raises:
        Unsupported: This kernel does not tell; says why.
    """

    def __init__(self) -> None:
        cpus = topology.possible_cpus()

        def open_object() -> Object:
            obj = Object.open("cost_interrupts")
            check_layout(CALLED, obj.btf.struct("called_function"), "called_function")
            obj.resize("called_functions", FUNCTIONS)
            obj.resize("calls", cpus * PLACES)
            return obj

        with self.attaching() as stack:
            obj = self.hold(stack, attach_best(RUNGS, open_object))
            self._functions = Counters(obj, "called_functions", CALLED, (FUNCTIONS,))
            self._calls = Counters(obj, "calls", np.dtype("u8"), (cpus, PLACES))

    def read(self) -> dict[str, int]:
        """Calls since the start, by function; those that never occurred are left out."""
        counts = self._calls.read().sum(axis=0).tolist()
        names = [
            name.decode(errors="backslashreplace")
            for name in self._functions.read()["name"].tolist()
        ]
        found: dict[str, int] = {}
        for name, count in zip([*names, OTHER], counts, strict=True):
            if count:
                # A name is written a moment after its first call is counted.
                found[name or OTHER] = found.get(name or OTHER, 0) + count
        return found
