"""A matrix that is kept as its pairs is the same matrix."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from locality.machine.distance import by_distance
from locality.skb.interval import RX, TX
from locality.skb.pairs import FewPairs, added, cpus_of, dense, few_pairs, packets_apart, pairs_in

if TYPE_CHECKING:
    from locality.arrays import Array

CPUS = 4


@st.composite
def matrices(draw: st.DrawFn) -> Array:
    """(2, CPUs, CPUs), most of it zeros."""
    counts = st.one_of(st.just(0), st.just(0), st.integers(1, 1000))
    size = 2 * CPUS * CPUS
    values = draw(st.lists(counts, min_size=size, max_size=size))
    return np.array(values, np.int64).reshape(2, CPUS, CPUS)


def few(matrix: Array) -> FewPairs:
    """Its pairs, from last to first."""
    alloc, consume = np.nonzero(matrix.any(axis=0))
    return few_pairs(CPUS, alloc[::-1], consume[::-1], matrix[:, alloc[::-1], consume[::-1]].T)


# Bugs: alloc CPU and consume CPU are exchanged, or RX and TX; a pair of one direction alone is
# left out, or is one of 0 packets in the other; pairs are not in the order that recordings need.
@given(matrices())
def test_a_matrix_and_its_pairs(matrix: Array) -> None:
    pairs = few(matrix)
    assert cpus_of(pairs) == cpus_of(matrix) == CPUS
    assert dense(pairs).tolist() == dense(matrix).tolist() == matrix.tolist()
    for here, there in zip(pairs_in(pairs), pairs_in(matrix), strict=True):
        assert here.cells.tolist() == there.cells.tolist() == sorted({*here.cells.tolist()})
        assert here.packets.tolist() == there.packets.tolist()
        assert (here.packets > 0).all()


# Bug: what two intervals share counts once, or what only one of them has is lost.
@given(matrices(), matrices())
def test_sums(one: Array, other: Array) -> None:
    expected = (one + other).tolist()
    for first in (one, few(one)):
        for second in (other, few(other)):
            assert dense(added(first, second)).tolist() == expected


# Bug: a pair counts at the distance of another pair.
@given(matrices(), st.integers(0, 2**32 - 1))
def test_distances(matrix: Array, seed: int) -> None:
    distances = np.random.default_rng(seed).integers(0, 6, (CPUS + 1, CPUS + 1), np.uint8)
    for direction in (RX, TX):
        expected = by_distance(matrix[direction], distances)
        assert packets_apart(matrix, direction, distances) == expected
        assert packets_apart(few(matrix), direction, distances) == expected
