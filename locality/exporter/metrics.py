"""The metrics: their names, labels and meanings, and how many series there may be.

Names follow Prometheus' conventions: base units, ``_total`` for what only grows. A label never has
a value from outside this program but for the kernel's release and numbers of ports, and of those
there are only so many.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
)

from locality.machine.topology import Distance

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from prometheus_client import Metric

    from locality.arrays import Array
    from locality.machine.topology import Topology

#: Series of one host unless another number is asked for.
MOST_SERIES = 300
#: Series that have no label ``port``, at most, and those of one port, on a machine with every
#: distance: 114 and two values of the label that are no ports; accepts, reads and three gauges.
_WITHOUT_PORT, _PER_PORT = 140, 15
#: Those of `LATENCY` and `INTERRUPTS`, if they are measured.
_OF_LATENCY = 103
#: What is counted under no port of its own, and reads of connections that this machine opened.
OTHER, OUTGOING = "other", "outgoing"


@dataclass(frozen=True)
class Definition:
    """One metric.

    Attributes:
        name: As Prometheus shows it.
        kind: counter, gauge, histogram or info.
        help: One sentence.
        labels: Their names, in order.
    """

    name: str
    kind: str
    help: str
    labels: tuple[str, ...] = ()

    def counter(self) -> CounterMetricFamily:
        """An empty family of this metric, a counter."""
        return CounterMetricFamily(self.name.removesuffix("_total"), self.help, labels=self.labels)

    def gauge(self) -> GaugeMetricFamily:
        """The same for a gauge."""
        return GaugeMetricFamily(self.name, self.help, labels=self.labels)

    def histogram(self) -> HistogramMetricFamily:
        """The same for a histogram."""
        return HistogramMetricFamily(self.name, self.help, labels=self.labels)

    def info(self) -> InfoMetricFamily:
        """The same for constant labels."""
        return InfoMetricFamily(self.name.removesuffix("_info"), self.help)


ACCEPTS = Definition(
    "locality_accepts_total",
    "counter",
    "Accepted connections by port and by the distance of accept CPU and RX CPU.",
    ("port", "distance"),
)
ACCEPT_WAIT = Definition(
    "locality_accept_wait_seconds",
    "histogram",
    "Time that accepted connections waited in the accept queue.",
)
PACKETS = Definition(
    "locality_packets_total",
    "counter",
    "Packets by what happened to them, and the distance to the CPU that allocated them.",
    ("direction", "outcome", "distance"),
)
DEFERRED = Definition(
    "locality_packets_deferred_total",
    "counter",
    "Packets that were sent back to the CPU that allocated them, to be freed there.",
    ("direction",),
)
READS = Definition(
    "locality_reads_total",
    "counter",
    "Reads of TCP and UDP sockets by port and by the distance of reading CPU and RX CPU.",
    ("port", "distance"),
)
SOCKETS = Definition(
    "locality_reuseport_sockets",
    "gauge",
    "Sockets of the SO_REUSEPORT groups on a port.",
    ("port",),
)
EFFECTIVE = Definition(
    "locality_reuseport_effective_sockets",
    "gauge",
    "How many threads share the reads of a SO_REUSEPORT group, as if evenly.",
    ("port",),
)
ATTAINABLE = Definition(
    "locality_attainable_ratio",
    "gauge",
    "Share of accepts that would be local if each CPU's connections went to the nearest worker.",
    ("port",),
)
FINDINGS = Definition(
    "locality_findings",
    "gauge",
    "Findings of locality doctor, by check and by how bad they are.",
    ("code", "severity"),
)
LOOKED = Definition(
    "locality_findings_timestamp_seconds",
    "gauge",
    "When settings and groups were read last, in seconds since the epoch.",
)
CHANGES = Definition(
    "locality_changes_total",
    "counter",
    "Changes of settings and groups that were seen, by who probably made them.",
    ("kind", "cause"),
)
LOCAL = Definition(
    "locality_local_ratio",
    "gauge",
    "Share that is local in the last windows, and the ends of its 95 % interval.",
    ("measure", "bound"),
)
WINDOWS = Definition(
    "locality_windows_total",
    "counter",
    "Windows in which the probes were attached.",
)
ATTACHED = Definition(
    "locality_attached_seconds_total",
    "counter",
    "Time that the probes were attached.",
)
PROBE_SECONDS = Definition(
    "locality_probe_seconds_total",
    "counter",
    "CPU time in the probes' programs.",
    ("probe",),
)
PROBE_RUNS = Definition(
    "locality_probe_runs_total",
    "counter",
    "Runs of the probes' programs.",
    ("probe",),
)
LATENCY = Definition(
    "locality_receive_latency_seconds",
    "histogram",
    "Time from the receipt of a packet to its read, by the distance of their CPUs.",
    ("distance",),
)
INTERRUPTS = Definition(
    "locality_interprocessor_interrupts_total",
    "counter",
    "Interrupts by which a CPU had another one do something.",
    ("cause",),
)
LOST = Definition(
    "locality_events_lost_total",
    "counter",
    "Events that the probes may have missed.",
    ("probe",),
)
WRITE_FAILURES = Definition(
    "locality_textfile_write_failures_total",
    "counter",
    "Times that the file of --textfile could not be written.",
)
PORTS_LEFT_OUT = Definition(
    "locality_ports_left_out",
    "gauge",
    'Ports without series of their own: they are counted under port="other".',
)
SERIES_LEFT_OUT = Definition(
    "locality_series_left_out",
    "gauge",
    "Series that were left out because there would be more than the bound.",
)
INFO = Definition("locality_info", "info", "Version, kernel, and the probe type of each probe.")

#: All of them.
DEFINITIONS = tuple(value for value in [*globals().values()] if isinstance(value, Definition))


class PortLabels:
    """Which ports have series of their own.

    A port that has a label keeps it, and one that had none when it was seen first gets none: else a
    counter would go back.

    Args:
        most: How many.
        first: These have one in any case.
    """

    def __init__(self, most: int, first: Collection[int] = ()) -> None:
        self._most = max(most, len(first))
        self._named = {port: str(port) for port in first}
        self._others = np.zeros(1 << 16, bool)  # a set of ports that grows takes 50 times as much

    def see(self, ports: Array, counts: Array) -> None:
        """Give new ports a label while there are some, the busiest first.

        Args:
            ports: (ports,) their numbers.
            counts: (ports,) how much was counted of each.
        """
        for port in ports[np.argsort(-counts.astype(np.int64), kind="stable")].tolist():
            if port in self._named or self._others[port]:
                continue
            if len(self._named) < self._most:
                self._named[port] = str(port)
            else:
                self._others[port] = True

    def label(self, port: int) -> str:
        """The value of the label for a port."""
        return self._named.get(port, OTHER)

    @property
    def left_out(self) -> int:
        """Ports that were seen and have none."""
        return int(self._others.sum())


def ports_for(most_series: int, *, latency: bool = False) -> int:
    """How many ports can have series of their own.

    Args:
        most_series: Of all metrics.
        latency: Whether times of reads are measured.
    """
    left = most_series - _WITHOUT_PORT - _OF_LATENCY * latency
    return max(1, left // _PER_PORT)


def summed(
    labels: PortLabels, ports: Array, counts: Array, others: Array | None = None
) -> dict[str, Array]:
    """Counts by label.

    Args:
        labels: Has seen these ports.
        ports: (ports,) their numbers; one may come twice.
        counts: (ports, columns) what was counted.
        others: (columns,) what was counted of no port in particular.
    """
    sums: dict[str, Array] = {}
    for port, row in zip(ports.tolist(), counts, strict=True):
        label = labels.label(port)
        sums[label] = sums[label] + row if label in sums else row
    if others is not None and others.any():
        sums[OTHER] = sums[OTHER] + others if OTHER in sums else others
    return sums


def add_distances(
    family: CounterMetricFamily, labels: Sequence[str], counts: Sequence[int], machine: Topology
) -> None:
    """Add a series for each distance that this machine has, or that was counted.

    Args:
        family: Its last label is ``distance``.
        labels: The values of the others.
        counts: By the place of `Distance`.
        machine: This machine's CPUs.
    """
    for distance in Distance:
        count = int(counts[distance])
        if count or distance in machine.classes or distance is Distance.UNKNOWN:
            family.add_metric([*labels, distance.word], count)


def bounded(families: Iterable[Metric], most: int) -> Iterator[Metric]:
    """The same, with no more than so many series; the last one says how many were left out.

    A family goes as a whole, for a part of a histogram or of a sum means something else. What comes
    first stays.
    """
    left_out = SERIES_LEFT_OUT.gauge()
    room, missing = most - 1, 0
    for family in families:
        if len(family.samples) > room:
            missing += len(family.samples)
            continue
        room -= len(family.samples)
        yield family
    left_out.add_metric([], missing)
    yield left_out
