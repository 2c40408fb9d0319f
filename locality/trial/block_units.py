"""The units of a trial by blocks: what was counted in each block, by its arm."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from locality.accept.source import WAIT_KNOWN
from locality.trial.observation import Outcome, units_dtype

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from locality.arrays import Array
    from locality.trial.asked import Asked, Per
    from locality.trial.counters import Reading
    from locality.trial.traffic import Taken

#: A percentile of fewer values than this is none.
_FEWEST = {"p50": 5, "p99": 100}


def outcomes(asked: Asked) -> tuple[Outcome, ...]:
    """What is compared between blocks; the user's own figures come first.

    Raises:
        LocalityError: A metric cannot have the name of another outcome.
    """
    metrics = tuple(
        metric.outcome(primary=place == 0) for place, metric in enumerate(asked.metrics)
    )
    per = asked.per
    return (
        *metrics,
        Outcome(f"cpu_per_{per}", "us", primary=not metrics),
        Outcome(f"softirq_per_{per}", "us"),
        Outcome("queue_wait", "us", summary="p50"),
        Outcome("queue_wait", "us", summary="p99"),
        Outcome("overflows", "1/s"),
        Outcome("drops", "1/s"),
        Outcome("ipis", "1/s"),
    )


@dataclass
class Block:
    """What is accepted in one block, after its wash-out.

    Args:
        ours: The listening sockets.
    """

    ours: frozenset[int]
    accepted: int = 0
    _waits: list[Array] = field(default_factory=list)

    def take(self, taken: Taken) -> None:
        """Take a reading."""
        accepts = taken.accepts[np.isin(taken.inodes, list(self.ours))]
        self.accepted += len(accepts)
        known = (accepts["flags"] & WAIT_KNOWN) > 0
        self._waits.append(accepts["wait"][known] / 1000)

    def wait(self, summary: str) -> float:
        """A percentile of the time in the accept queue, in us; NaN of too few."""
        waits = np.concatenate(self._waits or [np.zeros(0)])
        if len(waits) < _FEWEST[summary]:
            return float("nan")
        return float(np.percentile(waits, float(summary.removeprefix("p"))))

    def values(self, counted: Reading, per: Per, metrics: Mapping[str, float]) -> dict[str, float]:
        """The value of each outcome by its label, and the weight.

        Args:
            counted: What was counted between the block's beginning and its end.
            per: What CPU time is divided by.
            metrics: The figures of the user's commands.
        """
        seconds = counted.time / 1e9
        amount = {
            "connection": self.accepted,
            "packet": counted.packets,
            "byte": counted.bytes,
        }[per]
        return {
            **metrics,
            "weight": float(amount or 0),
            f"cpu_per_{per}": _ratio(counted.cpu, amount) / 1000,
            f"softirq_per_{per}": _ratio(counted.softirq, amount) / 1000,
            "queue_wait p50": self.wait("p50"),
            "queue_wait p99": self.wait("p99"),
            "overflows": _ratio(counted.overflows, seconds),
            "drops": _ratio(counted.drops, seconds),
            "ipis": _ratio(counted.ipis, seconds),
        }


def rows(outcomes: Sequence[Outcome], blocks: Sequence[Mapping[str, Any]]) -> Array:
    """The units of some blocks; each has a value for each field."""
    units = np.zeros(len(blocks), units_dtype(outcomes))
    for place, block in enumerate(blocks):
        for name in units.dtype.names or ():
            units[name][place] = block[name]
    return units


def _ratio(part: float | None, whole: float | None) -> float:
    return float("nan") if part is None or not whole else part / whole
