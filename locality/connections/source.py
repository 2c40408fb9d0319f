"""Source: accepted connections that have ended.

`ConnectionSource` loads `probes/connections.bpf.c`, which follows each connection from its accept
to its end, and hands out batches of records. A record holds that of the accept.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np

from locality.accept import source as accept
from locality.accept.attach import attach_accepts, constants
from locality.bpf import engine
from locality.bpf.btf import check_layout
from locality.bpf.object import Object
from locality.bpf.ring import Ring
from locality.errors import Unsupported
from locality.machine.cgroups import CgroupPaths
from locality.reads import tcp

if TYPE_CHECKING:
    from collections.abc import Mapping

    from locality.accept.source import Records
    from locality.bpf.engine import Kernel
    from locality.bpf.ladder import Attachment, Rung

#: One connection that has ended, as `struct connection` of the probe.
#: ended: when TCP did. received, sent: bytes of data. read: bytes that the program took by its
#: reads. first_read: when it ended; 0 if nothing was read, and then all of the first read is 0.
#: last_packet: when TCP handled the last packet before the first read. srtt: 1/8 us; 0 if TCP
#: measured none. end: place in `locality.connections.columns.ENDS`. Times: CLOCK_MONOTONIC, ns.
CONNECTION = np.dtype(
    [
        ("accept", accept.ACCEPT),
        ("ended", "u8"),
        ("received", "u8"),
        ("sent", "u8"),
        ("reads", "u8"),
        ("local_reads", "u8"),
        ("read", "u8"),
        ("first_read", "u8"),
        ("last_packet", "u8"),
        ("retransmits", "u4"),
        ("srtt", "u4"),
        ("reader_pid", "u4"),
        ("reader_tid", "u4"),
        ("reader_cpu", "u4"),
        ("reader_rxcpu", "i4"),
        ("reader_comm", "S16"),
        ("copied_seq", "u4"),
        ("end", "u1"),
        ("pad", "u1", (3,)),
    ]
)

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

    return replace(rung, programs=programs)


RUNGS = tuple(map(_on, accept.RUNGS))


@dataclass(frozen=True)
class ConnectionBatch:
    """What one reading of the ring gave.

    Attributes:
        records: dtype `CONNECTION`, in the order in which they ended; perhaps empty.
        clock_offset: Add it to a record's times for UTC, ns since the epoch.
        lost: Connections without a record, since the source was opened: those that the ring or
            the table had no room for, and runs of the probes that the kernel skipped, some of
            which may have been for connections.
        unplaced: Those of them for which the table had no room.
        still_open: Connections that are followed and have not ended.
        cgroups: Paths of the cgroups of the threads that accepted, by id; of those that could be
            told.
    """

    records: Records
    clock_offset: int
    lost: int
    unplaced: int
    still_open: int
    cgroups: Mapping[int, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.records)

    def first(self, count: int) -> ConnectionBatch:
        """The same with its first `count` records."""
        return replace(self, records=self.records[:count])


class ConnectionSource:
    """Connections of this machine that are accepted from the moment it is made, when they end.

    Args:
        wanted: Which accepts to follow; who reads later does not matter.
        rung: Stand on this rung or fail; None takes the best.
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
        self.attachment: Attachment = tcp.noting_unseen(
            attach_accepts(RUNGS, self._open, rung, self._engine)
        )
        self._object = self.attachment.obj
        self.fd = self._object.map_fd("events")
        self._ring = Ring.map(self.fd, self._object.map_entries("events"), CONNECTION)
        self._globals = self._object.bss
        self._paths = CgroupPaths()
        self.clock_offset = time.time_ns() - time.clock_gettime_ns(time.CLOCK_MONOTONIC)

    def _open(self) -> Object:
        obj = Object.open("connections", constants(self._wanted, self._ring_bytes, self._engine))
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

    def close(self) -> None:
        """Detach the probes."""
        self._object.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()
