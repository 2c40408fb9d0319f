"""What a trial observes: its outcomes, its plan, and one row for each unit that was randomised.

What runs a trial fills these, and what judges or shows one reads them. There are two plans:

* By connection: a coin chooses the arm of each connection. A unit is a connection.
* By blocks: a setting is switched between two states, in pairs of blocks of time whose order
  within a pair is random. A unit is a block, without the wash-out at its beginning.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from locality.arrays import Array

#: Arms as numbers in the units.
A, B = 0, 1

#: The fact that says which probe type saw the accepts.
PROBE = "probe of accepts"

#: The pair of a unit that belongs to none: every connection.
NO_PAIR = -1

#: The fields of each unit beside one for each outcome; see `units_dtype`.
UNITS: tuple[tuple[str, str], ...] = (
    ("time", "<f8"),
    ("pair", "<i4"),
    ("arm", "u1"),
    ("weight", "<f8"),
    ("washout", "<f8"),
)


@dataclass(frozen=True)
class Outcome:
    """A number that is compared between the arms.

    Attributes:
        name: Such as `queue_wait`, `receipt_to_read`, `rtt`, `lifetime`, `retransmits`,
            `cpu_per_connection`, `softirq_per_connection`, `ipis`, or a user's metric.
        unit: Of its values: `us`, `s`, `count`, ...; empty if it is not known.
        better: Which direction is an improvement.
        summary: Which statistic of an arm is compared. By blocks each unit's value is already
            this statistic of the block, and the word says only how it was made.
        primary: Whether the trial was made to decide this outcome.
    """

    name: str
    unit: str
    better: Literal["lower", "higher"] = "lower"
    summary: Literal["mean", "p50", "p99"] = "mean"
    primary: bool = False

    def __post_init__(self) -> None:
        if not self.name or self.name in {name for name, _ in UNITS}:
            raise ValueError(f"an outcome cannot be called {self.name!r}")

    @property
    def label(self) -> str:
        """The name with the statistic, such as `queue_wait p99`; the field of the units.

        By connection p50 and p99 of a value have a field each, too, with the same values.
        """
        return self.name if self.summary == "mean" else f"{self.name} {self.summary}"


def units_dtype(outcomes: Sequence[Outcome]) -> np.dtype[np.void]:
    """The dtype of the units of a trial with these outcomes.

    Its fields:
        time: f8, seconds since the trial began; of a block, its beginning after the wash-out.
        pair: i4, the pair of blocks, counted from 0; `NO_PAIR` by connection.
        arm: u1, `A` or `B`.
        weight: f8, connections or packets in the block; 1 by connection.
        washout: f8, seconds at the beginning of the block that were thrown away; else 0.
        one f8 for each outcome, in its unit, by its `label`; NaN where it is not known.

    Raises:
        ValueError: Two outcomes have the same field.
    """
    return np.dtype([*UNITS, *((outcome.label, "<f8") for outcome in outcomes)])


@dataclass(frozen=True)
class Design:
    """The plan of a trial: fixed before it begins.

    Attributes:
        kind: What is randomised.
        arms: What the arms are, A and B, in words for people: `as it is`, `attach`, ...
        block_s: Seconds of a block, with its wash-out; 0 by connection.
        washout_s: Seconds at the beginning of each block that are thrown away.
        planned: Units that are wanted, both arms together: blocks or connections.
        seed: Of the random numbers, so that the order can be checked.
        aa: Whether an A/A part runs before: as the trial, but both arms are A.
        lives_s: By blocks: the p99 of the lifetimes of connections, measured before. What lives
            longer than the wash-out carries one arm into the next block. None: not known.
    """

    kind: Literal["connection", "blocks"]
    arms: tuple[str, str]
    planned: int
    seed: int
    block_s: float = 0.0
    washout_s: float = 0.0
    aa: bool = True
    lives_s: float | None = None


@dataclass(frozen=True)
class Trial:
    """A trial, whole or as far as it has come.

    Attributes:
        design: Its plan.
        outcomes: What is compared, in the order in which it is shown.
        units: (units,) of `units_dtype(outcomes)`, in the order in which they became known.
        aa_units: The same of the A/A part before; may be empty. Arms are those that a coin
            chose, though both did the same.
        left_out: How many units or connections are not in `units`, by the reason in words.
        lost: Events that the kernel could not hand over.
        target: What was tried, in words: `port 8080`, ...
        facts: What else must be known to repeat it, by name: host, kernel, CPUs, server, ...
        harm: Why the guard against harm ended the trial; None if it did not.
        restored: Whether all is as it was before; None where it is not known.
        ended_early: Whether the trial ended before all planned units were there, by a person or
            by the guard. Intervals are then anytime-valid.
        began: When `units` began (their time 0): UTC, ns since the epoch; 0: not known.
        kept: The arm that was left in place at the end on request (`--keep-better`), or None.
    """

    design: Design
    outcomes: tuple[Outcome, ...]
    units: Array
    aa_units: Array
    left_out: Mapping[str, int] = field(default_factory=dict)
    lost: int = 0
    target: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)
    harm: str | None = None
    restored: bool | None = None
    ended_early: bool = False
    kept: str | None = None
    began: int = 0

    def __post_init__(self) -> None:
        expected = units_dtype(self.outcomes)
        for units in (self.units, self.aa_units):
            if units.dtype != expected:
                raise ValueError(f"units of {units.dtype} and not of {expected}")
