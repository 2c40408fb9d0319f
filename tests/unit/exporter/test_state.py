"""What the machine's state is made of."""

from __future__ import annotations

import numpy as np
import pytest

from locality.exporter.state import attainable


# Bugs: a CPU without a worker counts as local; a worker that may run anywhere counts as if it were
# on each CPU all the time.
@pytest.mark.parametrize(
    ("received", "workers", "share"),
    [
        ([50, 50], [{0}, {1}], 1.0),
        ([75, 25], [{0}, {0}], 0.75),
        ([10, 10, 10, 10], [{0, 1, 2, 3}], 0.25),
        ([10, 10, 10, 10], [{0, 1, 2, 3}, {2}], 0.4375),
        ([0, 0], [{0}, {1}], None),
        ([1, 1], [], None),
    ],
)
def test_attainable(received: list[int], workers: list[set[int]], share: float | None) -> None:
    assert attainable(np.array(received), [frozenset(cpus) for cpus in workers]) == share
