"""The collector: reads the kernel's counters when metrics are asked for."""

from __future__ import annotations

import platform
import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING, Protocol

from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector, CollectorRegistry

from locality import __version__
from locality.bpf.ladder import require_rung
from locality.errors import Unsupported
from locality.exporter import metrics
from locality.exporter.measures import RUNGS, Accepts, Packets, Reads
from locality.text import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

    from prometheus_client import Metric

    from locality.exporter.measures import Measure
    from locality.filter import Wanted
    from locality.machine.topology import Topology

#: Of a kernel's release, which whoever builds it chooses.
_LONGEST_RELEASE = 64


class Part(Protocol):
    """Something beside the measurements that has metrics."""

    def families(self, ports: metrics.PortLabels) -> Iterable[Metric]:
        """Its metrics."""
        ...


def open_measures(
    machine: Topology,
    names: Collection[str],
    wanted: Wanted,
    ports: metrics.PortLabels,
    tell: Callable[[str], None],
    *,
    rung: str | None = None,
) -> list[Measure]:
    """Attach the probes of measurements; what this kernel does not allow is told and left out.

    Args:
        machine: This machine's CPUs.
        names: Of `MEASURES`; one that is given twice is attached once.
        wanted: Which sockets' events.
        ports: Which have series of their own.
        tell: Takes a line.
        rung: Use this probe type for those that have it; None takes the best of each.

    Raises:
        LocalityError: None of them is allowed here, or there is no such probe type.
    """
    require_rung(rung, sorted(RUNGS))
    found: list[Measure] = []
    refused: dict[str, list[str]] = {}
    with ExitStack() as stack:
        for name in dict.fromkeys(names):
            try:
                measure = MEASURES[name](machine, wanted, ports, rung)
            except Unsupported as refusal:
                refused.setdefault(str(refusal), []).append(name)
                continue
            stack.callback(measure.close)
            found.append(measure)
        lines = [f"{', '.join(some)}: not measured: {why}" for why, some in refused.items()]
        if not found:
            raise Unsupported("; ".join(lines))
        stack.pop_all()
    for line in lines:
        tell(line)
    return found


def _accepts(
    machine: Topology, wanted: Wanted, _ports: metrics.PortLabels, rung: str | None
) -> Measure:
    return Accepts(machine, wanted, rung)


def _packets(
    machine: Topology, wanted: Wanted, _ports: metrics.PortLabels, rung: str | None
) -> Measure:
    # Those of all ports: a packet that is sent back to its CPU would have to remember its socket.
    return Packets(machine, wanted.netns, rung)


def _latency(
    machine: Topology, wanted: Wanted, _ports: metrics.PortLabels, _rung: str | None
) -> Measure:
    from locality.exporter.latency import Latency  # noqa: PLC0415 - if it is asked for

    return Latency(machine, wanted)


#: By name: attaches the probes.
MEASURES: dict[str, Callable[[Topology, Wanted, metrics.PortLabels, str | None], Measure]] = {
    "accepts": _accepts,
    "packets": _packets,
    "reads": Reads,
    "latency": _latency,
}


class Exporter(Collector):
    """All metrics of this machine.

    Args:
        measures: Their probes are attached.
        ports: Which have series of their own.
        most_series: No more are given out.
        parts: What has more metrics.
        lock: Held by who reads the counters.
        run_times: Whether the kernel measures how long programs run.
    """

    def __init__(
        self,
        measures: Sequence[Measure],
        ports: metrics.PortLabels,
        *,
        most_series: int = metrics.MOST_SERIES,
        parts: Sequence[Part] = (),
        lock: threading.Lock | None = None,
        run_times: bool = False,
    ) -> None:
        self._run_times = run_times
        self.measures = measures
        self.lock = lock or threading.Lock()
        self._ports = ports
        self._most = most_series
        self._parts = parts
        self._process = ProcessCollector(registry=None)

    @property
    def registry(self) -> CollectorRegistry:
        """A registry with this collector alone."""
        registry = CollectorRegistry(auto_describe=False)
        registry.register(self)
        return registry

    def describe(self) -> Iterable[Metric]:
        """Nothing is read to find out the names."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """The metrics now; one request at a time."""
        with self.lock:
            for measure in self.measures:
                measure.read()
            yield from [*metrics.bounded(self._families(), self._most)]

    def _families(self) -> Iterator[Metric]:
        """What matters most comes first: it is left out last."""
        info = metrics.INFO.info()
        info.add_metric([], self._info())
        yield info
        lost = metrics.LOST.counter()
        for measure in self.measures:
            lost.add_metric([measure.name], measure.lost)
        yield lost
        for measure in self.measures:
            yield from measure.families(self._ports)
        left_out = metrics.PORTS_LEFT_OUT.gauge()
        left_out.add_metric([], self._ports.left_out)
        yield left_out
        for part in self._parts:
            yield from part.families(self._ports)
        if self._run_times:
            yield from self._times()
        yield from self._process.collect()

    def _times(self) -> Iterator[Metric]:
        seconds, runs = metrics.PROBE_SECONDS.counter(), metrics.PROBE_RUNS.counter()
        for measure in self.measures:
            spent, count = measure.run_times()
            seconds.add_metric([measure.name], spent)
            runs.add_metric([measure.name], count)
        yield seconds
        yield runs

    def _info(self) -> dict[str, str]:
        rungs = {measure.name: measure.attachments[0].name for measure in self.measures}
        release = printable(platform.release())[:_LONGEST_RELEASE]
        return {"version": __version__, "kernel": release, **rungs}
