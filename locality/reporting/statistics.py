"""Before and after: how far a share moved, and how sure that is.

Packets of one connection are not independent of each other, and neither are connections
that follow one another: a worker that is busy now is busy in the next millisecond. An
interval that takes each for a fresh draw is far too narrow. So recordings are compared in
one of two ways:

* Several runs on each side: each run gives one share, and the spread between runs is the
  uncertainty. The interval is that of Behrens and Fisher (two means, each with a Student's
  t of its own), drawn by simulation. A bootstrap of three runs would be too narrow.
* Otherwise: a circular block bootstrap over time. Each run is cut into blocks of
  neighbouring bins, as many blocks are drawn at random with replacement, and the spread of
  the share over many such draws is the uncertainty. Blocks are as long as the run's memory
  is found to be. It knows nothing of what differs between two starts of the same server,
  and says so in `Change.method`.

Sources: Politis and Romano 1992 (circular block bootstrap); Politis and White 2004 with
the correction of Patton, Politis and White 2009 (length of blocks).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from locality.text import percent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from locality.arrays import Array


LEVEL = 95.0
RESAMPLES = 4000
#: The same recordings give the same interval, always.
SEED = 20171109
#: Fewer blocks than this on one side say nothing about how blocks differ.
FEWEST_BLOCKS = 4


@dataclass(frozen=True)
class Series:
    """One run, counted in bins of equal length.

    Attributes:
        local: (bins,) what was local in each bin.
        total: (bins,) all of it; a bin may be empty.
    """

    local: Array
    total: Array

    def __post_init__(self) -> None:
        if self.local.shape != self.total.shape or self.local.ndim != 1:
            raise ValueError(f"shapes {self.local.shape} and {self.total.shape}")

    @property
    def share(self) -> float | None:
        """Percent local over the whole run; None of nothing."""
        total = float(self.total.sum())
        return 100 * float(self.local.sum()) / total if total else None


@dataclass(frozen=True)
class Change:
    """What two sides differ by.

    Attributes:
        before: Percent local before; the mean over runs.
        after: Percent local after; the mean over runs.
        interval: Where after - before lies with a confidence of `LEVEL` percent, in
            percentage points; None if there is too little to tell.
        method: Where the interval comes from, in words.
    """

    before: float
    after: float
    interval: tuple[float, float] | None
    method: str

    @property
    def effect(self) -> float:
        """How far the share moved, in percentage points."""
        return self.after - self.before

    @property
    def shown(self) -> bool:
        """Whether a difference is shown: there is an interval, and zero lies outside."""
        return self.interval is not None and not self.interval[0] <= 0 <= self.interval[1]

    @property
    def sentence(self) -> str:
        """The change with its interval, for people."""
        sides = f"{percent(self.before, 2)} before, {percent(self.after, 2)} after"
        if self.interval is None:
            return f"{sides}: {self.effect:+.2f} percentage points, no interval; {self.method}"
        low, high = self.interval
        interval = f"{LEVEL:.0f} % interval {low:+.2f} to {high:+.2f}"
        found = f"{self.effect:+.2f} percentage points, {interval}"
        if self.shown:
            return f"{sides}: {found}"
        return f"{sides}: no difference shown ({found})"


def compare(
    before: Sequence[Series], after: Sequence[Series], *, resamples: int = RESAMPLES
) -> Change | None:
    """Compare two sides of one or more runs each; None if a side counted nothing.

    Runs that counted nothing are left out. With two or more runs on each side these are
    compared as runs, otherwise the block bootstrap is taken: see the module.
    """
    sides = [[run for run in side if run.share is not None] for side in (before, after)]
    if not all(sides):
        return None
    shares = [np.array([run.share for run in side], dtype=np.float64) for side in sides]
    one, other = (float(share.mean()) for share in shares)
    draw = np.random.default_rng(SEED)
    if min(map(len, sides)) > 1:
        spreads = [_between_runs(share, resamples, draw) for share in shares]
        method = f"each of {len(sides[0])} + {len(sides[1])} runs is one observation"
        return Change(one, other, _interval(other - one, spreads), method)
    lengths = [[block_length(run) for run in side] for side in sides]
    for side, its_lengths in zip(sides, lengths, strict=True):
        for run, length in zip(side, its_lengths, strict=True):
            if len(run.total) < FEWEST_BLOCKS * length:
                method = f"a recording of {len(run.total)} bins is too short to tell"
                return Change(one, other, None, method)
    spreads = [
        np.mean(
            [
                _within_run(run, length, resamples, draw)
                for run, length in zip(side, its_lengths, strict=True)
            ],
            axis=0,
        )
        for side, its_lengths in zip(sides, lengths, strict=True)
    ]
    method = (
        "block bootstrap over time within each recording; what differs from run to run is "
        "not in it: record several runs of each side for that"
    )
    interval = _interval(other - one, spreads)
    return Change(one, other, interval, method if interval else "too few events to tell")


def _interval(effect: float, spreads: Sequence[Array]) -> tuple[float, float] | None:
    """The middle `LEVEL` percent of effect + draws; a share can move by 100 points at most."""
    before, after = spreads
    draws = after - before
    counted = draws[~np.isnan(draws)]
    # Where most draws meet only empty bins, the rest is no picture of the whole.
    if len(counted) < len(draws) / 2:
        return None
    tail = (100 - LEVEL) / 2
    low, high = effect + np.percentile(counted, [tail, 100 - tail])
    return max(-100.0, float(low)), min(100.0, float(high))


def _between_runs(shares: Array, resamples: int, draw: np.random.Generator) -> Array:
    """Draws of how far the mean of these runs is from the truth."""
    error = float(shares.std(ddof=1)) / math.sqrt(len(shares))
    return error * draw.standard_t(len(shares) - 1, resamples)


def _within_run(run: Series, length: int, resamples: int, draw: np.random.Generator) -> Array:
    """Draws of how far this run's share is from the truth; NaN for a draw of nothing."""
    bins = len(run.total)
    blocks = round(bins / length)
    starts = draw.integers(0, bins, (resamples, blocks))
    sums = []
    for counts in (run.local, run.total):
        # A block that leaves at the end comes in again at the beginning.
        around = np.concatenate([[0], np.cumsum(np.concatenate([counts, counts[:length]]))])
        sums.append((around[starts + length] - around[starts]).sum(axis=1))
    local, total = sums
    share = 100 * np.divide(local, total, out=np.full(resamples, np.nan), where=total > 0)
    # A few blocks underestimate their own spread: the draws get the tails of Student's t,
    # and n / (n - 1) makes up for the spread being measured around its own mean.
    freedom = blocks - 1
    widen = np.sqrt(blocks / freedom * freedom / draw.chisquare(freedom, resamples))
    return np.asarray((share - (run.share or 0.0)) * widen)


def block_length(run: Series) -> int:
    """How many neighbouring bins hang together: the length of a block, at least 1.

    The rule of Politis and White, on what each bin adds to the share: local - share * total. It
    is never below the cube root of the number of bins, the length that suits when a short run
    shows no memory, and leaves `FEWEST_BLOCKS` if it can.
    """
    bins = len(run.total)
    floor = max(1, round(float(bins ** (1 / 3))))
    adds = run.local - (run.share or 0.0) / 100 * run.total
    # Rounding leaves dust where every bin has the same share.
    dust = 1e-18 * float(run.total @ run.total)
    spread = adds - adds.mean()
    if bins < 2 * FEWEST_BLOCKS or float(spread @ spread) <= dust:
        return floor
    length = math.ceil(politis_white(adds))
    return max(floor, min(length, math.ceil(3 * math.sqrt(bins)), bins // FEWEST_BLOCKS))


def politis_white(values: Array) -> float:
    """The length of blocks that suits values with this memory, by the rule of Politis and White.

    Args:
        values: (n,) in their order, not all the same, at least 3 of them.

    Returns:
        For the circular bootstrap; 0 where the rule gives none.
    """
    count = len(values)
    values = values - values.mean()
    covariance = np.correlate(values, values, "full")[count - 1 :] / count
    correlation = covariance / covariance[0]
    # The memory ends where so many correlations in a row are no more than noise.
    row = max(5, math.ceil(math.sqrt(math.log10(count))))
    noise = 2 * math.sqrt(math.log10(count) / count)
    loud = np.flatnonzero(np.abs(correlation[1:]) > noise) + 1
    gaps = np.diff(np.concatenate([[0], loud, [count + row]]))
    memory = int(np.concatenate([[0], loud])[np.argmax(gaps > row)])
    reach = min(2 * max(memory, 1), count - 1)
    lags = np.arange(-reach, reach + 1)
    weight = np.clip(2 * (1 - np.abs(lags) / reach), 0, 1)
    around = weight * covariance[np.abs(lags)]
    variance, slope = float(around.sum()), float((np.abs(lags) * around).sum())
    if variance <= 0:
        return 0.0
    return float((2 * slope**2 / (4 / 3 * variance**2) * count) ** (1 / 3))
