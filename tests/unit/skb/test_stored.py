"""The pairs of CPUs that a recording keeps, in this format and in those before."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import locality
from locality.recording.columns import MOST
from locality.recording.info import Info
from locality.recording.reader import Reader
from locality.skb.interval import RX, TX, Flow, Interval
from locality.skb.pairs import FewPairs, pairs_in
from locality.skb.recording import timed_intervals
from locality.skb.stored import COUNTS, PLACES, count, pairs_of, stored_rows
from tests.unit.recordings import CPUS, FORMAT_2, STARTED, meta

if TYPE_CHECKING:
    from locality.arrays import Array
    from locality.skb.pairs import Matrix

META = meta("skb")
CELLS = CPUS**2
COUNT = st.one_of(st.just(0), st.integers(1, 20), st.integers(1, 1 << 33), st.just(MOST))


def interval(matrix: Matrix) -> Interval:
    flow = Flow(0, 0, 0, 0, 0)
    return Interval(STARTED / 1e9, 1.0, "fentry", 0, flow, flow, 0, 0, matrix)


@st.composite
def matrices(draw: st.DrawFn) -> Array:
    """(2, CPUs, CPUs) of which one direction may have many pairs and the other one few."""
    matrix = np.zeros((2, CELLS), np.int64)
    for direction in (RX, TX):
        places = draw(st.lists(st.integers(0, CELLS - 1), max_size=CELLS, unique=True))
        matrix[direction, places] = draw(
            st.lists(COUNT, min_size=len(places), max_size=len(places))
        )
    return matrix.reshape(2, CPUS, CPUS)


# Bugs: a pair without packets becomes one, where all places are meant; one is lost or another, at
# the beginning or at the end; rx and tx are exchanged where only one of them lists its places; a
# matrix that is kept as its pairs is recorded otherwise.
@given(matrices())
def test_pairs_come_back(matrix: Array) -> None:
    known = pairs_in(matrix)
    for same in (
        matrix,
        FewPairs(CPUS, known),
        matrix.transpose(0, 2, 1).copy().transpose(0, 2, 1),
    ):
        rows = stored_rows(interval(same))
        assert count(rows, META) == 2 + np.count_nonzero(matrix)
        for found, expected in zip(pairs_of(rows, META), known, strict=True):
            assert found.cells.tolist() == expected.cells.tolist()
            assert found.packets.tolist() == expected.packets.tolist()


# Bug: on a machine where few pairs of many have packets, a recording has a number for each of all;
# where most have, a step for each.
@pytest.mark.parametrize(("pairs", "listed"), [(0, True), (1, True), (4, True), (CELLS, False)])
def test_places_are_listed_where_few_pairs_have_packets(pairs: int, *, listed: bool) -> None:
    matrix = np.zeros((2, CELLS), np.int64)
    matrix[:, :pairs] = 3
    rows = stored_rows(interval(matrix.reshape(2, CPUS, CPUS)))
    assert [bool(places) for places in rows[PLACES].to_pylist()] == [listed] * 2
    assert (len(rows[COUNTS].to_pylist()[0]) > CELLS // 2) is not listed


def of_format_2() -> list[Array]:
    """(2, CPUs, CPUs) the packets of each interval in the file."""
    matrices: list[Array] = [np.zeros((2, CPUS, CPUS), np.int64) for _ in range(4)]
    matrices[1][RX] = np.arange(CELLS).reshape(CPUS, CPUS)
    matrices[1][TX, 3, 3] = 1 << 40
    matrices[2][:] = 300
    matrices[3][TX, 0, 0] = 70_000
    matrices[3][RX, 3, 0] = 1
    return matrices


# Bug: a recording that the version before wrote is refused, or read otherwise.
def test_a_recording_of_format_2() -> None:
    known = of_format_2()
    with Reader(FORMAT_2) as reader:
        found = [interval for _, interval in timed_intervals(reader)]
    assert reader.meta.format == 2
    assert [interval.matrix.tolist() for interval in found] == [each.tolist() for each in known]
    assert [interval.lost for interval in found] == [0, 1, 2, 3]
    assert (reader.lost, reader.note, reader.meta.count) == (3, "", 4)
    cells = sum(map(np.count_nonzero, known))
    with Reader(FORMAT_2) as reader:
        assert Info(reader).rows == 2 * len(known) + cells
    recording = locality.load(FORMAT_2)
    assert recording.skb.packets.tolist() == [
        packets for matrix in known for packets in matrix[matrix > 0].tolist()
    ]
    assert len(recording.skb_totals) == 2 * len(known)
