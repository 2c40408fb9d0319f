"""Counts and shares by distance, and the words for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from locality.machine.distance import by_distance, distance_text, distance_words, shares, shown
from locality.machine.topology import Distance
from locality.skb.interval import RX, TX, Flow, Interval, packets_by_distance
from tests.unit.sysfs import machine

if TYPE_CHECKING:
    from pathlib import Path

    from locality.machine.topology import Topology

CPU, CORE, LLC, NODE, REMOTE, UNKNOWN = Distance


@pytest.fixture
def small(tmp_path: Path) -> Topology:
    """Three CPUs on one node: 0 and 1 share a cache, no core has threads; CPU 3 is offline."""
    return machine(
        tmp_path,
        possible="0-3",
        online="0-2",
        nodes=["0-2"],
        cores=[[0], [1], [2]],
        caches=[(2, [0, 1]), (2, [2])],
    )


def interval(matrix: object, **changes: Any) -> Interval:  # noqa: ANN401 - any field of it
    flow = Flow(packets=100, local=0, freed_local=None, deferred=None, unknown=0)
    fields: dict[str, Any] = {"rx": flow, "tx": flow, "delivered": None, "delivered_local": None}
    return Interval(1.0, 1.0, "fentry", 0, by_pair=np.array(matrix), **{**fields, **changes})


# Bugs: a cell counted at another cell's distance, or not at all; the column of connections without
# an RX CPU taken for the nearest or the farthest; a CPU that is offline is given a distance.
def test_each_cell_is_counted_at_its_distance(small: Topology) -> None:
    matrix = np.array(
        [
            [1, 20, 300, 0, 0],
            [0, 2, 0, 0, 7000],
            [4000, 0, 0, 50_000, 0],
            [0, 0, 0, 600_000, 0],
        ]
    )
    counts = by_distance(matrix, small.distances)
    assert counts == {CPU: 600_003, CORE: 0, LLC: 20, NODE: 4300, REMOTE: 0, UNKNOWN: 57_000}
    assert by_distance(matrix.T, small.distances) == counts


# Bugs: sums in 32 bits, or in floats of 24.
def test_large_counts_are_exact(small: Topology) -> None:
    matrix = np.full((4, 4), 2**40 + 1)
    assert sum(by_distance(matrix, small.distances).values()) == 16 * (2**40 + 1)


# Bugs: one direction's figures for the other's; packets that are not in the matrix forgotten, or
# the ones that are apart counted at a distance that nobody saw.
def test_packets_by_distance(small: Topology) -> None:
    rx, tx = np.zeros((2, 4, 4), np.int64)
    rx[0, 0], rx[0, 1], tx[1, 2] = 5, 6, 7
    seen = interval([rx, tx], apart=(10, 20), together=(30, 40))
    nothing = dict.fromkeys(Distance, 0)
    assert packets_by_distance(seen, RX, small) == nothing | {CPU: 35, LLC: 6, UNKNOWN: 10}
    assert packets_by_distance(seen, TX, small) == nothing | {CPU: 40, NODE: 7, UNKNOWN: 20}


# Bug: a rung that does not see TCP's originals shows shares of the packets that it happens to see.
def test_not_seen_is_not_counted(small: Topology) -> None:
    matrix = np.ones((2, 4, 4), np.int64)
    unseen = Flow(packets=100, local=None, freed_local=None, deferred=None, unknown=0)
    assert packets_by_distance(interval(matrix, tx=unseen), TX, small) is None
    assert packets_by_distance(interval(matrix, tx=unseen), RX, small) is not None
    assert shares(None) == dict.fromkeys(Distance)
    assert distance_text(None, small) == "same CPU ?, same LLC ?, same node ?"


# Bugs: rows of zeros for what this machine has not; what occurs unsaid because it should not be.
def test_the_words(small: Topology) -> None:
    counts = by_distance(np.diag([3, 0, 0, 0]), small.distances)
    assert shown(counts, small) == [CPU, LLC, NODE]
    assert distance_text(counts, small) == "same CPU 100.0%, same LLC 0.0%, same node 0.0%"
    assert distance_words(counts, small) == "cpu 100.0% llc 0.0% node 0.0%"
    counts[UNKNOWN] = counts[REMOTE] = 3
    assert distance_text(counts, small) == (
        "same CPU 33.3%, same LLC 0.0%, same node 0.0%, other node 33.3%, not known how far 33.3%"
    )


# Bug: 0 % of nothing.
def test_nothing_is_no_share(small: Topology) -> None:
    counts = by_distance(np.zeros((4, 4), np.int64), small.distances)
    assert set(shares(counts).values()) == {None}
