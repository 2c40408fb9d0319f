"""What is measured: each measurement turns what its probes count in the kernel into metrics."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from typing import TYPE_CHECKING, ClassVar, TypeVar

import numpy as np

from locality.accept.counts import WAIT_ENDS, AcceptCounts
from locality.accept.source import RUNGS as ACCEPT_RUNGS
from locality.accept.source import Filter
from locality.exporter import metrics
from locality.machine.topology import Distance
from locality.reads.tcp import RUNGS as READ_RUNGS
from locality.skb.interval import RX, TX, packets_by_distance
from locality.skb.source import RUNGS as PACKET_RUNGS
from locality.skb.source import SkbSource
from locality.skb.wanted import SkbFilter
from locality.top.interval import DISTANCES
from locality.top.source import TopSource

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from prometheus_client import Metric

    from locality.accept.counts import Accepted
    from locality.arrays import Array
    from locality.bpf.ladder import Attachment, Rung
    from locality.bpf.object import Object
    from locality.exporter.metrics import PortLabels
    from locality.filter import Wanted
    from locality.machine.topology import Topology
    from locality.skb.interval import Interval

#: The bounds of a histogram's buckets, s: every second power of two from 1 us to 16 s.
BOUNDS = 2.0 ** np.arange(-20, 5, 2)

S = TypeVar("S", int, "Array")

#: Threads and ports whose reads are counted at once; those that are idle make room for others.
READERS = 2048

Share = tuple[int, int]
"""What was local, and of how many."""


class Measure(ABC):
    """One measurement, whose probes are attached."""

    name: ClassVar[str]
    _detached: Sequence[tuple[Object, tuple[str, ...]]] = ()

    @property
    @abstractmethod
    def attachments(self) -> Sequence[Attachment]:
        """What it attached."""

    @abstractmethod
    def read(self) -> None:
        """Read the kernel's counters."""

    @abstractmethod
    def families(self, ports: PortLabels) -> Iterator[Metric]:
        """The metrics of what was read."""

    @abstractmethod
    def shares(self) -> Mapping[str, Share]:
        """What was local of what was read, since the start, by name."""

    @property
    @abstractmethod
    def lost(self) -> int:
        """Events that may have been missed, since the start."""

    def detach(self) -> None:
        """Detach the probes; they stay loaded, and what they counted stays."""
        self._detached = self._detached or [(one.obj, one.obj.attached) for one in self.attachments]
        for obj, _ in self._detached:
            obj.detach()

    def attach(self) -> None:
        """Attach again what was detached.

        Raises:
            Unsupported: The kernel refuses it; none is attached then.
        """
        try:
            for obj, programs in self._detached:
                obj.attach(programs)
        except BaseException:
            self.detach()
            raise

    def run_times(self) -> tuple[float, int]:
        """See `locality.bpf.object.Object.run_times`; of all its objects."""
        times = [one.obj.run_times() for one in self.attachments]
        return sum(seconds for seconds, _ in times), sum(runs for _, runs in times)

    @abstractmethod
    def close(self) -> None:
        """Detach the probes."""


#: Of any measurement.
RUNGS = frozenset(rung.name for rung in (*ACCEPT_RUNGS, *PACKET_RUNGS, *READ_RUNGS))


def chosen(rungs: Sequence[Rung], name: str | None) -> str | None:
    """The probe type of a name if a measurement has it; else None, which takes the best."""
    return name if name in {rung.name for rung in rungs} else None


class Accepts(Measure):
    """Accepted connections; see `AcceptCounts`."""

    name = "accepts"

    def __init__(self, machine: Topology, wanted: Wanted, rung: str | None = None) -> None:
        self._machine = machine
        of = Filter(ports=wanted.ports, netns=wanted.netns)
        self._source = AcceptCounts(machine, of, chosen(ACCEPT_RUNGS, rung))
        self.counted: Accepted = self._source.read()

    @property
    def attachments(self) -> Sequence[Attachment]:
        """See `Measure`."""
        return [self._source.attachment]

    def read(self) -> None:
        """See `Measure`."""
        self.counted = self._source.read()

    def families(self, ports: PortLabels) -> Iterator[Metric]:
        """See `Measure`."""
        counted = self.counted
        ports.see(counted.ports, counted.distances.sum(axis=1))
        accepts = metrics.ACCEPTS.counter()
        by_label = metrics.summed(ports, counted.ports, counted.distances, counted.others)
        for label, counts in sorted(by_label.items()):
            metrics.add_distances(accepts, [label], counts.tolist(), self._machine)
        yield accepts
        waits = metrics.ACCEPT_WAIT.histogram()
        waits.add_metric([], buckets(counted.waits), counted.wait_seconds)
        yield waits

    def shares(self) -> Mapping[str, Share]:
        """See `Measure`."""
        counts = self.counted.distances.sum(axis=0) + self.counted.others
        return {self.name: (int(counts[Distance.CPU]), int(counts.sum()))}

    @property
    def lost(self) -> int:
        """See `Measure`."""
        return self.counted.lost

    def close(self) -> None:
        """See `Measure`."""
        self._source.close()


def buckets(counts: Array) -> list[tuple[str, float]]:
    """The buckets of a histogram as Prometheus wants them: by their ends, cumulated.

    Args:
        counts: (buckets,) by doublings; see `locality.accept.counts.WAIT_ENDS`.
    """
    cumulated = counts.cumsum()
    places = np.searchsorted(WAIT_ENDS, BOUNDS)
    ends = zip(BOUNDS.tolist(), cumulated[places].tolist(), strict=True)
    found = [(repr(end), float(count)) for end, count in ends]
    return [*found, ("+Inf", float(cumulated[-1]))]


class Packets(Measure):
    """Received and sent packets; see `SkbSource`."""

    name = "packets"

    def __init__(
        self, machine: Topology, netns: int | None = None, rung: str | None = None
    ) -> None:
        self._machine = machine
        rung = chosen(PACKET_RUNGS, rung)
        self._source = SkbSource(wanted=SkbFilter(netns=netns), rung=rung)
        first = self._source.read()
        self._lost = first.lost
        self._flows = {"rx": first.rx, "tx": first.tx}
        self._delivered = first.delivered, first.delivered_local
        self._distances = self._by_distance(first)

    def _by_distance(self, interval: Interval) -> dict[str, Array | None]:
        found: dict[str, Array | None] = {}
        for name, direction in (("rx", RX), ("tx", TX)):
            counts = packets_by_distance(interval, direction, self._machine)
            found[name] = None if counts is None else np.array([counts[one] for one in Distance])
        return found

    @property
    def attachments(self) -> Sequence[Attachment]:
        """See `Measure`."""
        return [self._source.attachment]

    def read(self) -> None:
        """See `Measure`."""
        now = self._source.read()
        self._lost = now.lost
        self._flows = {"rx": self._flows["rx"] + now.rx, "tx": self._flows["tx"] + now.tx}
        delivered, local = self._delivered
        self._delivered = _sum(delivered, now.delivered), _sum(local, now.delivered_local)
        more = self._by_distance(now)
        self._distances = {name: _sum(some, more[name]) for name, some in self._distances.items()}

    def families(self, ports: PortLabels) -> Iterator[Metric]:
        """See `Measure`."""
        del ports
        packets, deferred = metrics.PACKETS.counter(), metrics.DEFERRED.counter()
        local, away = Distance.CPU.word, Distance.UNKNOWN.word
        for direction, flow in self._flows.items():
            distances = self._distances[direction]
            if distances is not None:
                labels = [direction, "consumed"]
                metrics.add_distances(packets, labels, distances.tolist(), self._machine)
            packets.add_metric([direction, "unseen", away], flow.unknown)
            if flow.freed_local is not None:
                packets.add_metric([direction, "freed", local], flow.freed_local)
                packets.add_metric([direction, "freed", away], flow.packets - flow.freed_local)
            if flow.deferred is not None:
                deferred.add_metric([direction], flow.deferred)
        delivered, delivered_local = self._delivered
        if delivered is not None and delivered_local is not None:
            packets.add_metric(["rx", "delivered", local], delivered_local)
            packets.add_metric(["rx", "delivered", away], delivered - delivered_local)
        yield packets
        yield deferred

    def shares(self) -> Mapping[str, Share]:
        """See `Measure`."""
        return {
            f"packets_{direction}": (flow.local, flow.known)
            for direction, flow in self._flows.items()
            if flow.local is not None
        }

    @property
    def lost(self) -> int:
        """See `Measure`."""
        return self._lost

    def close(self) -> None:
        """See `Measure`."""
        self._source.close()


class Reads(Measure):
    """Reads of TCP and UDP sockets; see `TopSource`."""

    name = "reads"

    def __init__(
        self, machine: Topology, wanted: Wanted, ports: PortLabels, rung: str | None = None
    ) -> None:
        self._machine = machine
        self._ports = ports
        self._source = TopSource(wanted, rung=chosen(READ_RUNGS, rung), rows=READERS)
        self._lost = 0
        self._sums: dict[str, Array] = {}
        self._by_thread: dict[int, Counter[int]] | None = None
        self.read()

    @property
    def attachments(self) -> Sequence[Attachment]:
        """See `Measure`."""
        return self._source.attachments

    def read(self) -> None:
        """See `Measure`."""
        interval = self._source.read()
        self._lost = interval.lost
        readers = interval.readers
        known = np.stack([readers[name] for name in DISTANCES], axis=1)
        counts = np.column_stack([known, readers["reads"] - known.sum(axis=1)])
        served = readers["outgoing"] == 0
        ports = readers["port"][served]
        self._ports.see(ports, readers["reads"][served])
        # By label, and not by port: of those there may be thousands.
        grown = metrics.summed(self._ports, ports, counts[served])
        if not served.all():
            grown[metrics.OUTGOING] = counts[~served].sum(axis=0)
        for label, row in grown.items():
            self._sums[label] = self._sums[label] + row if label in self._sums else row.copy()
        if self._by_thread is not None:
            for port, tid, reads in readers[["port", "tid", "reads"]][served].tolist():
                if self._ports.label(port) != metrics.OTHER:
                    self._by_thread.setdefault(port, Counter())[tid] += reads

    def threads(self) -> dict[int, Counter[int]]:
        """Reads by port and thread since this was called last; from the first call on."""
        by_thread, self._by_thread = self._by_thread or {}, {}
        return by_thread

    def families(self, ports: PortLabels) -> Iterator[Metric]:
        """See `Measure`."""
        del ports  # they were given labels when they were counted
        reads = metrics.READS.counter()
        for label, row in sorted(self._sums.items()):
            metrics.add_distances(reads, [label], row.tolist(), self._machine)
        yield reads

    def shares(self) -> Mapping[str, Share]:
        """See `Measure`."""
        counts = sum(self._sums.values(), np.zeros(len(Distance), "u8"))
        local, known = counts[Distance.CPU], counts.sum() - counts[Distance.UNKNOWN]
        return {self.name: (int(local), int(known))}

    @property
    def lost(self) -> int:
        """See `Measure`."""
        return self._lost

    def close(self) -> None:
        """See `Measure`."""
        self._source.close()


def _sum(one: S | None, other: S | None) -> S | None:
    """Both together; what one of them did not see, the sum has not seen."""
    return None if one is None or other is None else one + other
