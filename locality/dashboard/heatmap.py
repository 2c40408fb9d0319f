"""Heat maps of CPU against CPU, grouped until they fit.

Each cell prints its share of the row, so that nothing is told by colour alone: green is
the diagonal, where a packet stays on its CPU, red is everywhere else.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from rich.style import Style

from locality.dashboard.frame import DIM, PLAIN, STRONG, Line, column, line
from locality.machine.topology import Distance

if TYPE_CHECKING:
    from collections.abc import Sequence

    from locality.arrays import Array
    from locality.machine.topology import Topology

_NAMES = {
    Distance.CPU: "CPU",
    Distance.CORE: "core",
    Distance.LLC: "LLC",
    Distance.NODE: "NUMA node",
}
#: From faint to strong, white on each can be read.
_AT_HOME = [
    Style(color="white", bgcolor=colour) for colour in ("#12301c", "#16482a", "#1a6338", "#1d8047")
]
_AWAY = [
    Style(color="white", bgcolor=colour) for colour in ("#3a1614", "#5c1d19", "#84261f", "#b03026")
]
#: Cells of the widest row label, and of the column with each row's share of everything.
_WIDEST_LABEL = 11
_TOTAL = 5


@dataclass(frozen=True)
class Grouping:
    """CPUs put together.

    Attributes:
        level: What the CPUs of a group share: CPU, core, LLC, NUMA node; or neighbours,
            which only have numbers that follow each other.
        groups: CPU numbers, each ascending.
    """

    level: str
    groups: tuple[tuple[int, ...], ...]

    @property
    def labels(self) -> list[str]:
        """A name for each group."""
        return [label(group) for group in self.groups]


def label(cpus: Sequence[int]) -> str:
    """``#3``, ``#0-3``, ``#0,32``."""
    if len(cpus) > 1 and all(after == before + 1 for before, after in pairwise(cpus)):
        return f"#{cpus[0]}-{cpus[-1]}"
    return "#" + ",".join(map(str, cpus))


def group_cpus(machine: Topology, cpus: Sequence[int], most: int) -> Grouping:
    """At most so many groups, by the nearest relation that gives so few.

    Where only a relation that all CPUs share would do, neighbours are put together: one
    group of everything shows nothing.
    """
    if len(cpus) <= most:
        return Grouping(_NAMES[Distance.CPU], tuple((cpu,) for cpu in cpus))
    for level in (Distance.CORE, Distance.LLC, Distance.NODE):
        left = np.array(cpus)
        groups: list[tuple[int, ...]] = []
        while len(left) and len(groups) <= most:
            near = machine.distances[left[0], left] <= level
            groups.append(tuple(left[near].tolist()))
            left = left[~near]
        if 1 < len(groups) <= most:
            return Grouping(_NAMES[level], tuple(groups))
    size = -(-len(cpus) // max(1, most))
    return Grouping(
        "neighbours", tuple(tuple(cpus[at : at + size]) for at in range(0, len(cpus), size))
    )


def heat_map(
    matrix: Array, machine: Topology, title: str, *, width: int, height: int
) -> list[Line]:
    """A matrix in a block of at most this size; title and heading take two of its lines.

    Args:
        matrix: (CPUs or CPUs + 1, CPUs) counts; a further row is "no CPU known".
        machine: For the grouping; its offline CPUs are left out unless they were counted.
        title: Says what rows and columns are; the grouping is added.
        width: Cells.
        height: Lines.
    """
    possible = machine.possible
    used = matrix[:possible].any(axis=1) | matrix[:possible].any(axis=0)
    cpus = sorted({*machine.online, *np.flatnonzero(used).tolist()})
    cell = max(4, len(f"#{cpus[-1]}") + 1)
    stranger = bool(matrix[possible:].any())
    columns = (width - _TOTAL - min(_WIDEST_LABEL, len(f"#{cpus[-1]}"))) // cell
    grouping = group_cpus(machine, cpus, max(1, min(columns, height - 2 - stranger)))
    if grouping.level != _NAMES[Distance.CPU]:
        columns = (width - _TOTAL - _WIDEST_LABEL) // cell
        grouping = group_cpus(machine, cpus, max(1, min(columns, height - 2 - stranger)))
    rows = [matrix[list(group)].sum(axis=0) for group in grouping.groups]
    labels = grouping.labels
    if stranger:
        rows.append(matrix[possible])
        labels.append("?")
    counts = np.array([[row[list(group)].sum() for group in grouping.groups] for row in rows])
    side = min(_WIDEST_LABEL, max(map(len, labels)))
    heads = [f"{f'#{group[0]}':>{cell}}" for group in grouping.groups]
    lines = [
        line((f"{title}, % of row by {grouping.level}", STRONG)),
        line((" " * side + "".join(heads) + f"{'all':>{_TOTAL}}", DIM)),
    ]
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1) * 100
    of_all = counts.sum(axis=1) / max(counts.sum(), 1) * 100
    for at, (name, row, part) in enumerate(zip(labels, shares.tolist(), of_all, strict=True)):
        cells = [
            (f"{figure(value):>{cell}}", _style(value, at_home=at == there))
            for there, value in enumerate(row)
        ]
        lines.append(line(column(name, side), *cells, (f"{figure(part):>{_TOTAL}}", DIM)))
    return lines


def figure(percent: float) -> str:
    """A share in at most three cells; nothing at all is a dot, and only all is 100."""
    if not percent:
        return "·"
    # A sum of parts may be a hair below the whole in binary.
    return "<1" if percent < 1 else str(int(round(percent, 6)))


def _style(percent: float, *, at_home: bool) -> Style:
    if not percent:
        return PLAIN
    shades = _AT_HOME if at_home else _AWAY
    return shades[min(int(percent * len(shades) / 100), len(shades) - 1)]
