"""Figures of counts by two CPUs: of few CPUs each by its number, of many by node and cache."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

import locality.reporting.settings  # noqa: F401 - before matplotlib: see there

# isort: split
from matplotlib.collections import LineCollection
from matplotlib.colors import LogNorm
from matplotlib.ticker import EngFormatter, MaxNLocator

from locality.machine.topology import Topology
from locality.reporting.canvas import (
    BOTTOM,
    GREY,
    HATCH,
    LEFT,
    LOCAL,
    REMOTE,
    TOP,
    WIDTH,
    figure_of,
    legend,
)
from locality.reporting.cpu_order import MOST_BY_NUMBER, CpuOrder, order_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from locality.arrays import Array

#: Cells of a matrix up to this many CPUs carry their percentage as a number.
WIDEST_NUMBERED = 12
#: Up to so many CPUs have a bar each. More are steps of one area: between bars of some pixels the
#: gaps make a pattern of their own.
MOST_BARS = 24
#: More boxes along the diagonal hide it.
_MOST_BOXES = 128
#: CPUs named along an edge.
_MOST_NAMED = 16
#: A line darkens cells of two pixels' size that it crosses, and hides none.
_LINES: dict[str, Any] = {"color": "black", "alpha": 0.35, "lw": 0.6}
#: Decades of the colour scale.
_DECADES = 3
#: Inches: the edge of a map, of few CPUs and at most; the colour bar with its labels.
_SMALL_EDGE, _LARGEST_EDGE, _BAR, _BAR_GAP = 1.8, 5.6, 0.2, 0.25


def heat_map(matrix: Array, row: str, column: str, machine: Topology | None = None) -> Figure:
    """Counts by two CPUs on a logarithmic scale of three decades; the diagonal is what was local.

    Of more than 64 CPUs neighbours share nodes and caches, which are marked. Of more than 256 a
    cell is of several CPUs and shows the largest count among their pairs, so that no pair is lost.

    Args:
        matrix: (CPUs, CPUs).
        row: What the CPU of a row did.
        column: What the CPU of a column did.
        machine: Whose CPUs. Without it, nodes and caches are not known.
    """
    order = _order(matrix, machine)
    shown = matrix if order is None else order.largest(matrix)
    size = len(shown)
    edge = min(_LARGEST_EDGE, _SMALL_EDGE + 0.3 * size)
    figure, axis = figure_of(height=edge + TOP + BOTTOM)
    height = figure.get_figheight()
    axis.set_position((LEFT / WIDTH, BOTTOM / height, edge / WIDTH, edge / height))
    most = max(2, int(matrix.max(initial=0)))
    least = max(1, most / 10**_DECADES)
    norm = LogNorm(least, most, clip=True)
    # The most is darkest: on white, where nothing was counted, a bright cell would not be seen. The
    # viewer scales the cells, so that all are of one size.
    image = axis.imshow(
        np.ma.masked_equal(shown, 0), norm=norm, cmap="viridis_r", interpolation="none"
    )
    text = "count"
    if order is not None:
        _name_groups(axis, order)
        row, column = row + _how(order), column + _how(order)
        if (each := order.most_in_cell) > 1:
            text = f"count of the largest pair in a cell of {each} x {each} CPUs"
    elif size <= WIDEST_NUMBERED:
        _number_cells(axis, matrix, norm)
        text = "count (in the cells: % of all)"
    if order is None:
        _mark_diagonal(axis, np.arange(size + 1))
    axis.set_ylabel(row)
    axis.set_xlabel(column)
    axis.spines[:].set_visible(False)
    left = LEFT + edge + _BAR_GAP
    bar = figure.add_axes((left / WIDTH, BOTTOM / height, _BAR / WIDTH, edge / height))
    below = bool(((shown > 0) & (shown < least)).any())
    figure.colorbar(image, cax=bar, label=text, extend="min" if below else "neither")
    return figure


def _order(matrix: Array, machine: Topology | None) -> CpuOrder | None:
    """The order of many CPUs; None: few of them, each at its number."""
    size = len(matrix)
    if size <= MOST_BY_NUMBER:
        return None
    if machine is None:
        machine = Topology(size, tuple(range(size)), np.zeros((size + 1,) * 2, np.uint8))
    return order_of(machine, np.flatnonzero(matrix.any(axis=0) | matrix.any(axis=1)))


def _how(order: CpuOrder) -> str:
    return ", by node and cache" if order.is_known else ""


def _boxes_are_caches(order: CpuOrder) -> bool:
    return len(order.caches) <= _MOST_BOXES


def _number_cells(axis: Axes, matrix: Array, norm: LogNorm) -> None:
    total = max(1, int(matrix.sum()))
    for (of, to), count in np.ndenumerate(matrix):
        if count:
            ink = "white" if norm(count) > 0.5 else "black"  # noqa: PLR2004 - half way down viridis
            text = f"{100 * count / total:.1f}"
            axis.text(to, of, text, ha="center", va="center", color=ink, fontsize="small")
    axis.set_xticks(range(len(matrix)))
    axis.set_yticks(range(len(matrix)))


def _mark_diagonal(axis: Axes, borders: Array) -> None:
    """A box for each group of cells on the diagonal.

    Args:
        axis: Of the map.
        borders: Where groups begin, and where the last ends.
    """
    low, high = borders[:-1] - 0.5, borders[1:] - 0.5
    corners = [(low, low), (high, low), (high, high), (low, high), (low, low)]
    boxes = np.stack([np.stack(corner, axis=1) for corner in corners], axis=1)
    axis.add_collection(LineCollection(list(boxes), **_LINES))


def _name_groups(axis: Axes, order: CpuOrder) -> None:
    """Lines between nodes, boxes around caches on the diagonal, and the first CPU of each."""
    size = order.cells
    several = len(order.nodes) > 1
    for border in order.nodes[1:].tolist():
        for line in (axis.axhline, axis.axvline):
            line(border - 0.5, **_LINES)
    groups = order.caches if _boxes_are_caches(order) else order.nodes
    if len(groups) == 1:
        groups = np.arange(0, size, max(1, size // MOST_BY_NUMBER))
    _mark_diagonal(axis, np.append(groups, size))
    named = order.nodes if several and len(order.nodes) <= _MOST_NAMED else groups
    named = named[:: -(-len(named) // _MOST_NAMED)]
    names = order.cpus[order.starts[named]].tolist()
    axis.set_xticks(named, names)
    axis.set_yticks(named, names)


def per_cpu(matrix: Array, row: str, column: str, machine: Topology | None = None) -> Figure:
    """For every CPU as row and as column of the matrix: how much, and which part local.

    Of more than 64 CPUs they are in the order of `heat_map`; of more than 256, the busiest of each
    few neighbours is shown.

    Args:
        matrix: (CPUs, CPUs).
        row: Title of the left half, or upper one.
        column: Title of the right half, or lower one.
        machine: As of `heat_map`.
    """
    order = _order(matrix, machine)
    local = np.diagonal(matrix)
    if order is None:
        figure, axes = figure_of(1, 2, sharey=True)
    else:
        figure, axes = figure_of(2, 1, height=4.6, sharey=True, between=(0.55, 0.2))
    for axis, whole, title in zip(
        axes, (matrix.sum(axis=1), matrix.sum(axis=0)), (row, column), strict=True
    ):
        cpus = np.arange(len(matrix)) if order is None else order.busiest(whole)
        _bars(axis, local[cpus], (whole - local)[cpus])
        axis.yaxis.set_major_formatter(EngFormatter(sep=""))
        if order is None:
            axis.set_xlabel(title)
            axis.xaxis.set_major_locator(MaxNLocator(integer=True))
            continue
        each = f"; the busiest of each {order.most_in_cell}" * (order.most_in_cell > 1)
        axis.set_xlabel(f"{title}{_how(order)}{each}")
        _name_along(axis, order)
    legend(figure, axes[0])
    return figure


def marks(machine: Topology) -> str:
    """What the lines of a `heat_map` are, as a further sentence of its caption; may be empty."""
    if machine.possible <= MOST_BY_NUMBER:
        return ""
    order = order_of(machine, np.zeros(0, np.int64))
    said = []
    if len(order.nodes) > 1:
        said.append("lines separate NUMA nodes")
    if len(order.caches) > 1 and _boxes_are_caches(order):
        said.append("boxes are last-level caches")
    words = "; ".join(said)
    return f" {words[0].upper()}{words[1:]}." if words else ""


def halves(machine: Topology) -> tuple[str, str]:
    """Where `per_cpu` draws rows and columns of a matrix, in words."""
    return ("left", "right") if machine.possible <= MOST_BY_NUMBER else ("above", "below")


def _name_along(axis: Axes, order: CpuOrder) -> None:
    several = len(order.nodes) > 1
    for border in order.nodes[1:].tolist():
        axis.axvline(border - 0.5, color=GREY, lw=0.6)
    named = order.nodes if several and len(order.nodes) <= _MOST_NAMED else order.caches
    named = named[:: -(-len(named) // _MOST_NAMED)]
    axis.set_xticks(named, order.cpus[order.starts[named]].tolist())


def _bars(axis: Axes, local: Array, elsewhere: Array) -> None:
    size = len(local)
    look: tuple[tuple[Array, Array, dict[str, Any]], ...] = (
        (np.zeros_like(local), local, {"facecolor": LOCAL, "label": "local"}),
        (local, local + elsewhere, {"facecolor": REMOTE, "hatch": HATCH, "label": "elsewhere"}),
    )
    if size <= MOST_BARS:
        for low, high, of_part in look:
            axis.bar(np.arange(size), high - low, bottom=low, **of_part)
        return
    borders = np.arange(size + 1) - 0.5
    for low, high, of_part in look:
        if size > MOST_BY_NUMBER:  # hatching would cut narrow steps into pieces
            of_part.pop("hatch", None)
        # A last step for the last CPU; without lines, which would widen what is narrow.
        axis.fill_between(
            borders,
            np.append(low, low[-1]),
            np.append(high, high[-1]),
            step="post",
            edgecolor="black",
            linewidth=0,
            **of_part,
        )
    axis.set_xlim(-0.5, size - 0.5)
    axis.set_ylim(bottom=0)
