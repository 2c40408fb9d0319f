"""What the machine's state is made of."""

from __future__ import annotations

import numpy as np
import pytest

from locality.exporter.state import attainable, workers_of
from locality.reuseport.evidence import Worker
from locality.reuseport.group import Group, Member
from locality.reuseport.survey import FoundGroup


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


def group(netns: int, *cpus: set[int]) -> FoundGroup:
    """A group of sockets whose workers may run on these CPUs; none: it is not known who serves."""
    members = tuple(
        Member(number, (Worker(7, 7, "server", frozenset(one)),) if one else ())
        for number, one in enumerate(cpus, 1)
    )
    found = Group(members, order_known=True, attached=False, program=None, how="")
    return FoundGroup("tcp", "0.0.0.0", 80, netns, 7, 3, found)


# Bugs: connections of one network namespace could have gone to a worker of another one, so that
# more is attainable than is; a socket that nobody is known to serve counts as one without workers.
def test_workers_of_a_port() -> None:
    cpus = [frozenset({0}), frozenset({1}), frozenset({2})]
    assert workers_of([group(1, {0}, {1}), group(1, {2}, set())]) == cpus
    assert workers_of([group(1, {0}), group(2, {1})]) is None
    assert workers_of([]) == []
