"""Watch a port for a while: its accepts, or the reads of its datagrams.

A TCP listener is measured by what is accepted on it, a UDP socket by what is read from it: both
tell the CPU that worked, the CPU that received, and the thread.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from locality.accept.source import AcceptSource, Filter
from locality.reuseport.evidence import Evidence, Seen, Thread
from locality.reuseport.look import accepted_by
from locality.steering.count import ACCEPTS, DATAGRAMS, Counted
from locality.stream import interruptible, stream

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from typing import Any

    from locality.arrays import Array
    from locality.machine.topology import Topology
    from locality.steering.count import Handled, Measured
    from locality.stream import Sink

SETTLE_S = 0.5
"""After a change: connections that wait in a queue were sent there before it."""


@dataclass(frozen=True)
class Watch:
    """What happens on some ports, in some network namespaces.

    Attributes:
        source: Gives batches whose records have pid, tid, cpu, rxcpu, netns and the socket.
        measured: What its records are.
        namespaces: Their inodes; empty for all.
        seen: The threads that served so far, by socket.
    """

    source: Any
    machine: Topology
    measured: Measured
    namespaces: frozenset[int]
    seen: Seen = field(default_factory=Seen)

    def count(self, seconds: float) -> Counted:
        """Count for so many seconds.

        Raises:
            KeyboardInterrupt: A signal asked to end.
        """
        counted = Counted(self.machine, self.measured)
        self.hand_to([counted], seconds)
        return counted

    def hand_to(self, sinks: Sequence[Sink[Handled]], seconds: float) -> None:
        """Hand what happens in so many seconds to sinks; see `count` for errors."""
        lost = self.source.read().lost  # what lies in the ring is from before
        begin = time.monotonic()
        within = [Within(self.namespaces, lost, sink) for sink in (*sinks, Serving(self.seen))]
        stream(self.source, within, duration=seconds)
        if time.monotonic() - begin < seconds:  # what would come next must not
            raise KeyboardInterrupt

    def settle(self) -> None:
        """Let pass what was sent on its way before a change; see `count` for errors."""
        with interruptible() as wait:
            stopped = wait(SETTLE_S).stop
        if stopped:
            raise KeyboardInterrupt


@dataclass(frozen=True)
class Serving:
    """A sink that notes who served which socket."""

    seen: Seen

    def write(self, batch: Any) -> None:  # noqa: ANN401 - a `Handled` that can be replaced
        """Note a batch."""
        records = batch.records
        if "listen_fd" in (records.dtype.names or ()):
            self.seen.add(accepted_by(records))
        else:
            self.seen.add(read_by(records))


def read_by(records: Array) -> Seen:
    """Who read from sockets, by records of dtype `locality.reads.batch.READ`."""
    seen = Seen()
    for inode, pid, tid in np.unique(records[["inode", "pid", "tid"]]).tolist():
        seen.note(inode, Thread(pid, tid), Evidence.SERVES)
    return seen


@dataclass(frozen=True)
class Within:
    """A sink that hands on what is of these namespaces, and lost since the count began."""

    namespaces: frozenset[int]
    lost: int
    sink: Sink[Handled]

    def write(self, batch: Any) -> None:  # noqa: ANN401 - a `Handled` that can be replaced
        """Hand on a batch."""
        records = batch.records
        if self.namespaces:
            records = records[np.isin(records["netns"], list(self.namespaces))]
        self.sink.write(replace(batch, records=records, lost=batch.lost - self.lost))


@contextmanager
def watching(
    machine: Topology,
    ports: Collection[int],
    namespaces: Collection[int] = (),
    protocol: str = "tcp",
) -> Iterator[Watch]:
    """Attach the probe of accepts, or that of UDP reads, for the time of the block.

    Raises:
        Unsupported: This kernel allows none.
    """
    if protocol == "udp":
        from locality.filter import Wanted  # noqa: PLC0415 - only where there is UDP
        from locality.udp.reads import UdpReads  # noqa: PLC0415

        with UdpReads(Wanted(ports=tuple(ports))) as reads:
            yield Watch(reads, machine, DATAGRAMS, frozenset(namespaces))
        return
    with AcceptSource(Filter(ports=tuple(ports))) as source:
        yield Watch(source, machine, ACCEPTS, frozenset(namespaces))
