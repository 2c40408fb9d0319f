from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from locality.trial.observation import A, B, Design, Outcome, Trial, units_dtype
from locality.trial.run import why_not_kept

COST = Outcome("cost", "us", primary=True)
RATE = Outcome("rate", "1/s", "higher")
PAIRS = 30


def trial(cost: float, rate: float) -> Trial:
    """A trial whose arm B has so many times the cost and the rate of A."""
    draw = np.random.default_rng(1)
    units = np.zeros(2 * PAIRS, units_dtype((COST, RATE)))
    units["pair"] = np.repeat(np.arange(PAIRS), 2)
    units["arm"] = np.tile([A, B], PAIRS)
    units["time"] = np.arange(2 * PAIRS)
    for name, times in (("cost", cost), ("rate", rate)):
        units[name] = 100 * draw.lognormal(0, 0.01, 2 * PAIRS)
        units[name][units["arm"] == B] *= times
    design = Design("blocks", ("as it is", "tried"), 2 * PAIRS, 1, 1.0, 0.1, lives_s=0.0)
    return Trial(design, (COST, RATE), units, units[:0], restored=True)


# Bugs: B is kept though it is worse in something, though nothing was shown, or after harm.
@pytest.mark.parametrize(
    ("cost", "rate", "kept"),
    [(0.9, 1.0, True), (0.9, 1.1, True), (0.9, 0.9, False), (1.1, 1.1, False), (1.0, 1.0, False)],
)
def test_only_what_is_better_and_nowhere_worse_is_kept(
    cost: float, rate: float, *, kept: bool
) -> None:
    found = trial(cost, rate)
    assert (why_not_kept(found) == "") == kept
    for ended in ({"harm": "overflows"}, {"ended_early": True}, {"restored": False}):
        assert why_not_kept(replace(found, **ended))


# Bug: B is put back, and nobody says which outcome was the reason.
def test_why_it_is_not_kept() -> None:
    assert why_not_kept(trial(0.9, 0.9)) == f"worse in {RATE.label}"
    assert why_not_kept(trial(1.1, 1.0)) == f"{COST.label}: worse"
