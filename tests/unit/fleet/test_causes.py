"""Causes that fit what pairs of CPUs say."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from benchmarks.fleet_data import CAUSES, CPUS
from locality.dataset.evidence import CELL, evidence
from locality.explain import causes as explained
from locality.fleet.causes import Cause, Evidence

if TYPE_CHECKING:
    from locality.arrays import Array


def seen(cause: Cause, count: int = 20_000) -> Evidence:
    draw = np.random.default_rng(3)
    choose, receiving = CAUSES[cause]
    rxcpu = draw.integers(0, receiving, count)
    thread, cpu = choose(rxcpu, draw, count)
    return of(thread, cpu, rxcpu)


def of(thread: Array, cpu: Array, rxcpu: Array, program: str | None = None) -> Evidence:
    cells = np.zeros(len(cpu), CELL)
    cells["thread"], cells["cpu"], cells["rxcpu"], cells["count"] = thread, cpu, rxcpu, 1
    return Evidence.of({**evidence(cells), "program": program})


# Bug: a cause is taken for another one.
@pytest.mark.parametrize("cause", CAUSES)
def test_each_cause_is_told(cause: Cause) -> None:
    assert seen(cause).cause is cause


# Bug: a handful of connections, or none, gets a cause.
def test_nothing_is_decided_on_few_events() -> None:
    assert seen(Cause.NO_PROGRAM, 50).cause is Cause.TOO_FEW
    assert Evidence(0, 0, 0.0, 0, 0, 0, 0, None, 0).attainable is None


# Bug: a mixture of two states, as of before and after a change, is taken for one of them.
def test_a_mixture_cannot_be_told() -> None:
    draw = np.random.default_rng(3)
    rxcpu = draw.integers(0, CPUS, 20_000)
    cpu = np.where(np.arange(20_000) < 8_000, rxcpu, draw.integers(0, CPUS, 20_000))
    assert of(cpu, cpu, rxcpu).cause is Cause.OTHER


# Bug: explain and fleet say the same in different words.
def test_the_words_are_those_of_explain() -> None:
    for cause in (Cause.NO_WORKER, Cause.NOT_PINNED, Cause.NO_PROGRAM, Cause.WRONG_WORKER):
        assert cause.value == explained.Cause[cause.name].value
