"""What a trial shows: for each outcome the effect of B against A, its interval and a verdict."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from locality.trial.observation import Outcome


class Verdict(Enum):
    """What the interval of an outcome says; its value is the word for people."""

    BETTER = "better"
    WORSE = "worse"
    NO_DIFFERENCE = "no difference shown"
    NOT_KNOWN = "not known"


@dataclass(frozen=True)
class Interval:
    """Where an effect lies, with a confidence of 95 %.

    Attributes:
        estimate: The effect of B against A, in the scale.
        low: The lower end.
        high: The upper end.
        scale: `relative`: a share of A's value, 0.1 is 10 % more. `difference`: B - A, in the
            outcome's unit; where an outcome can be zero.
        units: Units that it rests on, both arms together.
        method: How it was found, in words.
    """

    estimate: float
    low: float
    high: float
    scale: Literal["relative", "difference"]
    units: int
    method: str

    @property
    def excludes_zero(self) -> bool:
        """Whether a difference is shown."""
        return not self.low <= 0 <= self.high


@dataclass(frozen=True)
class Effect:
    """What a trial shows of one outcome.

    Attributes:
        outcome: Which.
        a: Arm A's value, in the outcome's unit; None if there is none.
        b: Arm B's.
        difference: b - a.
        relative: The effect as a share of A's value; None where A's is zero or not known.
        interval: Of the effect; None where there is too little to tell.
        verdict: By the interval alone.
        smallest: The smallest effect that this run could have shown: with a power of 80 %, in the
            interval's scale; None where there is too little to tell.
        p: Of the randomisation test: how often chance alone gives an effect as large; None
            where there is too little to tell.
        units: Units used, both arms together.
        warnings: What puts this figure in doubt, a sentence each.
    """

    outcome: Outcome
    a: float | None
    b: float | None
    difference: float | None
    relative: float | None
    interval: Interval | None
    verdict: Verdict
    smallest: float | None
    p: float | None
    units: int
    warnings: tuple[str, ...] = ()

    @property
    def low(self) -> float | None:
        """The lower end of the interval, in its scale."""
        return self.interval.low if self.interval else None

    @property
    def high(self) -> float | None:
        """The upper end of the interval, in its scale."""
        return self.interval.high if self.interval else None
