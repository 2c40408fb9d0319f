"""The report's figures of datagrams: see `locality.reporting.figures`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from locality.reporting.figures import (
    COLOURS,
    LOCAL,
    REMOTE,
    figure_of,
    legend,
    percent_axis,
    plain,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.figure import Figure

    from locality.arrays import Array

#: Bars that can be told from each other.
MOST_BARS = 64
_DASHES = ("-", "--", "-.", ":")


def socket_shares(sides: Mapping[str, Array], places: Sequence[str]) -> Figure:
    """The share of each socket of a group, and the even share as a line.

    Args:
        sides: By legend: (sockets,) per cent of the group's datagrams; one side, or two.
        places: What each socket is called.
    """
    figure, axis = figure_of(height=2.8)
    shown = places[:MOST_BARS]
    thick = 0.8 / len(sides)
    colours = (REMOTE, LOCAL) if len(sides) > 1 else (COLOURS[0],)
    for number, ((name, shares), colour) in enumerate(zip(sides.items(), colours, strict=True)):
        part = shares[:MOST_BARS]
        at = np.arange(len(part)) + (number - (len(sides) - 1) / 2) * thick
        bars = axis.bar(at, part, thick * 0.9, color=colour, label=plain(name))
        if len(shown) * len(sides) <= MOST_BARS // 2:
            axis.bar_label(bars, [f"{share:.1f}" for share in part], fontsize="x-small")
    axis.axhline(100 / len(places), color="black", lw=1, ls=":", label="even share")
    axis.set_xticks(np.arange(len(shown)), shown, parse_math=False, fontsize="small")
    percent_axis(axis, "% of the datagrams")
    axis.set_ylim(0, 112)
    axis.set_xlabel("socket, by its index in the group (-: not known)")
    legend(figure, axis)
    return figure


def effective_over_time(curves: Mapping[str, tuple[Array, Array]], most: int) -> Figure:
    """How many sockets share the work as if evenly, interval by interval.

    Args:
        curves: By legend: seconds from the start, and the effective number of sockets.
        most: Sockets of the largest group.
    """
    figure, axis = figure_of(height=2.8)
    for number, (name, (at, effective)) in enumerate(curves.items()):
        look = {"color": COLOURS[number % len(COLOURS)], "ls": _DASHES[number % len(_DASHES)]}
        axis.plot(at, effective, marker="o", markersize=3, label=plain(name), **look)
    axis.set_ylim(0, most * 1.08)
    axis.set_ylabel("effective sockets")
    axis.set_xlabel("seconds from the start")
    axis.grid(axis="y", alpha=0.3)
    legend(figure, axis)
    return figure
