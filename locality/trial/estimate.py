"""An estimate of the effect of B against A with its interval, as it is worked out.

Numbers here are on the scale of `locality.trial.scale.contrast`: logarithms of ratios, or
differences.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from locality.trial import student

if TYPE_CHECKING:
    from locality.arrays import Array

#: The confidence of an interval, and the power at which an effect counts as one that a run can
#: show.
CONFIDENCE, POWER = 0.95, 0.80
RESAMPLES = 2000
#: Random assignments of the randomisation test.
ASSIGNMENTS = 1999
#: The same units give the same interval, always.
SEED = 20171109
#: Up to so many signs every assignment is tried, and none is drawn.
_ALL_SIGNS = 13


class Estimate(NamedTuple):
    """An effect, and how sure it is."""

    effect: float
    low: float
    high: float
    error: float
    """The standard error."""
    freedom: int
    """The degrees of freedom of the error."""
    p: float
    """Of the randomisation test."""
    method: str
    """Where the interval comes from, in words."""

    @property
    def smallest(self) -> float:
        """The smallest effect that it could have shown."""
        return (self.high - self.low) / 2 + student.quantile(POWER, self.freedom) * self.error


def smallest(error: float, freedom: int) -> float:
    """The smallest effect that an interval of Student's t with this error can show.

    With a power of `POWER`: the interval leaves zero out in so many of all runs.
    """
    level = (1 + CONFIDENCE) / 2
    return (student.quantile(level, freedom) + student.quantile(POWER, freedom)) * error


def widened(draws: Array, parts: int, draw: np.random.Generator) -> tuple[float, float]:
    """The interval around zero that draws of an error make, when they are of few parts.

    A few parts underestimate how much they differ: the draws get the tails of Student's t, and
    n / (n - 1) makes up for the spread being measured around its own mean.

    Args:
        draws: (resamples,) of how far the estimate is from the truth.
        parts: How many blocks or batches were drawn from.
        draw: Random numbers.
    """
    freedom = parts - 1
    widen = np.sqrt(parts / draw.chisquare(freedom, len(draws)))
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.nanpercentile(draws * widen, [tail, 100 - tail])
    return float(low), float(high)


def signs(count: int, draw: np.random.Generator) -> Array:
    """(assignments, count) of 1 and -1: every assignment of two arms to pairs, or random ones."""
    bits: Array
    if count <= _ALL_SIGNS:
        bits = (np.arange(1 << count)[:, None] >> np.arange(count)) & 1
    else:
        raw = np.frombuffer(draw.bytes(ASSIGNMENTS * math.ceil(count / 8)), np.uint8)
        bits = np.unpackbits(raw.reshape(ASSIGNMENTS, -1), axis=1)[:, :count]
    return np.where(bits == 1, np.float32(1), np.float32(-1))


def share_as_large(found: Array, effect: float, count: int) -> float:
    """The p of a randomisation test: how many assignments give an effect as large.

    Args:
        found: (assignments,) the effect with each.
        effect: That of the trial itself.
        count: Pairs or batches: tells whether all assignments were tried.
    """
    # What differs by rounding alone is as large.
    large = int((np.abs(found) >= abs(effect) * (1 - 1e-6)).sum())
    if count <= _ALL_SIGNS:
        return large / len(found)
    return (large + 1) / (len(found) + 1)
