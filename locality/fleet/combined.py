"""Effects of several trials, or prices of several hosts, as one: a random-effects mean.

Hosts differ, so that an effect on one is not that on another. The model is that true effects have a
normal distribution; what is given is its mean and its variance, tau squared.

* tau squared: Paule and Mandel 1982, recommended by Veroniki et al. 2016 (doi 10.1002/jrsm.1164).
* the interval of the mean: Hartung and Knapp 2001, not narrower than without it (Röver, Knapp and
  Friede 2015, doi 10.1186/s12874-015-0091-1).
* where the effect on another host lies: Higgins, Thompson and Spiegelhalter 2009.
"""

from __future__ import annotations

import math
from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING

import numpy as np

from locality.errors import LocalityError
from locality.trial import student

if TYPE_CHECKING:
    from locality.arrays import Array

_LEVEL = 0.975
_STEPS = 200


@dataclass(frozen=True)
class Combined:
    """A random-effects mean.

    Attributes:
        studies: How many it is of.
        mean: The mean of the effects.
        error: Its standard error.
        low: The lower end of its 95 % interval.
        high: The upper end.
        tau2: The variance of the true effects.
        i2: The share of the variance between studies that is no chance, percent.
        q: Cochran's Q.
        range: Where the true effect of 95 % of hosts lies; None of fewer than three studies.
    """

    studies: int
    mean: float
    error: float
    low: float
    high: float
    tau2: float
    i2: float
    q: float
    range: tuple[float, float] | None


def combine(effects: Array, errors: Array) -> Combined | None:
    """The random-effects mean; None of fewer than two studies with an error.

    Args:
        effects: (studies,) estimates.
        errors: (studies,) their standard errors.

    Raises:
        LocalityError: They are too large or too far apart for a mean.
    """
    try:
        # What is too large becomes infinite or NaN in numpy, and is found in the result.
        with np.errstate(all="ignore"):
            found = _combined(effects, errors)
        figures = [] if found is None else [*astuple(found)[:-1], *(found.range or ())]
    except ArithmeticError:
        figures = [math.nan]
    if not all(map(math.isfinite, figures)):
        raise LocalityError(
            "cannot combine effects or prices of hosts: their values are too large, or too far "
            "apart, to be added up; remove the files with such values from the data set"
        )
    return found


def _combined(effects: Array, errors: Array) -> Combined | None:
    fit = np.isfinite(effects) & np.isfinite(errors) & (errors > 0)
    effects, variances = effects[fit], errors[fit] ** 2
    count = len(effects)
    if count < 2:  # noqa: PLR2004 - one study has no variance between studies
        return None
    q = _q(effects, variances, 0.0)
    tau2 = paule_mandel(effects, variances)
    weights = 1 / (variances + tau2)
    mean = float((weights * effects).sum() / weights.sum())
    inflated = max(1.0, _q(effects, variances, tau2) / (count - 1))
    error = math.sqrt(inflated / float(weights.sum()))
    reach = student.quantile(_LEVEL, count - 1) * error
    scope = None
    if count > 2:  # noqa: PLR2004 - degrees of freedom
        spread = student.quantile(_LEVEL, count - 2) * math.sqrt(tau2 + error**2)
        scope = mean - spread, mean + spread
    return Combined(
        studies=count,
        mean=mean,
        error=error,
        low=mean - reach,
        high=mean + reach,
        tau2=tau2,
        i2=100 * tau2 / (tau2 + _typical(variances)),
        q=q,
        range=scope,
    )


def paule_mandel(effects: Array, variances: Array) -> float:
    """The tau squared with which Q is what it is expected to be: studies - 1."""
    expected = len(effects) - 1
    if _q(effects, variances, 0.0) <= expected:
        return 0.0
    low, high = 0.0, float(np.ptp(effects) ** 2 + variances.max())
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if _q(effects, variances, middle) > expected else (low, middle)
    return (low + high) / 2


def _q(effects: Array, variances: Array, tau2: float) -> float:
    """The sum of squares around the mean, weighted."""
    weights = 1 / (variances + tau2)
    mean = (weights * effects).sum() / weights.sum()
    return float((weights * (effects - mean) ** 2).sum())


def _typical(variances: Array) -> float:
    """The variance within a typical study (Higgins and Thompson 2002)."""
    weights = 1 / variances
    total = weights.sum()
    return float((len(variances) - 1) * total / (total**2 - (weights**2).sum()))
