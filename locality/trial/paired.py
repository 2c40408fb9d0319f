"""Blocks of time: the difference of the two blocks of each pair.

What drifts, or comes and goes with the hour, is nearly the same in both blocks of a pair, and which
of them is A was left to chance. So under the hypothesis that B does what A does, each difference
might as well have had the other sign, whatever the load did: the randomisation test flips signs.

The interval of the mean difference is that of Student's t where pairs are few, and else comes from
a circular block bootstrap over pairs, for effects that differ from one part of the run to another.

Sources: Bojinov, Simchi-Levi and Zhao, Design and analysis of switchback experiments, Management
Science 69 (2023); Politis and Romano 1992 (circular block bootstrap); Politis and White 2004, with
the correction of Patton, Politis and White 2009 (length of blocks).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from locality.reporting.statistics import politis_white
from locality.trial import scale as scales
from locality.trial import student
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
    from locality.arrays import Array
    from locality.trial.scale import Scale

#: With fewer pairs even the most extreme assignment is not rare enough: 2 of 2^6 are 3 %.
FEWEST_PAIRS = 6
#: Fewer pairs than this have an interval of Student's t.
_FEW_PAIRS = 20
#: So many blocks of pairs are left at least to draw from.
_FEWEST_BLOCKS = 10


class Pairs(NamedTuple):
    """The pairs of which both blocks are known, in the order of time."""

    values: Array
    """(pairs,) B against A."""
    first: Array
    """(pairs,) the arm of the earlier block."""
    number: Array
    """(pairs,) the number of the pair."""
    a: Array
    """(pairs,) A's value, in the outcome's unit."""
    b: Array
    """(pairs,) B's."""
    scale: Scale


def pairs_of(units: Array, label: str) -> Pairs:
    """The pairs of some blocks.

    Args:
        units: (blocks,) as of `locality.trial.observation.units_dtype`.
        label: The outcome's field.
    """
    known = units[scales.known(units[label]) & (units["pair"] >= 0)]
    blocks = []
    for arm in (A, B):
        of_arm = known[known["arm"] == arm]
        _, place = np.unique(of_arm["pair"], return_index=True)
        blocks.append(of_arm[place])
    number, at_a, at_b = np.intersect1d(blocks[A]["pair"], blocks[B]["pair"], return_indices=True)
    a, b = blocks[A][at_a], blocks[B][at_b]
    scale = scales.of_blocks(np.concatenate([a[label], b[label]]))
    return Pairs(
        values=scales.contrast(a[label], b[label], scale),
        first=np.where(a["time"] <= b["time"], A, B),
        number=number,
        a=a[label],
        b=b[label],
        scale=scale,
    )


def level(values: Array, scale: Scale) -> float | None:
    """An arm's value over its blocks: the geometric mean where the effect is a ratio."""
    if not len(values):
        return None
    return float(np.exp(np.log(values).mean()) if scale == "relative" else values.mean())


def estimate(values: Array) -> Estimate | None:
    """The mean difference of pairs; None of too few, or if all values are zero.

    Args:
        values: (pairs,) in the order of time.
    """
    count = len(values)
    if count < FEWEST_PAIRS or not values.any():
        return None
    draw = np.random.default_rng(SEED)
    effect = float(values.mean())
    p = sign_flip(values, draw)
    error = float(values.std(ddof=1)) / math.sqrt(count)
    reach = student.quantile((1 + CONFIDENCE) / 2, count - 1) * error
    if count < _FEW_PAIRS or not error:
        method = f"Student's t over {count} pairs"
        return Estimate(effect, effect - reach, effect + reach, error, count - 1, p, method)
    length = max(1, min(math.ceil(politis_white(values)), count // _FEWEST_BLOCKS))
    blocks = round(count / length)
    draws = _means_of_blocks(values, length, blocks, draw) - effect
    below, above = widened(draws, blocks, draw)
    if length > 1:
        # Blocks that differ less than single pairs do are chance.
        below, above = min(below, -reach), max(above, reach)
    error = max(error, float(draws.std()) * math.sqrt(blocks / (blocks - 1)))
    method = f"bootstrap over {count} pairs, in blocks of {length}"
    return Estimate(effect, effect + below, effect + above, error, blocks - 1, p, method)


def sign_flip(values: Array, draw: np.random.Generator) -> float:
    """The p of the randomisation test: as if the order of each pair had fallen anew."""
    return share_as_large(signs(len(values), draw) @ values, float(values.sum()), len(values))


def _means_of_blocks(values: Array, length: int, blocks: int, draw: np.random.Generator) -> Array:
    """(resamples,) the mean of so many blocks of neighbouring pairs, drawn with replacement."""
    around = np.concatenate([[0.0], np.cumsum(np.concatenate([values, values[:length]]))])
    starts = draw.integers(0, len(values), (RESAMPLES, blocks))
    return np.asarray((around[starts + length] - around[starts]).mean(axis=1) / length)
