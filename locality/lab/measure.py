"""Measure the lab with the same sources that the commands use."""

from __future__ import annotations

import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from locality.accept.source import AcceptSource, Filter
from locality.accept.summary import AcceptSummary
from locality.errors import Unsupported
from locality.lab.demo import Measurement
from locality.lab.nginx import PORT
from locality.machine import topology
from locality.skb.source import SkbSource
from locality.skb.wanted import SkbFilter
from locality.summary import Summary

if TYPE_CHECKING:
    from collections.abc import Iterator

    from locality.accept.batch import AcceptBatch
    from locality.lab.demo import Phase
    from locality.lab.namespaces import Namespace
    from locality.lab.recordings import Recordings
    from locality.machine.topology import Topology
    from locality.skb.interval import Interval
    from locality.stream import Sink


SHOWN = 2
"""So many accepts of a phase are kept, to show."""


@dataclass
class FirstAccepts:
    """A sink that keeps the first accepts it is given."""

    batch: AcceptBatch | None = None

    def write(self, batch: AcceptBatch) -> None:
        """Keep the first of a batch, if there are none yet."""
        if self.batch is None and len(batch):
            self.batch = batch.first(SHOWN)


@dataclass(frozen=True)
class Meter:
    """Both sources, attached, and what to count of what they see."""

    accepts: AcceptSource
    packets: SkbSource
    netns: int
    """Accepts are those of the lab's own server, told by its network namespace."""
    machine: Topology
    recordings: Recordings | None = None
    """Where to record, if anywhere."""
    of_server: bool = False
    """Whether packets are those of the server's network namespace, or of the whole machine."""
    refusal: str = ""
    """Why they are not the server's, although that was asked for."""

    interval: ClassVar[float] = 0.1
    """Seconds between readings of the packets: a phase has some dozens, to compare over time."""

    @property
    def whose_packets(self) -> str:
        """Whose packets are counted, in words."""
        if self.of_server:
            return "packets of the server"
        why = f" (not of the server alone: {self.refusal})" if self.refusal else ""
        return f"packets of the whole machine{why}"

    def measure(self, phase: Phase, seconds: float) -> Measurement:
        """Count for so many seconds."""
        accepts = AcceptSummary(self.machine)
        first = FirstAccepts()
        packets: Summary[Interval] = Summary(self.machine)
        with ExitStack() as stack:
            accept_sinks: list[Sink[AcceptBatch]] = [accepts, first]
            packet_sinks: list[Sink[Interval]] = [packets]
            if self.recordings is not None:
                recorders = stack.enter_context(self.recordings.of(phase.name, self))
                accept_sinks.append(recorders[0])
                packet_sinks.append(recorders[1])
            self._count(seconds, accept_sinks, packet_sinks)
        if packets.total is None:
            raise AssertionError("a measurement ends with an interval")
        return Measurement(accepts.total, accepts.local, accepts.lost, packets.total, first.batch)

    def _count(
        self,
        seconds: float,
        accept_sinks: list[Sink[AcceptBatch]],
        packet_sinks: list[Sink[Interval]],
    ) -> None:
        lost = self.accepts.read().lost  # what lay in the ring is from before
        missed = self.packets.read().lost
        begin = time.monotonic()
        end, due = begin + seconds, begin + self.interval
        ended = False
        while not ended:
            time.sleep(max(0.0, min(self.accepts.period, due - time.monotonic())))
            now = time.monotonic()
            ended = now >= end
            batch = self.accepts.read()
            ours = batch.records["netns"] == self.netns
            batch = replace(batch, records=batch.records[ours], lost=batch.lost - lost)
            for accept_sink in accept_sinks:
                accept_sink.write(batch)
            if ended or now >= due:
                due = min(due + self.interval, end)
                interval = self.packets.read()
                interval = replace(interval, lost=interval.lost - missed)
                for packet_sink in packet_sinks:
                    packet_sink.write(interval)


@contextmanager
def measuring(
    server: Namespace, recordings: Recordings | None = None, *, of_server: bool = False
) -> Iterator[Meter]:
    """Attach the probes of both sources for the time of the block.

    Args:
        server: Where the accepts are.
        recordings: Record what is measured there, too.
        of_server: Count only the packets of the server's network namespace, on a kernel that
            has a rung for it. Otherwise those of the whole machine are counted.

    Raises:
        Unsupported: This kernel allows no probe for one of them.
    """
    netns = Path(f"/proc/{server.pid}/ns/net").stat().st_ino
    with AcceptSource(Filter(ports=(PORT,))) as accepts, ExitStack() as stack:
        packets, refusal = _packets(netns if of_server else None)
        stack.enter_context(packets)
        alone = of_server and not refusal
        yield Meter(accepts, packets, netns, topology.read(), recordings, alone, refusal)


def _packets(netns: int | None) -> tuple[SkbSource, str]:
    """The packets of a network namespace; or of the machine, and why not of the namespace."""
    if netns is None:
        return SkbSource(), ""
    try:
        return SkbSource(wanted=SkbFilter(netns=netns)), ""
    except Unsupported as refusal:
        return SkbSource(), str(refusal)
