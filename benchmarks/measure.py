"""Rounds, medians, goals: what all benchmarks share."""

from __future__ import annotations

import time
from dataclasses import dataclass
from fractions import Fraction
from itertools import cycle
from statistics import median, quantiles
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

#: A median of fewer says little.
FEWEST_ROUNDS = 11


@dataclass(frozen=True)
class Goal:
    """What a figure should be: at least `low`, at most `high`."""

    low: float = float("-inf")
    high: float = float("inf")

    def met(self, value: float) -> bool:
        """Whether this value is good enough."""
        return self.low <= value <= self.high

    def __str__(self) -> str:
        return f">= {_plain(self.low)}" if self.low > float("-inf") else f"<= {_plain(self.high)}"


def _plain(value: float) -> str:
    """A number as people would give it: 60, 0.05, 1/15."""
    fraction = Fraction(value).limit_denominator(100)
    if fraction.numerator == 1 and abs(float(fraction) - value) < 1e-9 and len(f"{value:g}") > 5:
        return str(fraction)
    return f"{value:g}"


@dataclass(frozen=True)
class Figure:
    """One measured quantity.

    Attributes:
        name: What was measured.
        values: One for each round, in order.
        unit: Of the values.
        goal: What the median should be, if anything.
    """

    name: str
    values: Sequence[float]
    unit: str
    goal: Goal | None = None

    @property
    def median(self) -> float:
        """The figure's value."""
        return median(self.values)

    @property
    def middle(self) -> tuple[float, float]:
        """The range in which the middle half of the rounds lies."""
        if len(self.values) == 1:
            return self.values[0], self.values[0]
        low, _, high = quantiles(self.values, n=4, method="inclusive")
        return low, high

    def __str__(self) -> str:
        low, high = map(number, self.middle)
        line = f"{self.name:<46} {number(self.median):>7} {self.unit:<9} ({low} … {high})"
        if self.goal is not None:
            met = "met" if self.goal.met(self.median) else "MISSED"
            line += f"  goal {self.goal} {met}"
        return line

    def as_dict(self) -> dict[str, Any]:
        """The figure for a JSON file."""
        found: dict[str, Any] = {"name": self.name, "unit": self.unit, "median": self.median}
        found |= {"middle_half": self.middle, "values": list(self.values)}
        if self.goal is not None:
            found |= {"goal": str(self.goal), "met": self.goal.met(self.median)}
        return found


def number(value: float) -> str:
    """Three significant digits, and never an exponent."""
    if abs(value) >= 1000:
        return f"{value:.0f}"
    digits = 3 - len(str(int(abs(value))))
    return f"{value:.{max(0, digits)}f}"


def take_turns(
    contestants: Mapping[str, Callable[[], float]],
    *,
    rounds: int,
    seconds: float = float("inf"),
) -> dict[str, list[float]]:
    """Measure every contestant once a round.

    Every other round goes backwards (A B C, C B A), so that a machine that becomes
    steadily slower is nobody's advantage.

    Args:
        contestants: Each measures itself once when it is called.
        rounds: At most so many.
        seconds: No round begins later than that, but for the first few.

    Returns:
        What each measured, by round.
    """
    found: dict[str, list[float]] = {name: [] for name in contestants}
    orders = cycle([list(contestants), list(contestants)[::-1]])
    end = time.monotonic() + seconds
    for done, order in zip(range(rounds), orders, strict=False):
        if done >= FEWEST_ROUNDS and time.monotonic() > end:
            break
        for name in order:
            found[name].append(contestants[name]())
    return found


def ratios(upper: Sequence[float], lower: Sequence[float]) -> list[float]:
    """How many times larger one is than the other, by rounds in which there was another."""
    return [one / other for one, other in zip(upper, lower, strict=True) if other]


def percent_more(values: Sequence[float], base: Sequence[float]) -> list[float]:
    """By how many percent one exceeds the other, round by round."""
    return [(ratio - 1) * 100 for ratio in ratios(values, base)]
