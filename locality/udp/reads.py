"""Source: each single read of a datagram.

`UdpReads` has the probe of `locality udp` send a record for each read that it counts.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, ClassVar

from locality.bpf.ladder import Rung, attach_best
from locality.bpf.ring import Ring
from locality.bpf.source import Probing
from locality.filter import Wanted
from locality.machine import topology
from locality.reads.batch import READ, ReadBatch
from locality.udp.probe import function_reads, open_probe, raw_reads

if TYPE_CHECKING:
    from locality.bpf.object import Object

DEFAULT_RING = 4 << 20
#: Seconds between two intervals of the probe: what is idle for three of them may lose its row.
_INTERVAL_S = 1.0


#: Best first.
RUNGS = (
    Rung("fentry", lambda kernel: function_reads("fentry", kernel)),
    Rung(
        "kprobe",
        lambda kernel: function_reads("kprobe", kernel),
        note="reads that an interrupt makes the kernel skip are missed",
    ),
    Rung(
        "raw-tracepoint",
        raw_reads,
        note="where several threads read one socket at once, which CPU processed a datagram is "
        "not always known; the record of a datagram that was read at once comes with the socket's "
        "next datagram at the latest",
    ),
)


class UdpReads(Probing):
    """Reads of datagrams, from the moment it is made.

    Args:
        wanted: Whose reads, of which ports.
        rung: Use this rung or fail; None takes the best.
        ring_bytes: Size of the ring; rounded up to a power of two of pages.

    Raises:
        Unsupported: No rung is allowed here; says what the kernel answered.
        LocalityError: More pids or ports are wanted than the probe has room for.
    """

    #: Seconds between readings when the ring does not fill up faster.
    period: ClassVar[float] = 0.05

    def __init__(
        self,
        wanted: Wanted | None = None,
        rung: str | None = None,
        ring_bytes: int = DEFAULT_RING,
    ) -> None:
        self._wanted = wanted or Wanted()
        self._ring_bytes = ring_bytes
        with self.attaching() as stack:
            obj = self.hold(stack, attach_best(RUNGS, self._open, only=rung))
            self.fd = obj.map_fd("reads")
            self._ring = Ring.map(self.fd, obj.map_entries("reads"), READ)
            self._variables = obj.bss
            self._next_interval = time.monotonic() + _INTERVAL_S

    def _open(self) -> Object:
        constants = {
            "stream_reads": True,
            # The kernel wakes the reader when a quarter of the ring is full, not for each record.
            "wakeup_bytes": self._ring_bytes // 4,
            # No flows: what is counted beside the records is not read.
            "sample_below": 0,
        }
        obj = open_probe(self._wanted, topology.possible_cpus(), constants)
        obj.resize("reads", self._ring_bytes)
        return obj

    def read(self) -> ReadBatch:
        """Take what has arrived; never waits."""
        # Records first: a loss counted late is counted, a loss before its neighbours confuses.
        records = self._ring.read()
        lost = int(self._variables["lost_reads"]) + int(self._variables["homeless"])
        if time.monotonic() >= self._next_interval:
            # Rows of what is idle go to others only as intervals go by.
            self._variables["epoch"] = (int(self._variables["epoch"]) + 1) & 0xFFFFFFFF
            self._next_interval = time.monotonic() + _INTERVAL_S
        return ReadBatch(records, lost + self.attachment.obj.skipped_runs())
