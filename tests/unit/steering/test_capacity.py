"""On how many CPUs threads can run at once."""

from __future__ import annotations

import numpy as np
import pytest

from locality.steering.capacity import at_work


def tried(allowed: list[frozenset[int]], taken: frozenset[int]) -> int:
    """The same, by trying every way."""
    if not allowed:
        return 0
    first, *rest = allowed
    idle = tried(rest, taken)
    return max([idle, *(1 + tried(rest, taken | {cpu}) for cpu in first - taken)])


# Bug: a thread keeps a CPU to itself that another one needs more.
@pytest.mark.parametrize("seed", range(40))
def test_as_many_as_can_be(seed: int) -> None:
    draw = np.random.default_rng(seed)
    allowed = [
        frozenset(draw.choice(5, draw.integers(0, 4), replace=False).tolist()) for _ in range(5)
    ]
    assert at_work(allowed) == tried(allowed, frozenset())


# Bug: as many threads as a large machine has CPUs, none of them pinned, are too deep for Python.
def test_a_thousand_threads_that_may_run_anywhere() -> None:
    anywhere = frozenset(range(1500))
    assert at_work([anywhere] * 1500) == 1500
    assert at_work([frozenset(range(1200))] * 3000) == 1200
    chain = [frozenset({cpu, cpu + 1}) for cpu in range(1500)]
    assert at_work([*chain, frozenset({0})]) == 1501
    assert at_work([]) == 0
