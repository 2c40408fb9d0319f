"""Source: accepted connections counted by the kernel, by port and by distance.

`AcceptCounts` loads `probes/accept_counts.bpf.c`, which sees what `locality.accept.source` sees and
sends no records: for who wants sums for days, and not connections.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from locality.accept.attach import attach_accepts, constants
from locality.accept.source import RUNGS, Filter
from locality.bpf.btf import check_layout
from locality.bpf.counters import Counters
from locality.bpf.engine import choose
from locality.bpf.source import Probing
from locality.machine.topology import Distance
from locality.reads.rows import CPU_PLACE, write_places

if TYPE_CHECKING:
    from locality.arrays import Array
    from locality.bpf.object import Object
    from locality.machine.topology import Topology

#: `struct accept_row`.
ACCEPT_ROW = np.dtype([("distances", "u8", (len(Distance),)), ("port", "u4"), ("reserved", "u4")])
#: In doublings of 2^-30 s: `WAIT_BUCKETS` of the probe.
WAIT_BUCKETS = 40
#: `struct accept_waits`.
ACCEPT_WAITS = np.dtype([("counts", "u8", (WAIT_BUCKETS,)), ("sum", "u8"), ("unknown", "u8")])
#: (buckets - 1,) the end of each bucket but the last, which has none; seconds.
WAIT_ENDS = 2.0 ** (np.arange(WAIT_BUCKETS - 1) - 30)

#: Ports with a row of their own, and a row for all the others.
MAX_ROWS = 257
_RX_CPU = np.dtype([("count", "u8")])
#: Nothing is written to the ring: so small as it can be.
_NO_RING = 4096


@dataclass(frozen=True)
class Accepted:
    """Connections since the source was opened.

    Attributes:
        ports: (ports,) the ports that connections came to.
        distances: (ports, distances) connections by the place of `Distance`.
        received: (ports, CPUs) connections by RX CPU, of which it is known.
        others: (distances,) connections to further ports: there were more than the probe has rows.
        waits: (buckets,) connections by their time in the accept queue; see `WAIT_ENDS`.
        wait_seconds: All these times together.
        lost: Runs of the probes that the kernel skipped.
    """

    ports: Array
    distances: Array
    received: Array
    others: Array
    waits: Array
    wait_seconds: float
    lost: int


class AcceptCounts(Probing):
    """Counts of accepted connections of this machine, from the moment it is made.

    Args:
        machine: This machine's CPUs.
        wanted: What to count.
        rung: Use this probe type or fail; None takes the best.

    Raises:
        Unsupported: No probe type is allowed here; says what the kernel answered.
    """

    def __init__(
        self, machine: Topology, wanted: Filter | None = None, rung: str | None = None
    ) -> None:
        self._machine = machine
        self._wanted = wanted or Filter()
        self._engine = choose("core")
        with self.attaching() as stack:
            obj = self.hold(stack, attach_accepts(RUNGS, self._open, rung, self._engine))
            self._rows = Counters(obj, "accept_rows", ACCEPT_ROW, (MAX_ROWS,))
            self._waits = Counters(obj, "accept_waits", ACCEPT_WAITS, (1,))
            shape = (MAX_ROWS, machine.possible)
            self._received = Counters(obj, "accept_rx_cpus", _RX_CPU, shape)
            write_places(obj, machine)

    def _open(self) -> Object:
        rodata = {
            **constants(self._wanted, _NO_RING),
            "max_accept_rows": MAX_ROWS,
            "possible_cpus": self._machine.possible,
        }
        obj = self._engine.open("accept_counts", rodata)
        check_layout(ACCEPT_ROW, obj.btf.struct("accept_row"), "accept_row")
        check_layout(ACCEPT_WAITS, obj.btf.struct("accept_waits"), "accept_waits")
        check_layout(CPU_PLACE, obj.btf.struct("cpu_place"), "cpu_place")
        obj.resize("events", _NO_RING)
        obj.resize("accept_rows", MAX_ROWS)
        obj.resize("accept_row_of", MAX_ROWS)
        obj.resize("accept_rx_cpus", MAX_ROWS * self._machine.possible)
        obj.resize("cpu_places", self._machine.possible)
        return obj

    def read(self) -> Accepted:
        """The counts so far; never waits."""
        used = min(int(self.attachment.obj.bss["used_accept_rows"]), MAX_ROWS - 1)
        rows = self._rows.read()
        # A row that got its number just now may not have its port yet.
        named = np.flatnonzero(rows["port"][:used])
        (waits,) = self._waits.read()
        return Accepted(
            ports=rows["port"][named],
            distances=rows["distances"][named],
            received=self._received.read(used)["count"][named],
            others=rows["distances"][-1],
            waits=waits["counts"],
            wait_seconds=float(waits["sum"]) / 1e9,
            lost=self.attachment.obj.skipped_runs(),
        )
