"""What the trials of many hosts show together: an effect for each comparison and outcome."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from locality.fleet.combined import Combined, combine

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

#: An interval is so many standard errors wide, to either side.
_REACH = 1.959964


@dataclass(frozen=True)
class Outcome:
    """One outcome of trials that compared the same.

    Attributes:
        arms: What was compared, A and B.
        name: With its statistic.
        unit: Of the values; effects have it where scale is difference.
        better: lower or higher.
        scale: relative: effects are logarithms of ratios; difference.
        trials: How many.
        hosts: On how many hosts.
        combined: None of fewer than two trials.
        only: The effect of the one trial there is, with its interval; else None.
    """

    arms: tuple[str, str]
    name: str
    unit: str
    better: str
    scale: str
    trials: int
    hosts: int
    combined: Combined | None
    only: tuple[float, float, float] | None

    @property
    def verdict(self) -> str:
        """What the interval of the mean says."""
        if self.combined is not None:
            low, high = self.combined.low, self.combined.high
        elif self.only is not None:
            _, low, high = self.only
        else:
            return "not known"
        if low <= 0 <= high:
            return "no difference shown"
        return "better" if (high < 0) == (self.better == "lower") else "worse"


def outcomes(rows: Sequence[dict[str, Any]]) -> Iterator[Outcome]:
    """The outcomes, by what was compared.

    A trial's standard error is taken from its interval as if it were of a normal distribution. One
    of Student's t, of few blocks, is wider: such a trial then weighs less than it might.
    """
    groups: defaultdict[tuple[str, ...], list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        groups[
            tuple(row[name] for name in ("arm_a", "arm_b", "outcome", "unit", "better", "scale"))
        ].append(row)
    for (arm_a, arm_b, name, unit, better, scale), members in sorted(groups.items()):
        ends = np.array([(one["estimate"], one["low"], one["high"]) for one in members])
        errors = (ends[:, 2] - ends[:, 1]) / (2 * _REACH)
        only = tuple(map(float, ends[0])) if len(members) == 1 else None
        yield Outcome(
            (arm_a, arm_b),
            name,
            unit,
            better,
            scale,
            trials=len(members),
            hosts=len({(one["cluster"], one["host"]) for one in members}),
            combined=combine(ends[:, 0], errors),
            only=only,  # type: ignore[arg-type]  # three of them
        )
