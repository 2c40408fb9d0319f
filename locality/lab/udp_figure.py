"""The scaling experiment's figure: throughput, and its cost, over the number of sockets."""

from __future__ import annotations

from functools import partial
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

import locality.reporting.settings  # noqa: F401 - before matplotlib: see there

# isort: split
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from locality.files import new_file
from locality.lab.udp_account import gigabits
from locality.reporting.figures import COLOURS, png, svg

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

    from locality.lab.udp_cases import Figures, Result

DASHES = {"many": "-", "one": "--"}
MARKERS = {"many": "o", "one": "s"}
PANEL_INCHES = 4.6
DODGE = 0.025
"""How far apart lines are at one number of sockets."""


def draw(results: Sequence[Result], *, shared_from: int | None = None) -> Figure:
    """A column for each packet size; a line for each steering and kind of flows.

    Above is throughput: the line goes through the medians, the bars are from the lowest to
    the highest round. Below are datagrams a second of the workers' CPU time.

    Args:
        results: Cases that were refused are left out.
        shared_from: From this number of sockets on, workers and sender share CPUs: shaded.
    """
    sizes = sorted({one.case.size for one in results})
    figure = Figure(figsize=(1.6 + PANEL_INCHES * len(sizes), 6.4), layout="constrained")
    FigureCanvasAgg(figure)
    above, below = figure.subplots(2, len(sizes), squeeze=False, sharex="col", height_ratios=(3, 2))
    # In every panel a line has the same colour and place.
    lines = list(product(dict.fromkeys(one.case.steering for one in results), DASHES))
    shown: dict[str, Artist] = {}
    for top, bottom, size in zip(above, below, sizes, strict=True):
        mine = [one for one in results if one.case.size == size]
        _panel(top, mine, lines, partial(_throughput, size=size))
        _panel(bottom, mine, lines, _cost)
        _shade(bottom, mine, shared_from, "")
        _shade(top, mine, shared_from, "sender shares CPUs with workers")
        top.set_title(f"IP packets of {size} bytes", fontsize="medium")
        bottom.set_xlabel("sockets, one worker each")
        handles, labels = top.get_legend_handles_labels()
        shown |= dict(zip(labels, handles, strict=True))
    above[0].set_ylabel("read by the workers, Gbit/s")
    below[0].set_ylabel("thousands read a CPU second")
    figure.legend(
        *(list(shown.values()), list(shown)),
        loc="outside right upper",
        frameon=False,
        fontsize="small",
    )
    return figure


def _panel(
    axis: Axes,
    results: Sequence[Result],
    lines: Sequence[tuple[str, str]],
    figure_of: Callable[[Figures], tuple[float, ...]],
) -> None:
    steerings = list(dict.fromkeys(steering for steering, _ in lines))
    for number, (steering, flows) in enumerate(lines):
        points = sorted(
            (one.case.sockets, *figure_of(one.figures))
            for one in results
            if (one.case.steering, one.case.flows) == (steering, flows) and one.figures is not None
        )
        if not points:
            continue
        count, median, lowest, highest = np.array(points).T
        # Side by side, or the bars of eight lines would hide each other.
        aside = DODGE * (number - (len(lines) - 1) / 2)
        axis.errorbar(
            *(count + aside, median, (median - lowest, highest - median)),
            color=COLOURS[steerings.index(steering) % len(COLOURS)],
            linestyle=DASHES[flows],
            marker=MARKERS[flows],
            markersize=4,
            elinewidth=0.8,
            label=f"{steering}, {flows} flow{'s' if flows == 'many' else ''}",
        )
    counts = [one.case.sockets for one in results]
    axis.set_xlim(min(counts) - 0.5, max(counts) + 0.5)
    axis.set_ylim(bottom=0)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.grid(axis="y", alpha=0.3)
    axis.spines[["top", "right"]].set_visible(False)


def _shade(axis: Axes, results: Sequence[Result], shared_from: int | None, words: str) -> None:
    most = max(one.case.sockets for one in results)
    if shared_from is not None and shared_from <= most:
        axis.axvspan(shared_from - 0.5, most + 0.5, color="#6b7280", alpha=0.12, lw=0)
        axis.text(
            *(shared_from - 0.45, 0.02, words),
            transform=axis.get_xaxis_transform(),
            fontsize="x-small",
            color="#6b7280",
        )


def _throughput(figures: Figures, size: int) -> tuple[float, ...]:
    """The median, the lowest and the highest round, in Gbit/s."""
    found = (figures.read_pps, min(figures.rounds), max(figures.rounds))
    return tuple(gigabits(each, size) for each in found)


def _cost(figures: Figures) -> tuple[float, ...]:
    """Thousands of datagrams a CPU second: one figure of all rounds."""
    return (figures.per_cpu_second / 1000,) * 3


def save(figure: Figure, path: Path) -> None:
    """Write it as PNG where the name ends so, else as SVG.

    Raises:
        LocalityError: The file cannot be written.
    """
    drawn = png(figure) if path.suffix == ".png" else svg(figure).encode()
    with new_file(path, force=True) as file:
        file.write(drawn)
