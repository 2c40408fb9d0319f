r"""An interval that may be looked at after each pair, and that the run may be stopped by.

An interval of a fixed number of pairs is wrong for somebody who looks again and again and stops
when it leaves zero out: among enough looks one nearly always does. A confidence sequence covers the
effect at all times at once, with a probability of 95 %.

Which block of a pair was A was left to chance, so around the true effect each difference has either
sign with the same probability, whatever its size. For such differences D_i, with S the sum of
D_i - effect and V that of their squares, exp(l S - l^2 V / 2) is a supermartingale for every l (de
la Peña 1999, lemma 6.1), and so is its mean over l from a normal distribution of variance r:

    M = (1 + r V)^(-1/2) exp(r S^2 / (2 (1 + r V)))

By Ville's inequality M ever reaches 1 / 0.05 with a probability of at most 5 %. The interval is all
effects for which it has not. This holds for every number of pairs and for heavy tails; nothing is
said only of large numbers. r makes the interval tightest at the planned number of pairs (Howard,
Ramdas, McAuliffe and Sekhon, Annals of Statistics 49 (2021), section 3.2; Waudby-Smith, Arbour,
Sinha, Kennedy and Ramdas, Annals of Statistics 52 (2024)). It is set from the sizes, not the signs,
of the first differences, so that the interval does not depend on the unit.

The price: at the planned number it is about one and a half times as wide as an interval that may be
looked at only once. Before about a dozen pairs there is none.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from locality.trial.estimate import CONFIDENCE

if TYPE_CHECKING:
    from locality.arrays import Array

_ALPHA = 1 - CONFIDENCE
#: So many differences that are not zero set the scale; before them nothing is shown.
BURN_IN = 5
#: r times the variance and the planned number, by Waudby-Smith et al., section 2.4.
_TIGHTEST = -2 * math.log(_ALPHA) + math.log(-2 * math.log(_ALPHA) + 1)
#: How far from the mean the ends are looked for, in standard errors, and in how many steps.
_FARTHEST, _STEPS = 200.0, 200


def evidence(differences: Array, planned: int) -> Array:
    """log M against an effect of zero, after each difference: above log 20 it is excluded.

    Args:
        differences: (..., pairs) in the order of time.
        planned: Pairs that the run is planned for.

    Returns:
        (..., pairs); -inf until `BURN_IN` differences are not zero.
    """
    squares = differences * differences
    counted = np.cumsum(squares > 0, axis=-1)
    total = np.cumsum(squares, axis=-1)
    # The mean of the first squares, from where there are so many.
    first = np.where(counted <= BURN_IN, squares, 0).sum(axis=-1, keepdims=True) / BURN_IN
    with np.errstate(divide="ignore", invalid="ignore"):
        rate = _TIGHTEST / (planned * first)
        grown = 1 + rate * total
        found = rate * np.cumsum(differences, axis=-1) ** 2 / (2 * grown) - np.log(grown) / 2
    return np.where(counted >= BURN_IN, found, -np.inf)


def interval(differences: Array, planned: int) -> tuple[float, float] | None:
    """All effects that are not excluded after these differences; None if that is no interval yet.

    Args:
        differences: (pairs,) in the order of time.
        planned: Pairs that the run is planned for; it may end before or go on.
    """
    if len(differences) < BURN_IN:
        return None
    mean = float(differences.mean())
    error = float(differences.std()) / math.sqrt(len(differences))
    if not error:
        return None
    ends = []
    for side in (-1, 1):
        inside, outside = 0.0, side * _FARTHEST * error
        for steps in (np.geomspace(1e-4, 1, _STEPS), np.linspace(0, 1, _STEPS)):
            away = inside + steps * (outside - inside)
            tried = differences - mean - away[:, None]
            kept = np.flatnonzero(evidence(tried, planned)[:, -1] < -math.log(_ALPHA))
            last = int(kept[-1]) if len(kept) else -1
            if last == _STEPS - 1:
                return None
            inside, outside = float(away[last]) if len(kept) else inside, float(away[last + 1])
        ends.append(mean + outside)
    return ends[0], ends[1]


def p_value(differences: Array, planned: int) -> float:
    """A p against an effect of zero that holds whenever the run is stopped."""
    return math.exp(-max(0.0, float(evidence(differences, planned).max())))
