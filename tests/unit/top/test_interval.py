"""Rows of readers put together, on intervals made up here."""

from __future__ import annotations

import numpy as np
import pytest

from locality.machine.topology import Distance, Topology
from locality.reads.rows import READ_ROW, cpu_places
from locality.top.grouping import GROUPINGS, ranked
from locality.top.interval import READER, known, remote
from locality.top.source import grown
from tests.unit.top.made_up import interval, reader


# Bugs: the busiest comes first, however local it is; rows of one port in two network namespaces
# are one; what is opened here is put to a server of that port.
def test_the_most_remote_comes_first() -> None:
    rows = ranked(
        interval(
            reader(11, 80, cpu=900, llc=100),
            reader(12, 80, cpu=900, llc=50, remote=50),
            reader(13, 443, cpu=1, node=150),
            reader(14, 443, outgoing=1, cpu=5),
            reader(15, 443, netns=7, llc=140),
        ),
        "port",
    )
    assert [(int(row["port"]), int(row["netns"])) for row in rows] == [
        (80, 4026531833),
        (443, 4026531833),
        (443, 7),
        (443, 4026531833),
    ]
    assert remote(rows).tolist() == [200, 150, 140, 0]
    assert rows["outgoing"].tolist() == [0, 0, 0, 1]
    assert known(rows).tolist() == [2000, 151, 140, 5]


# Bug: a row has the name of whoever came last, or of a reader that hardly reads.
def test_a_row_has_the_name_of_its_busiest_reader() -> None:
    seen = interval(reader(11, cpu=10, comm=b"busy"), reader(12, cpu=1, comm=b"idle"))
    (row,) = ranked(seen, "port")
    assert GROUPINGS["port"].name(row, {}) == "tcp 80 busy"
    (row,) = ranked(seen, "process")
    assert GROUPINGS["process"].name(row, {}) == "busy/2"
    assert len(ranked(seen, "thread")) == 2


# Bug: the CPU that most misses come from is that of the first row.
def test_sources_of_several_rows_add_up() -> None:
    one = reader(11, llc=60, sources=[1, 2, -1, -1], received=[40, 20, 0, 0])
    other = reader(12, llc=50, sources=[2, 3, 1, -1], received=[30, 15, 5, 0])
    (row,) = ranked(interval(one, other), "port")
    assert row["sources"].tolist() == [2, 1, 3, -1]
    assert row["received"].tolist() == [50, 45, 15, 0]


# Bug: the second interval replaces the first, or a thread that was there twice is there twice.
def test_intervals_add_up() -> None:
    first = interval(reader(11, cpu=3, bytes=10), lost=1)
    second = interval(reader(11, cpu=1, llc=2, bytes=5), reader(12, cpu=1), lost=4, time=9.0)
    both = first + second
    assert (both.seconds, both.lost, both.time) == (4.0, 4, 9.0)
    assert both.readers["reads"].tolist() == [6, 1]
    assert both.readers["bytes"].tolist() == [15, 0]
    assert len((interval() + interval()).readers) == 0


def row(tid: int, cpu: int = 0, llc: int = 0) -> np.ndarray[tuple[int], np.dtype[np.void]]:
    rows = np.zeros(1, READ_ROW)
    rows["tid"], rows["port"], rows["bytes"] = tid, 80, 10 * (cpu + llc)
    rows["distances"][0, :3] = cpu, 0, llc
    if llc:
        rows["sources"][0, 0] = llc, 3, 0
    return rows


# Bugs: counts since the start pass for those of the interval; a row's new owner inherits what its
# old one read; who read nothing has a row.
def test_what_rows_grew_by() -> None:
    before = np.concatenate([row(1, 10, 5), row(2, 7), row(3, 100, 100), row(0)])
    now = np.concatenate([row(1, 12, 9), row(2, 7), row(4, 2, 1), row(5, 1)])
    found = grown(now, before)
    assert found.dtype == READER
    assert found["tid"].tolist() == [1, 4, 5]
    assert found["reads"].tolist() == [6, 3, 1]
    assert found["cpu"].tolist() == [2, 2, 1]
    assert found["llc"].tolist() == [4, 1, 0]
    assert found["bytes"].tolist() == [60, 30, 10]
    assert found["sources"][:, 0].tolist() == [3, 3, -1]
    assert found["received"][:, 0].tolist() == [4, 1, 0]


# Bug: the kernel side finds two CPUs farther apart, or nearer, than everything else says.
@pytest.mark.parametrize("offline", [False, True])
def test_places_tell_the_same_distances(offline: bool) -> None:  # noqa: FBT001 - a case
    size = 8
    distances = np.full((size + 1, size + 1), Distance.REMOTE, np.uint8)
    for width, distance in ((4, Distance.NODE), (2, Distance.CORE)):
        for first in range(0, size, width):
            distances[first : first + width, first : first + width] = distance
    distances[0:2, 2:4] = distances[2:4, 0:2] = Distance.LLC
    np.fill_diagonal(distances, Distance.CPU)
    online = tuple(cpu for cpu in range(size) if not offline or cpu != 5)
    if offline:
        distances[5, :] = distances[:, 5] = Distance.UNKNOWN
    distances[size, :] = distances[:, size] = Distance.UNKNOWN
    places = cpu_places(Topology(size, online, distances))
    for one in online:
        for other in online:
            here, there = places[one], places[other]
            told = Distance.REMOTE
            if one == other:
                told = Distance.CPU
            elif here["core"] == there["core"]:
                told = Distance.CORE
            elif here["llc"] == there["llc"]:
                told = Distance.LLC
            elif here["node"] == there["node"]:
                told = Distance.NODE
            assert told == distances[one, other], (one, other)
    assert places["known"].tolist() == [int(cpu in online) for cpu in range(size)]
