"""Source: accepted connections that have ended.

`ConnectionSource` loads `probes/connections.bpf.c`, which follows each connection from its accept
to its end, and hands out batches of records. A record holds that of the accept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from locality.accept import source as accept
from locality.accept.attach import attach_accepts, constants
from locality.bpf import engine
from locality.bpf.btf import check_layout
from locality.bpf.object import Object
from locality.bpf.ring import Ring
from locality.bpf.source import Probing
from locality.connections.batch import CONNECTION, ConnectionBatch
from locality.errors import Unsupported
from locality.machine.cgroups import CgroupPaths
from locality.machine.clocks import monotonic_to_utc
from locality.reads import tcp

if TYPE_CHECKING:
    from locality.bpf.engine import Kernel
    from locality.bpf.ladder import Rung

DEFAULT_RING = 4 << 20
#: Connections that can be followed at the same time.
DEFAULT_TABLE = 1 << 16


def _on(rung: Rung) -> Rung:
    """A rung of accepts, with the programs that see reads and the end of a connection."""

    def programs(kernel: Kernel) -> tuple[str, ...]:
        for name in ("inet_sock_set_state", "tcp_destroy_sock"):
            if kernel.tracepoint_arguments(name) is None:
                raise Unsupported(f"this kernel has no tracepoint {name}")
        # Attached in this order: no connection is followed whose end would be missed.
        reads = tcp.programs(kernel)
        if "raw_adjusted" not in reads:
            reads = ("raw_taken", *reads)
        return ("raw_destroyed", "raw_state", *reads, *rung.programs(kernel))

    return rung._replace(programs=programs)


RUNGS = tuple(map(_on, accept.RUNGS))


class ConnectionSource(Probing):
    """Connections of this machine that are accepted from the moment it is made, when they end.

    Args:
        wanted: Which accepts to follow; who reads later does not matter.
        rung: Use this rung or fail; None takes the best.
        ring_bytes: Size of the ring; rounded up to a power of two of pages.
        table: How many connections can be followed at the same time.

    Raises:
        Unsupported: No rung is allowed here; says what the kernel answered.
    """

    #: Seconds between readings when the ring does not fill up faster.
    period: ClassVar[float] = 0.05

    def __init__(
        self,
        wanted: accept.Filter | None = None,
        rung: str | None = None,
        ring_bytes: int = DEFAULT_RING,
        table: int = DEFAULT_TABLE,
    ) -> None:
        self._wanted = wanted or accept.Filter()
        self._ring_bytes, self._table = ring_bytes, table
        self._engine = engine.core(why="")
        with self.attaching() as stack:
            accepts = attach_accepts(RUNGS, self._open, rung, self._engine)
            self._object = self.hold(stack, tcp.noting_unseen(accepts))
            self.fd = self._object.map_fd("events")
            self._ring = Ring.map(self.fd, self._object.map_entries("events"), CONNECTION)
            self._globals = self._object.bss
            self._paths = CgroupPaths()
            self.clock_offset = monotonic_to_utc()

    def _open(self) -> Object:
        obj = Object.open("connections", constants(self._wanted, self._ring_bytes))
        check_layout(CONNECTION, obj.btf.struct("connection"), "connection")
        obj.resize("events", self._ring_bytes)
        obj.resize("connections", self._table)
        return obj

    def read(self) -> ConnectionBatch:
        """Take what has arrived; never waits."""
        # What left the table before what came into it: never fewer than none are open.
        gone = int(self._globals["gone"])
        records = self._ring.read()
        unplaced = int(self._globals["unplaced"])
        lost = int(self._globals["lost"]) + unplaced + self._object.skipped_runs()
        still_open = int(self._globals["followed"]) - gone
        accepts = records["accept"]
        cgroups = self._paths.of(accepts["cgroup"], accepts["pid"])
        return ConnectionBatch(records, self.clock_offset, lost, unplaced, still_open, cgroups)
