"""Student's t: the values of printed tables."""

from __future__ import annotations

import pytest

from locality.trial.student import p_value, quantile, within


# Bugs: the series for odd and even degrees of freedom exchanged, or one term short; the normal
# distribution taken too early.
@pytest.mark.parametrize(
    ("freedom", "known"),
    [
        *((1, 12.7062), (2, 4.30265), (3, 3.18245), (4, 2.77645), (5, 2.57058), (10, 2.22814)),
        *((11, 2.20099), (39, 2.02269), (100, 1.98397), (1000, 1.96234), (100_000, 1.95997)),
    ],
)
def test_quantiles_are_those_of_the_tables(freedom: int, known: float) -> None:
    assert quantile(0.975, freedom) == pytest.approx(known, abs=3e-5)
    assert within(known, freedom) == pytest.approx(0.95, abs=1e-5)
    assert p_value(-known, freedom) == pytest.approx(0.05, abs=1e-5)


# Bug: the middle or the far end of the distribution is a division by zero or no probability.
def test_its_ends() -> None:
    assert quantile(0.5, 7) == pytest.approx(0, abs=1e-12)
    assert p_value(0, 7) == 1
    assert p_value(1e9, 2) == pytest.approx(0, abs=1e-12)
