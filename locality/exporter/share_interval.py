"""The share of what is local, known from random windows of time, with an interval.

What happens within one window is alike: a burst of connections goes to one worker. So not each
event is drawn at random, but each window, with all its events (a cluster). The share is the ratio
of two sums over windows, its variance that of the jackknife, which leaves out one window at a time
(Cochran, Sampling Techniques, 1977, 6.4 and 6.17). The interval is Student's t, on the scale of
logits: near 0 and 100 % it is not symmetric.

Where all windows are alike, as at 100 % local, that variance is 0 and says nothing. So the interval
is never narrower than that of Wilson (1927) for as many independent events.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from locality.trial.student import quantile

if TYPE_CHECKING:
    from collections.abc import Sequence

CONFIDENCE = 0.95
LEVEL = (1 + CONFIDENCE) / 2
#: With fewer windows that had any events, no interval is told.
FEWEST = 5


class Interval(NamedTuple):
    """A share, from 0 to 1, and the interval that has the share of the whole time in it."""

    share: float
    low: float
    high: float


def interval(windows: Sequence[tuple[int, int]]) -> Interval | None:
    """The share over windows.

    Args:
        windows: What was local in each, and of how many.

    Returns:
        None if too little was seen.
    """
    seen = [(local, total) for local, total in windows if total]
    if len(seen) < FEWEST:
        return None
    total = sum(count for _, count in seen)
    all_local = sum(local for local, _ in seen)
    share = all_local / total
    without = [(all_local - local) / (total - count) for local, count in seen]
    freedom = len(seen) - 1
    variance = sum((one - share) ** 2 for one in without) * freedom / len(seen)
    low, high = _wilson(share, total)
    if 0 < share < 1:
        logit = math.log(share / (1 - share))
        reach = quantile(LEVEL, freedom) * math.sqrt(variance) / (share * (1 - share))
        low, high = min(low, _share_at(logit - reach)), max(high, _share_at(logit + reach))
    return Interval(share, max(0.0, low), min(1.0, high))


def _share_at(logit: float) -> float:
    return 0.5 + 0.5 * math.tanh(logit / 2)


def _wilson(share: float, count: int) -> tuple[float, float]:
    z = quantile(LEVEL, 10**6)
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    reach = z / (1 + z * z / count)
    reach *= math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return middle - reach, middle + reach
