"""Connections: the difference of a statistic of the two arms.

A coin chose the arm of each connection, and no coin knows of another. So the arms differ by the
coins and by what is tried, alone: the load may drift, and connections may hang together as they
like, for whether they are in A or B is decided anew for each. How much coins do is the spread of
the values of single connections (Neyman 1923; Imbens and Rubin, Causal inference for statistics,
social, and biomedical sciences, 2015, chapter 6).

This fails where coins do not decide alone: what an arm does to one connection is felt by those
after it, or arms come in runs. Then batches of consecutive connections differ more than coins
explain. So batches are drawn with replacement, too (a cluster bootstrap: Cameron, Gelbach and
Miller, Bootstrap-based improvements for inference with clustered errors, Review of Economics and
Statistics 90 (2008)), and where they do differ more, the interval is the wider one of both.

The randomisation test exchanges the arms of small groups of consecutive connections: their coins
might as well have fallen the other way, all of them.
"""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from locality.trial import scale as scales
from locality.trial.estimate import (
    CONFIDENCE,
    RESAMPLES,
    SEED,
    Estimate,
    share_as_large,
    signs,
    widened,
)
from locality.trial.observation import A, B

if TYPE_CHECKING:
    from collections.abc import Callable

    from locality.arrays import Array
    from locality.trial.scale import Scale

#: Batches, where there are connections enough; and the fewest that say how they differ.
_BATCHES, FEWEST_BATCHES = 40, 8
#: Batches differ more than coins explain where chance alone makes their variance so large in one
#: trial of 200: the normal deviate.
_RARE = 2.576
#: Groups of connections whose arms are exchanged together, at most.
_GROUPS = 200
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
    known = units[scales.known(units[label])]
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
    draw = np.random.default_rng(SEED)
    of_arm = [values[arm == side] for side in (A, B)]
    one, other = (statistic(some, summary) for some in of_arm)
    effect = float(scales.contrast(one, other, scale))
    draws = _by_batch(connections, count, draw)
    # Where most draws leave an arm without a value, the rest is no picture of the whole.
    if np.isnan(draws).sum() > RESAMPLES / 2 or not math.isfinite(effect):
        return None
    by_coin = _by_coin(of_arm[A], of_arm[B], summary, scale, draw)
    tail = 100 * (1 - CONFIDENCE) / 2
    below, above = np.nanpercentile(by_coin, [tail, 100 - tail]).tolist()
    error, freedom = float(np.nanstd(by_coin)), len(values) - 2
    method = f"bootstrap over {len(values)} connections"
    of_batches = float(np.nanstd(draws)) * math.sqrt(count / (count - 1))
    if of_batches**2 > _by_chance(count - 1) * error**2:
        lower, upper = widened(draws, count, draw)
        below, above = min(below, lower), max(above, upper)
        error, freedom = of_batches, count - 1
        method = f"bootstrap over {count} batches of consecutive connections"
    p = _exchanged(connections, effect, draw)
    return Estimate(effect, effect + below, effect + above, error, freedom, p, method)


def _by_chance(freedom: int) -> float:
    """How many times a variance may be found by chance: chi-square over its degrees of freedom.

    The approximation of Wilson and Hilferty 1931.
    """
    ninth = 2 / (9 * freedom)
    return (1 - ninth + _RARE * math.sqrt(ninth)) ** 3


def _by_batch(connections: Connections, count: int, draw: np.random.Generator) -> Array:
    """(resamples,) of how far the contrast is from the truth, if batches are fresh draws."""
    sums = _sums(connections, count)
    chosen = draw.integers(0, count, (RESAMPLES, count)) + count * np.arange(RESAMPLES)[:, None]
    drawn = np.bincount(chosen.ravel(), minlength=RESAMPLES * count).reshape(RESAMPLES, count)
    drawn = np.vstack([np.ones((1, count)), drawn]).astype(sums.a.dtype)
    found = scales.contrast(sums.of(drawn @ sums.a), sums.of(drawn @ sums.b), connections.scale)
    return np.asarray(found[1:] - found[0])


def _exchanged(connections: Connections, effect: float, draw: np.random.Generator) -> float:
    """The p of the randomisation test."""
    count = min(_GROUPS, len(connections.values) // 2)
    sums = _sums(connections, count)
    kept = np.vstack([np.ones((1, count)), (signs(count, draw) + 1) / 2]).astype(sums.a.dtype)
    a = kept @ (sums.a - sums.b) + sums.b.sum(axis=0)
    b = sums.a.sum(axis=0) + sums.b.sum(axis=0) - a
    found = scales.contrast(sums.of(a), sums.of(b), connections.scale)
    # Where the arms cannot be compared, the assignment is as extreme as any.
    others = np.where(np.isnan(found[1:]), np.inf, found[1:])
    return share_as_large(others, float(found[0]) if math.isfinite(found[0]) else effect, count)


class _Sums(NamedTuple):
    """What each group of connections adds to its arms' statistics: sums over the groups.

    Attributes:
        a: (groups, sums) of the connections in A.
        b: (groups, sums) of those in B.
        of: Makes statistics (draws,) of sums (draws, sums); NaN of no connection.
    """

    a: Array
    b: Array
    of: Callable[[Array], Array]


def _sums(connections: Connections, count: int) -> _Sums:
    """The connections in so many groups of consecutive ones."""
    values, arm, summary, _ = connections
    group = np.arange(len(values)) * count // len(values)
    cell = group + count * (arm == B)
    counts = np.bincount(cell, minlength=2 * count)
    if summary == "mean":
        added = np.column_stack([counts, np.bincount(cell, values, 2 * count)])
        return _Sums(added[:count], added[count:], _means)
    # A percentile of groups together lies between those of the groups: only there is it looked.
    rank = RANKS[summary]
    ordered = values[np.lexsort((values, cell))]
    last = np.cumsum(counts)
    by_cell = np.split(ordered, last[:-1])
    alone = [one[math.ceil(rank * len(one)) - 1] for one in by_cell if len(one)]
    candidates = _candidates(values[(values >= min(alone)) & (values <= max(alone))], values, rank)
    below = [np.searchsorted(one, candidates, "right") for one in by_cell]
    # Half as long as with 64 bits; counts are still exact.
    added = np.column_stack([counts, below]).astype(np.float32)
    return _Sums(added[:count], added[count:], partial(_percentiles, candidates, rank))


def _means(sums: Array) -> Array:
    none = np.full(len(sums), np.nan)
    return np.asarray(np.divide(sums[:, 1], sums[:, 0], out=none, where=sums[:, 0] > 0))


def _percentiles(candidates: Array, rank: float, sums: Array) -> Array:
    """Percentiles from how many values there are, and how many are at most each candidate."""
    reached = sums[:, 1:] >= rank * sums[:, :1] * (1 - 1e-6)
    found = candidates[np.argmax(reached, axis=1)]
    return np.where((sums[:, 0] > 0) & reached.any(axis=1), found, np.nan)


def _candidates(between: Array, values: Array, rank: float) -> Array:
    """Values among which a percentile is looked for: half of them near the percentile of all."""
    distinct = np.unique(between)
    if len(distinct) <= _CANDIDATES:
        return distinct
    middle = int(np.searchsorted(distinct, np.quantile(values, rank)))
    reach = _CANDIDATES // 4 * max(1, len(distinct) // (8 * _CANDIDATES))
    near = np.linspace(middle - reach, middle + reach, _CANDIDATES // 2)
    far = np.linspace(0, len(distinct) - 1, _CANDIDATES // 2)
    places = np.concatenate([near, far]).astype(np.int64).clip(0, len(distinct) - 1)
    return np.asarray(distinct[np.unique(places)])


def _by_coin(a: Array, b: Array, summary: str, scale: Scale, draw: np.random.Generator) -> Array:
    """(resamples,) of how far the contrast is from the truth, if connections are fresh draws.

    Of means the spread of the normal distribution; of percentiles that of the bootstrap, in which
    the place of a percentile among the ordered values has a beta distribution.
    """
    if summary == "mean":
        errors = [float(some.std(ddof=1)) / math.sqrt(len(some)) for some in (a, b)]
        if scale == "relative":
            errors = [
                error / float(some.mean()) for error, some in zip(errors, (a, b), strict=True)
            ]
        freedom = len(a) + len(b) - 2
        return np.asarray(math.hypot(*errors) * draw.standard_t(freedom, RESAMPLES))
    drawn = []
    for some in (a, b):
        ordered, count = np.sort(some), len(some)
        place = math.ceil(RANKS[summary] * count)
        drawn.append(ordered[(draw.beta(place, count - place + 1, RESAMPLES) * count).astype(int)])
    at = scales.contrast(statistic(a, summary), statistic(b, summary), scale)
    return np.asarray(scales.contrast(drawn[A], drawn[B], scale) - at)
