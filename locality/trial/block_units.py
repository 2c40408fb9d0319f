"""The units of a trial by blocks: what was counted in each block, by its arm."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from locality.accept.batch import WAIT_KNOWN
from locality.errors import LocalityError
from locality.trial.observation import Outcome, units_dtype

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from locality.arrays import Array
    from locality.trial.asked import Per
    from locality.trial.counters import Reading
    from locality.trial.programs import Metric
    from locality.trial.traffic import Taken

#: A percentile of fewer values than this is none.
_FEWEST = {"p50": 5, "p99": 100}


class Figure(Protocol):
    """Something that is compared beside what every trial counts."""

    @property
    def outcomes(self) -> Sequence[Outcome]:
        """What it compares, none of them primary."""

    def begin(self) -> None:
        """A block begins, after its wash-out."""

    def end(self, counted: Reading) -> dict[str, float]:
        """It ends: the value of each outcome by its label.

        Args:
            counted: What was counted since `begin`.
        """


@dataclass
class Accepted:
    """What is accepted in one block, after its wash-out.

    Args:
        ours: The listening sockets.

    Attributes:
        total: All accepts.
        local: Those on the RX CPU.
    """

    ours: frozenset[int]
    total: int = 0
    local: int = 0
    _waits: list[Array] = field(default_factory=list)

    def take(self, taken: Taken) -> None:
        """Take a reading."""
        accepts = taken.accepts[np.isin(taken.inodes, list(self.ours))]
        self.total += len(accepts)
        self.local += int((accepts["cpu"] == accepts["rxcpu"]).sum())
        known = (accepts["flags"] & WAIT_KNOWN) > 0
        self._waits.append(accepts["wait"][known] / 1000)

    def wait(self, summary: str) -> float:
        """A percentile of the time in the accept queue, in us; NaN of too few."""
        waits = np.concatenate(self._waits or [np.zeros(0)])
        if len(waits) < _FEWEST[summary]:
            return float("nan")
        return float(np.percentile(waits, float(summary.removeprefix("p"))))


@dataclass(frozen=True)
class OwnFigures:
    """What every trial by blocks counts, and the figures that commands print.

    Args:
        per: What CPU time is divided by.
        metrics: The user's own figures.
        ours: The listening sockets.
    """

    per: Per
    metrics: Sequence[Metric]
    ours: frozenset[int]

    @property
    def outcomes(self) -> list[Outcome]:
        """The user's figures first.

        Raises:
            LocalityError: A metric cannot have its name.
        """
        return [
            *(metric.outcome() for metric in self.metrics),
            Outcome(f"cpu_per_{self.per}", "us"),
            Outcome(f"softirq_per_{self.per}", "us"),
            Outcome("queue_wait", "us", summary="p50"),
            Outcome("queue_wait", "us", summary="p99"),
            Outcome("overflows", "1/s"),
            Outcome("drops", "1/s"),
            Outcome("ipis", "1/s"),
        ]

    def of(self, counted: Reading, accepted: Accepted) -> dict[str, float]:
        """The value of each outcome by its label, without the metrics; and the weight."""
        seconds = counted.time / 1e9
        amount = {
            "connection": accepted.total,
            "packet": counted.packets,
            "byte": counted.bytes,
        }[self.per]
        return {
            "weight": float(amount or 0),
            f"cpu_per_{self.per}": ratio(counted.cpu, amount) / 1000,
            f"softirq_per_{self.per}": ratio(counted.softirq, amount) / 1000,
            "queue_wait p50": accepted.wait("p50"),
            "queue_wait p99": accepted.wait("p99"),
            "overflows": ratio(counted.overflows, seconds),
            "drops": ratio(counted.drops, seconds),
            "ipis": ratio(counted.ipis, seconds),
        }


def outcomes(figures: Sequence[Figure], own: OwnFigures) -> tuple[Outcome, ...]:
    """What is compared between blocks; the first is the primary outcome.

    Raises:
        LocalityError: Two have the same name.
    """
    others = [outcome for figure in figures for outcome in figure.outcomes]
    every = [*others, *own.outcomes]
    labels = [outcome.label for outcome in every]
    if twice := {label for label in labels if labels.count(label) > 1}:
        raise LocalityError(
            f"two figures are called {min(twice)!r}: choose another name for --metric", exit_code=2
        )
    return (replace(every[0], primary=True), *every[1:])


def rows(outcomes: Sequence[Outcome], blocks: Sequence[Mapping[str, Any]]) -> Array:
    """The units of some blocks; each has a value for each field."""
    units = np.zeros(len(blocks), units_dtype(outcomes))
    for place, block in enumerate(blocks):
        for name in units.dtype.names or ():
            units[name][place] = block[name]
    return units


def ratio(part: float | None, whole: float | None) -> float:
    """A quotient; NaN where a part is not known or the whole is nothing."""
    return float("nan") if part is None or not whole else part / whole
