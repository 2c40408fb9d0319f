"""Connections: the difference of a statistic of the two arms.

A coin chose the arm of each connection, so the arms differ by chance and by what is tried alone.
But connections that follow one another share a queue, a busy worker, a burst of the client: they
are no fresh draws. So consecutive connections are taken together as batches, and batches are what
is drawn with replacement (a cluster bootstrap), for the mean as for a percentile.

The randomisation test exchanges the arms of whole batches: the coins of a batch might as well have
fallen the other way, all of them.

Sources: Cameron, Gelbach and Miller, Bootstrap-based improvements for inference with clustered
errors, Review of Economics and Statistics 90 (2008); Deng, Knoblich and Lu, Applying the delta
method in metric analytics, KDD 2018 (percentiles and clusters).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from locality.trial import scale as scales
from locality.trial.estimate import RESAMPLES, SEED, Estimate, share_as_large, signs, widened
from locality.trial.observation import A, B

if TYPE_CHECKING:
    from locality.arrays import Array
    from locality.trial.scale import Scale

#: Batches, where there are connections enough; and the fewest that say how they differ.
_BATCHES, FEWEST_BATCHES = 40, 8
#: The fewest connections of a batch.
_FEWEST_OF_BATCH = 10
#: The fewest connections of an arm that lie beyond a percentile.
FEWEST_BEYOND = 5
#: The rank of the statistics that are percentiles.
RANKS = {"p50": 0.50, "p99": 0.99}
#: A percentile is looked for among at most so many values.
_CANDIDATES = 256


class Connections(NamedTuple):
    """Connections whose value is known, in the order of time."""

    values: Array
    """(connections,) in the outcome's unit."""
    arm: Array
    """(connections,) `A` or `B`."""
    summary: str
    """The statistic: mean, p50 or p99."""
    scale: Scale


def connections_of(units: Array, label: str, summary: str) -> Connections:
    """The connections of some units.

    Args:
        units: (connections,) as of `locality.trial.observation.units_dtype`.
        label: The outcome's field.
        summary: Its statistic.
    """
    known = units[np.isfinite(units[label])]
    known = known[np.argsort(known["time"], kind="stable")]
    values = np.ascontiguousarray(known[label])
    return Connections(values, known["arm"], summary, scales.of_connections(values))


def statistic(values: Array, summary: str) -> float:
    """The mean or a percentile of some values, of which there is at least one."""
    if summary == "mean":
        return float(values.mean())
    return float(np.quantile(values, RANKS[summary], method="inverted_cdf"))


def fewest(summary: str) -> int:
    """The fewest connections of an arm of which the statistic says anything."""
    if summary == "mean":
        return FEWEST_BATCHES * _FEWEST_OF_BATCH // 4
    rank = RANKS[summary]
    return max(fewest("mean"), math.ceil(round(FEWEST_BEYOND / min(rank, 1 - rank), 6)))


def estimate(connections: Connections) -> Estimate | None:
    """The difference of the arms; None of too few connections, or if all values are zero."""
    values, arm, summary, scale = connections
    count = min(_BATCHES, len(values) // _FEWEST_OF_BATCH)
    least = min(int((arm == side).sum()) for side in (A, B))
    if count < FEWEST_BATCHES or least < fewest(summary) or not values.any():
        return None
    batch = np.arange(len(values)) * count // len(values)
    cell = batch + count * (arm == B)
    cells: _Cells = (
        _Means(values, cell, 2 * count)
        if summary == "mean"
        else _Percentiles(values, cell, 2 * count, RANKS[summary])
    )
    draw = np.random.default_rng(SEED)

    def effects(of_a: Array, of_b: Array) -> Array:
        return scales.contrast(cells.statistics(of_a), cells.statistics(of_b), scale)

    none = np.zeros((1, count))
    (at,) = effects(np.hstack([none + 1, none]), np.hstack([none, none + 1]))
    flipped = (signs(count, draw) + 1) / 2
    p = share_as_large(
        effects(np.hstack([flipped, 1 - flipped]), np.hstack([1 - flipped, flipped])), at, count
    )
    chosen = draw.integers(0, count, (RESAMPLES, count)) + count * np.arange(RESAMPLES)[:, None]
    drawn = np.bincount(chosen.ravel(), minlength=RESAMPLES * count).reshape(RESAMPLES, count)
    none = np.zeros_like(drawn)
    draws = effects(np.hstack([drawn, none]), np.hstack([none, drawn])) - at
    # Where most draws leave an arm without a value, the rest is no picture of the whole.
    if np.isnan(draws).sum() > RESAMPLES / 2 or not math.isfinite(at):
        return None
    below, above = widened(draws, count, draw)
    one, other = (statistic(values[arm == side], summary) for side in (A, B))
    effect = float(scales.contrast(one, other, scale))
    error = float(np.nanstd(draws)) * math.sqrt(count / (count - 1))
    method = f"bootstrap over {count} batches of consecutive connections"
    return Estimate(effect, effect + below, effect + above, error, count - 1, p, method)


class _Cells(ABC):
    """Values by cell: a batch's connections of one arm. Gives statistics of weighted cells."""

    @abstractmethod
    def statistics(self, weights: Array) -> Array:
        """(draws,) the statistic where each cell counts so many times.

        Args:
            weights: (draws, cells). NaN where nothing counts.
        """


class _Means(_Cells):
    def __init__(self, values: Array, cell: Array, cells: int) -> None:
        self._sums = np.bincount(cell, values, cells)
        self._counts = np.bincount(cell, minlength=cells).astype(np.float64)

    def statistics(self, weights: Array) -> Array:
        counts = weights @ self._counts
        none = np.full(len(weights), np.nan)
        return np.asarray(np.divide(weights @ self._sums, counts, out=none, where=counts > 0))


class _Percentiles(_Cells):
    """The percentile of cells together lies between those of the cells: only there is it looked.

    What is kept of each cell is how many of its values are at most each candidate.
    """

    def __init__(self, values: Array, cell: Array, cells: int, rank: float) -> None:
        self._rank = rank
        order = np.lexsort((values, cell))
        bounds = np.searchsorted(cell[order], np.arange(cells + 1))
        by_cell = [values[order[low:high]] for low, high in pairwise(bounds)]
        alone = [one[math.ceil(rank * len(one)) - 1] for one in by_cell if len(one)]
        between = np.unique(values[(values >= min(alone)) & (values <= max(alone))])
        if len(between) > _CANDIDATES:
            between = between[np.linspace(0, len(between) - 1, _CANDIDATES).astype(np.int64)]
        self._candidates = between
        # Halves the time that the products take; counts are still exact.
        self._counts = np.array([len(one) for one in by_cell], np.float32)
        below = [np.searchsorted(one, between, "right") for one in by_cell]
        self._below = np.array(below, np.float32)

    def statistics(self, weights: Array) -> Array:
        weights = weights.astype(np.float32)
        wanted = self._rank * (weights @ self._counts)
        reached = weights @ self._below >= wanted[:, None] * (1 - 1e-6)
        found = self._candidates[np.argmax(reached, axis=1)]
        return np.where((wanted > 0) & reached.any(axis=1), found, np.nan)
