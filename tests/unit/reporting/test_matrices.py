"""Figures of counts by two CPUs, on machines whose CPUs are more than the pixels of a line."""

from __future__ import annotations

import io

import numpy as np
import pytest
from matplotlib.image import imread

from locality.machine.topology import Distance, Topology
from locality.reporting import figures
from locality.reporting.cpu_order import MOST_CELLS, order_of

HOT = 60


def machine(cpus: int, nodes: int = 4, cores_of_cache: int = 4) -> Topology:
    """Nodes of caches of cores of two CPUs, which are numbered half of the machine apart."""
    number = np.arange(cpus)
    core = number % (cpus // 2)
    cache, node = core // cores_of_cache, core // (cpus // 2 // nodes)
    distances = np.full((cpus + 1, cpus + 1), Distance.UNKNOWN, np.uint8)
    distances[:cpus, :cpus] = Distance.REMOTE
    for of, level in ((node, Distance.NODE), (cache, Distance.LLC), (core, Distance.CORE)):
        distances[:cpus, :cpus][of[:, None] == of] = level
    np.fill_diagonal(distances[:cpus, :cpus], Distance.CPU)
    return Topology(cpus, tuple(range(cpus)), distances)


# Bugs: a CPU is left out, or is there twice; neighbours in the figure share less than CPUs that are
# far apart in it; a cell spans two nodes.
@pytest.mark.parametrize("cpus", [96, 512, 1024])
def test_the_order_of_cpus(cpus: int) -> None:
    of = machine(cpus)
    order = order_of(of, np.zeros(0, np.int64))
    assert sorted(order.cpus.tolist()) == list(range(cpus))
    assert order.cells <= MOST_CELLS
    # SMT siblings, which numbers put far apart.
    assert of.distances[order.cpus[0], order.cpus[1]] == Distance.CORE
    for level, groups in ((Distance.NODE, order.nodes), (Distance.LLC, order.caches)):
        changes = of.distances[order.cpus[:-1], order.cpus[1:]] > level
        begins = np.concatenate([[0], np.flatnonzero(changes) + 1])
        cells = np.unique(np.searchsorted(order.starts, begins))
        assert groups.tolist() == cells.tolist()
        if level == Distance.NODE:
            assert set(begins.tolist()) <= set(order.starts.tolist())


# Bug: CPUs that are offline take room, or one that was used before it went offline is left out.
def test_cpus_that_are_offline() -> None:
    whole = machine(128)
    part = Topology(128, tuple(range(64)), whole.distances)
    assert order_of(part, np.array([3, 100])).cpus.tolist().count(100) == 1
    assert len(order_of(part, np.array([3, 100])).cpus) == 65


# Bug: of 60 pairs with a thousand times the packets of the others, 35 were not to be seen on a
# machine of 1,024 CPUs: its cells are smaller than pixels.
@pytest.mark.parametrize("cpus", [64, 192, 512, 1024])
@pytest.mark.parametrize("others", [0, 1])
def test_no_pair_vanishes(cpus: int, others: int) -> None:
    chance = np.random.default_rng(cpus)
    matrix = np.full((cpus, cpus), others)
    # Apart from each other, so that each has pixels of its own.
    hot = chance.choice((cpus // 8) ** 2, HOT, replace=False)
    rows, columns = hot // (cpus // 8) * 8, hot % (cpus // 8) * 8
    matrix[rows, columns] = 5000
    figure = figures.heat_map(matrix, "RX CPU", "accept CPU", machine(cpus))
    picture = imread(io.BytesIO(figures.png(figure)))[..., :3]
    axis = figure.axes[0]
    place = np.arange(cpus)
    if cpus > 64:
        order = order_of(machine(cpus), np.zeros(0, np.int64))
        place[order.cpus] = np.searchsorted(order.starts, np.arange(cpus), side="right") - 1
    figure.set_dpi(110)
    spots = axis.transData.transform(np.stack([place[columns], place[rows]], axis=1))
    x, y = np.round(spots).astype(int).T
    seen = picture[len(picture) - 1 - y, x].sum(axis=1)
    assert (seen < 1.2).all()  # the darkest of the colours; the lightest have more than 2


# Bug: the colour bar speaks of numbers where the cells have none, or of one pair where a cell has
# many.
@pytest.mark.parametrize(
    ("cpus", "text"),
    [
        (8, "count (in the cells: % of all)"),
        (64, "count"),
        (192, "count"),
        (1024, "count of the largest pair in a cell of 4 x 4 CPUs"),
    ],
)
def test_the_colour_bar_says_what_it_is(cpus: int, text: str) -> None:
    figure = figures.heat_map(np.eye(cpus, dtype=np.int64), "RX CPU", "accept CPU", machine(cpus))
    assert figure.axes[1].get_ylabel() == text
    assert bool(figure.axes[0].texts) == ("%" in text)


# Bug: a bar is lost among its neighbours, or what is local is counted as remote.
def test_the_busiest_cpu_of_a_cell_is_drawn() -> None:
    matrix = np.ones((1024, 1024), np.int64)
    matrix[777, 777] = 100_000
    figure = figures.per_cpu(matrix, "RX CPU", "accept CPU", machine(1024))
    for axis in figure.axes:
        local, elsewhere = (
            np.asarray(part.get_paths()[0].vertices)[:, 1].max() for part in axis.collections
        )
        assert local == 100_000
        assert elsewhere == 100_000 + 1023


# Bugs: where a machine does not tell its nodes, each CPU is a node of its own, whose lines hide the
# counts; the figure and its caption speak of nodes and caches that are not there.
def test_a_machine_that_does_not_tell_its_nodes() -> None:
    distances = np.full((301, 301), Distance.UNKNOWN, np.uint8)
    np.fill_diagonal(distances[:300, :300], Distance.CPU)
    of = Topology(300, tuple(range(300)), distances)
    order = order_of(of, np.zeros(0, np.int64))
    assert order.cpus.tolist() == list(range(300))
    assert (len(order.nodes), len(order.caches)) == (1, 1)
    figure = figures.heat_map(np.eye(300, dtype=np.int64), "RX CPU", "accept CPU", of)
    assert figure.axes[0].get_ylabel() == "RX CPU"
    assert not figures.marks(of)


# Bug: of a machine with more caches than there is room for boxes, the caption calls nodes caches.
def test_the_caption_says_what_boxes_are() -> None:
    assert figures.marks(machine(512)) == (
        " Lines separate NUMA nodes; boxes are last-level caches."
    )
    of = machine(1024)
    apart = of.distances.copy()
    apart[apart == Distance.LLC] = Distance.NODE  # no core shares its cache with another
    many = Topology(1024, of.online, apart)
    assert figures.marks(many) == " Lines separate NUMA nodes."
