"""Times from the receipt of packets to their reads, and why CPUs interrupt each other.

Only where it is asked for: while it is attached, the kernel stamps every packet it receives.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from locality.cost.bill import OTHER
from locality.cost.histogram import BUCKETS, EDGES, MIDDLES
from locality.cost.interval import WAIT
from locality.cost.source import CostSource
from locality.cost.stamping import Stamping
from locality.exporter import metrics
from locality.exporter.measures import Measure
from locality.machine.topology import Distance

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from prometheus_client import Metric

    from locality.bpf.ladder import Attachment
    from locality.cost.bill import Bill
    from locality.exporter.measures import Share
    from locality.exporter.metrics import PortLabels
    from locality.filter import Wanted
    from locality.machine.topology import Topology

#: The bounds of a histogram's buckets, ns: every second doubling from 1 us to 17 s.
BOUNDS = 2 ** np.arange(10, 35, 2)

#: Values of the label ``cause``, by what a CPU has another one call.
CAUSES: Mapping[str, str] = {
    "sched_ttwu_pending": "wake_up",
    "rps_trigger_softirq": "rps",
    "trigger_rx_softirq": "deferred_free",
    "flush_tlb_func": "tlb_flush",
    "nohz_csd_func": "load_balancing",
    OTHER: "other",
}
_RESCHEDULING = "rescheduling"


class Latency(Measure):
    """Times of reads; see `CostSource`."""

    name = "latency"

    def __init__(self, machine: Topology, wanted: Wanted) -> None:
        self._machine = machine
        self._source = CostSource(wanted)
        self._stamping: Stamping | None = self._source.stamping
        self._lost = 0
        self._counts = np.zeros((len(Distance), BUCKETS), np.uint64)
        self._causes: Counter[str] = Counter()

    @property
    def attachments(self) -> Sequence[Attachment]:
        """See `Measure`."""
        return self._source.attachments

    def read(self) -> None:
        """See `Measure`."""
        interval = self._source.read()
        self._lost = interval.lost
        waits = interval.times[interval.times["measure"] == WAIT]
        np.add.at(self._counts, (waits["distance"], waits["bucket"]), waits["count"])
        if self._stamping is not None:  # what happened between two windows is in no window
            self._causes.update(by_cause(interval.bill))

    def families(self, ports: PortLabels) -> Iterator[Metric]:
        """See `Measure`."""
        del ports
        latency = metrics.LATENCY.histogram()
        for distance in Distance:
            counts = self._counts[distance]
            if counts.any() or distance in self._machine.classes:
                total = float(counts @ MIDDLES) / 1e9
                latency.add_metric([distance.word], buckets(counts), total)
        yield latency
        interrupts = metrics.INTERRUPTS.counter()
        for cause, count in sorted(self._causes.items()):
            interrupts.add_metric([cause], count)
        if interrupts.samples:
            yield interrupts

    def shares(self) -> Mapping[str, Share]:
        """None: `Reads` has them, of all reads."""
        return {}

    @property
    def lost(self) -> int:
        """See `Measure`."""
        return self._lost

    def detach(self) -> None:
        """See `Measure`; packets are not stamped any more."""
        if self._stamping is not None:
            self.read()  # what the machine paid in this window
        super().detach()
        if self._stamping is not None:
            self._stamping.close()
            self._stamping = None

    def attach(self) -> None:
        """See `Measure`."""
        self.read()  # what the machine paid since the last window is not counted
        self._stamping = Stamping()
        super().attach()

    def close(self) -> None:
        """See `Measure`."""
        if self._stamping is not None:
            self._stamping.close()
        self._source.close()


def by_cause(bill: Bill) -> dict[str, int]:
    """Interrupts between CPUs by the label's value; those that this machine tells."""
    found = Counter[str]()
    if bill.reschedulings is not None:
        found[_RESCHEDULING] = bill.reschedulings
    for function, count in (bill.causes or {}).items():
        found[CAUSES.get(function, CAUSES[OTHER])] += count
    return dict(found)


def buckets(counts: np.ndarray[tuple[int], np.dtype[np.uint64]]) -> list[tuple[str, float]]:
    """The buckets of a histogram as Prometheus wants them: by their ends in seconds, cumulated.

    Args:
        counts: (buckets,) of `locality.cost.histogram`.
    """
    cumulated = np.concatenate([[0], counts.cumsum()])
    # The times of the buckets below an edge are less than it.
    places = np.searchsorted(EDGES, BOUNDS)
    ends = zip(BOUNDS.tolist(), cumulated[places].tolist(), strict=True)
    return [*((repr(ns / 1e9), float(count)) for ns, count in ends), ("+Inf", float(cumulated[-1]))]
