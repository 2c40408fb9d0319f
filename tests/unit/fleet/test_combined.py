"""Random-effects means against published figures."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest

from locality.errors import LocalityError
from locality.fleet.combined import combine, paule_mandel

if TYPE_CHECKING:
    from locality.arrays import Array

#: The 13 trials of BCG vaccine against tuberculosis of Colditz et al. 1994, as in Berkey et al.
#: 1995 and in R's metafor as dat.bcg: infected and not infected, of the vaccinated and the others.
BCG = np.array(
    [
        (4, 119, 11, 128),
        (6, 300, 29, 274),
        (3, 228, 11, 209),
        (62, 13536, 248, 12619),
        (33, 5036, 47, 5761),
        (180, 1361, 372, 1079),
        (8, 2537, 10, 619),
        (505, 87886, 499, 87892),
        (29, 7470, 45, 7232),
        (17, 1699, 65, 1600),
        (186, 50448, 141, 27197),
        (5, 2493, 3, 2338),
        (27, 16886, 29, 17825),
    ],
    np.float64,
)


def log_risk_ratios() -> tuple[Array, Array]:
    a, b, c, d = BCG.T
    effects = np.log(a / (a + b)) - np.log(c / (c + d))
    variances = 1 / a - 1 / (a + b) + 1 / c - 1 / (c + d)
    return effects, variances


# Bug: tau squared or Q is another one than that of the literature.
def test_heterogeneity_is_the_published_one() -> None:
    effects, variances = log_risk_ratios()
    assert paule_mandel(effects, variances) == pytest.approx(0.3181, abs=5e-5)
    found = combine(effects, np.sqrt(variances))
    assert found is not None
    assert found.q == pytest.approx(152.233, abs=5e-3)
    assert found.i2 == pytest.approx(92.3, abs=0.1)


# Bug: the mean has the weights of fixed effects, or the interval that of a normal distribution.
def test_the_mean_and_its_interval() -> None:
    effects, variances = log_risk_ratios()
    found = combine(effects, np.sqrt(variances))
    assert found is not None
    assert found.mean == pytest.approx(-0.7150, abs=5e-4)
    # By the estimating equation of Paule and Mandel the factor of Hartung and Knapp is 1.
    weights = 1 / (variances + found.tau2)
    assert found.error == pytest.approx(math.sqrt(1 / weights.sum()), rel=1e-6)
    assert found.high - found.mean == pytest.approx(2.178813 * found.error, rel=1e-5)
    assert found.range is not None
    assert found.range[0] < found.low


# Bug: trials that agree better than by chance make an interval of no width.
def test_agreement_does_not_narrow_the_interval() -> None:
    found = combine(np.array([1.0, 1.0, 1.0]), np.array([0.5, 0.5, 0.5]))
    assert found is not None
    assert (found.tau2, found.i2) == (0, 0)
    assert found.error == pytest.approx(0.5 / math.sqrt(3))


# Bug: one trial, or one without an error, is taken for several.
def test_too_few() -> None:
    assert combine(np.array([1.0]), np.array([0.1])) is None
    assert combine(np.array([1.0, 2.0]), np.array([0.1, 0.0])) is None
    assert combine(np.array([]), np.array([])) is None


# Bug: effects that are too large to be squared have a mean of NaN, which is no JSON.
@pytest.mark.parametrize("error", [1e-200, 0.1, 1e300])
def test_what_is_too_large_is_refused(error: float) -> None:
    with pytest.raises(LocalityError, match="too large, or too far"):
        combine(np.array([1e308, -1e308, 5.0]), np.array([error, error, 0.1]))
