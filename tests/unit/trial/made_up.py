"""Trials made up by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from locality.trial.observation import NO_PAIR, Design, Outcome, Trial, units_dtype

if TYPE_CHECKING:
    from collections.abc import Sequence

    from locality.arrays import Array

WAIT = Outcome("queue_wait", "us", primary=True)
SPEED = Outcome("requests", "1/s", better="higher")


def blocks(pairs: Sequence[tuple[float, float]], outcome: Outcome = WAIT) -> Array:
    """Blocks of these values of A and B; A comes first in every other pair."""
    units = np.zeros(2 * len(pairs), units_dtype((outcome,)))
    for number, values in enumerate(pairs):
        for arm, value in enumerate(values):
            later = arm if number % 2 == 0 else 1 - arm
            row = (2.0 * number + later, number, arm, 10.0, 0.2, value)
            units[2 * number + later] = row
    return units


def connections(a: Sequence[float], b: Sequence[float], outcome: Outcome = WAIT) -> Array:
    """Connections of these values, A's and B's in turn; as many of both."""
    units = np.zeros(2 * len(a), units_dtype((outcome,)))
    units["time"] = np.arange(len(units)) / 100
    units["pair"] = NO_PAIR
    units["arm"] = np.arange(len(units)) % 2
    units["weight"] = 1
    units[outcome.label][0::2] = a
    units[outcome.label][1::2] = b
    return units


def trial(
    units: Array,
    outcome: Outcome = WAIT,
    aa_units: Array | None = None,
    *,
    ended_early: bool = False,
) -> Trial:
    """A trial of these units."""
    blocks = bool((units["pair"] != NO_PAIR).any())
    design = Design(
        "blocks" if blocks else "connection",
        ("as it is", "attach"),
        len(units),
        7,
        1.0,
        0.2,
        lives_s=0.1,
    )
    before = units[:0] if aa_units is None else aa_units
    return Trial(design, (outcome,), units, before, restored=True, ended_early=ended_early)
