"""Count accepts for a while, to compare before with after and to see which CPUs receive."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from enum import Enum
from itertools import accumulate
from typing import TYPE_CHECKING

import numpy as np

from locality.accept.source import AcceptSource, Filter
from locality.accept.summary import AcceptSummary
from locality.machine.distance import by_distance, distance_text
from locality.reporting.statistics import Series, compare
from locality.reuseport.evidence import Seen
from locality.reuseport.look import accepted_by
from locality.stream import interruptible, stream
from locality.text import percent, share

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from locality.accept.source import AcceptBatch
    from locality.machine.distance import Counts
    from locality.machine.topology import Topology
    from locality.stream import Sink

SETTLE_S = 0.5
"""After a change: connections that wait in a queue were sent there before it."""
ENOUGH = 20
"""Connections for each online CPU, to believe that a CPU without any does not receive: one
that gets its share would be missed once in e^20 times."""


@dataclass
class Counted(AcceptSummary):
    """Sums, and how local each reading was: neighbours in time are not independent.

    Attributes:
        readings: Local connections and all connections of each reading.
    """

    readings: list[tuple[int, int]] = field(default_factory=list)

    def write(self, batch: AcceptBatch) -> None:
        """Add a batch."""
        local, total = self.local, self.total
        super().write(batch)
        self.readings.append((self.local - local, self.total - total))

    @property
    def series(self) -> Series:
        """Accept-local over time."""
        readings = np.array(self.readings, np.int64).reshape(-1, 2)
        return Series(readings[:, 0], readings[:, 1])


class Outcome(Enum):
    """What a change did to the nearness of accepts."""

    BETTER = "better"
    WORSE = "worse"
    NOT_SHOWN = "no difference shown"


@dataclass(frozen=True)
class Watch:
    """Accepts on some ports, in some network namespaces.

    Attributes:
        namespaces: Their inodes; empty for all.
        seen: The threads that accepted so far, by socket.
    """

    source: AcceptSource
    machine: Topology
    namespaces: frozenset[int]
    seen: Seen = field(default_factory=Seen)

    def count(self, seconds: float) -> Counted:
        """Count for so many seconds.

        Raises:
            KeyboardInterrupt: A signal asked to end.
        """
        counted = Counted(self.machine)
        self.hand_to([counted], seconds)
        return counted

    def hand_to(self, sinks: Sequence[Sink[AcceptBatch]], seconds: float) -> None:
        """Hand what is accepted in so many seconds to sinks; see `count` for errors."""
        lost = self.source.read().lost  # what lies in the ring is from before
        begin = time.monotonic()
        within = [_Within(self.namespaces, lost, sink) for sink in (*sinks, Serving(self.seen))]
        stream(self.source, within, duration=seconds)
        if time.monotonic() - begin < seconds:  # what would come next must not
            raise KeyboardInterrupt

    def settle(self) -> None:
        """Let pass what was sent on its way before a change."""
        with interruptible() as wait:
            wait(SETTLE_S)


@dataclass(frozen=True)
class Serving:
    """A sink that notes who accepted on which socket."""

    seen: Seen

    def write(self, batch: AcceptBatch) -> None:
        """Note a batch."""
        self.seen.add(accepted_by(batch.records))


@dataclass(frozen=True)
class _Within:
    """A sink that hands on what is of these namespaces, and lost since the count began."""

    namespaces: frozenset[int]
    lost: int
    sink: Sink[AcceptBatch]

    def write(self, batch: AcceptBatch) -> None:
        records = batch.records
        if self.namespaces:
            records = records[np.isin(records["netns"], list(self.namespaces))]
        self.sink.write(replace(batch, records=records, lost=batch.lost - self.lost))


@contextmanager
def watching(
    machine: Topology, ports: Collection[int], namespaces: Collection[int] = ()
) -> Iterator[Watch]:
    """Attach the accept probe for the time of the block.

    Raises:
        Unsupported: This kernel allows none.
    """
    with AcceptSource(Filter(ports=tuple(ports))) as source:
        yield Watch(source, machine, frozenset(namespaces))


def receiving_cpus(counted: AcceptSummary) -> frozenset[int]:
    """The CPUs that received, or every online one where too few connections tell."""
    received = counted.matrix[:, :-1].sum(axis=0)
    seen = [int(cpu) for cpu in np.flatnonzero(received)]
    return likely_rx_cpus(seen, counted.total, counted.machine.online)


def likely_rx_cpus(seen: Collection[int], total: int, online: Collection[int]) -> frozenset[int]:
    """The CPUs that so many connections were seen to arrive on, or all where they are few."""
    return frozenset(online if total < ENOUGH * len(online) else seen)


def verdict(before: Counted, after: Counted, seconds: float) -> tuple[list[str], Outcome]:
    """Both figures in words, and what a change did.

    A difference of accept-local counts where its interval leaves out zero. Where both are the
    same, as without a worker on any RX CPU, the share on the same core counts, and so on.
    """
    lines = []
    for when, counted in (("before", before), ("after", after)):
        lines.append(
            f"{when}: {percent(share(counted.local, counted.total), 2)} accept-local, "
            f"{counted.total} accepted in {seconds:g} s, {counted.lost} lost"
        )
        if counted.total:
            lines.append(f"  {distance_text(_apart(counted), counted.machine)}")
    change = compare([before.series], [after.series])
    if change is not None and before.local * after.total != after.local * before.total:
        lines.append(f"  {change.sentence.partition(': ')[2]}")
    return lines, outcome(before, after)


def outcome(before: Counted, after: Counted) -> Outcome:
    """What a change did; see `verdict`."""
    if not before.total or not after.total:
        return Outcome.NOT_SHOWN
    was, now = _nearness(before), _nearness(after)
    if was[0] == now[0]:
        return Outcome.BETTER if now > was or was[0] == 1 else Outcome.NOT_SHOWN
    change = compare([before.series], [after.series])
    if change is None or not change.shown:
        return Outcome.NOT_SHOWN
    return Outcome.BETTER if change.effect > 0 else Outcome.WORSE


def _apart(counted: AcceptSummary) -> Counts:
    return by_distance(counted.matrix, counted.machine.distances)


def _nearness(counted: AcceptSummary) -> list[float]:
    """The share of connections at most so far from their RX CPU, by distance."""
    return [near / counted.total for near in accumulate(_apart(counted).values())]
