"""The report's figures, drawn with matplotlib without a display and without pyplot's state.

Every function returns a `Figure` of its own that can be saved, or shown by a notebook as
the last value of a cell. `locality.reporting.canvas` says how names from a recording are shown.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

import locality.reporting.settings  # noqa: F401 - before matplotlib: see there

# isort: split
from matplotlib.ticker import EngFormatter, FuncFormatter

from locality.reporting.canvas import (
    COLOURS,
    GREY,
    HATCH,
    LOCAL,
    REMOTE,
    figure_of,
    legend,
    percent_axis,
    plain,
    png,
    svg,
)
from locality.reporting.matrices import halves, heat_map, marks, per_cpu

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.figure import Figure

    from locality.arrays import Array
    from locality.machine.distance import Counts
    from locality.reporting.over_time import OverTime
    from locality.reporting.statistics import Change

__all__ = [
    "COLOURS",
    "GREY",
    "HATCH",
    "LOCAL",
    "MOST_POINTS",
    "MOST_WORKERS",
    "REMOTE",
    "change",
    "distance_classes",
    "figure_of",
    "halves",
    "heat_map",
    "legend",
    "local_over_time",
    "marks",
    "per_cpu",
    "percent_axis",
    "plain",
    "png",
    "svg",
    "time_distribution",
]

MOST_WORKERS = 20
#: Of a curve of all events by their time: more points draw the same curve.
MOST_POINTS = 10_000


def local_over_time(curves: Mapping[str, OverTime], rate: str) -> Figure:
    """Percent local above, how much there was below, over the same seconds.

    Args:
        curves: By legend.
        rate: What is counted: ``accepts/s`` or ``packets/s``.
    """
    figure, (above, below) = figure_of(2, 1, height=4.2, sharex=True, height_ratios=[3, 2])
    for number, (name, run) in enumerate(curves.items()):
        # A single interval has no line; its marker is seen.
        marker = "o" if len(run.at) < 2 * MOST_WORKERS else None
        look: dict[str, Any] = {"marker": marker, "markersize": 3}
        # Curves that lie on each other are still both seen.
        look |= {"color": COLOURS[number % len(COLOURS)], "ls": ("-", "--", "-.", ":")[number % 4]}
        above.plot(run.at, run.share, label=plain(name), **look)
        below.plot(run.at, run.events / run.seconds, **look)
    percent_axis(above, "local, %")
    if len(curves) > 1:
        legend(figure, above)
    below.set_ylim(bottom=0)
    below.set_ylabel(rate)
    below.yaxis.set_major_formatter(EngFormatter(sep=""))
    below.set_xlabel("seconds from the start")
    return figure


def time_distribution(times_of: Mapping[str, Array], what: str, how_long: str) -> Figure:
    """How many took how long, cumulated.

    Args:
        times_of: By legend: ns, ascending.
        what: Label of the shares.
        how_long: Label of the times; the dotted lines are median and p99.
    """
    figure, axis = figure_of()
    for (name, times), colour in zip(times_of.items(), COLOURS, strict=False):
        # A thousand points draw the same curve as ten million.
        rank = np.unique(np.linspace(0, len(times) - 1, 1000).astype(np.int64))
        share = 100 * (rank + 1) / len(times)
        axis.step(
            np.maximum(times[rank], 1) / 1e9, share, where="post", color=colour, label=plain(name)
        )
        for percentile in (50, 99):
            axis.axvline(np.percentile(times, percentile) / 1e9, color=colour, ls=":", lw=1)
    axis.set_xscale("log")
    axis.xaxis.set_major_formatter(EngFormatter("s", sep=""))
    percent_axis(axis, what)
    axis.set_xlabel(how_long)
    if len(times_of) > 1:
        legend(figure, axis)
    return figure


def distance_classes(counts: Mapping[str, Counts | None]) -> Figure:
    """Percent by how far the two CPUs are apart.

    Args:
        counts: By legend: counts by distance, nearest first; None for what was not seen.
    """
    seen = {name: classes for name, classes in counts.items() if classes is not None}
    figure, axis = figure_of(height=2.6)
    thick = 0.8 / max(1, len(seen))
    for number, ((name, classes), colour) in enumerate(zip(seen.items(), COLOURS, strict=False)):
        total = max(1, sum(classes.values()))
        shares = [100 * count / total for count in classes.values()]
        places = np.arange(len(classes)) + (number - (len(seen) - 1) / 2) * thick
        bars = axis.bar(places, shares, thick * 0.9, color=colour, label=plain(name))
        axis.bar_label(bars, [f"{share:.1f}" for share in shares], fontsize="x-small")
        axis.set_xticks(np.arange(len(classes)), [distance.word for distance in classes])
    percent_axis(axis, "% of those known")
    axis.set_ylim(0, 112)
    axis.set_xlabel("the two CPUs are the same, or share this much")
    if len(seen) > 1:
        legend(figure, axis)
    return figure


def change(before: Sequence[OverTime], after: Sequence[OverTime], found: Change) -> Figure:
    """Percent local of every run over its time, and the difference with its interval."""
    figure, (runs, effect) = figure_of(1, 2, height=3.0, width_ratios=[4, 1], between=(0.2, 0.9))
    for side, name, colour in ((before, "before", REMOTE), (after, "after", LOCAL)):
        for number, run in enumerate(side):
            label = name if number == 0 else None
            ends = "--" if name == "before" else "-"
            runs.plot(run.at, run.share, ends, color=colour, label=label, alpha=0.9, marker=".")
    percent_axis(runs, "local, %")
    runs.set_xlabel("seconds from each recording's start")
    legend(figure, runs)
    reach = 0.0
    if found.interval is not None:
        low, high = found.interval
        effect.vlines(0, low, high, color="black", lw=3)
        reach = max(abs(low), abs(high))
    effect.plot([0], [found.effect], "o", color="black", markersize=7)
    reach = 1.15 * max(reach, abs(found.effect), 1.0)
    effect.axhline(0, color=GREY, lw=1)
    effect.set_ylim(-reach, reach)
    effect.set_xlim(-1, 1)
    effect.set_xticks([])
    effect.yaxis.set_major_formatter(
        FuncFormatter(lambda value, _: f"{value:+g}" if value else "0")
    )
    effect.set_ylabel("after - before, points")
    effect.grid(axis="y", alpha=0.3)
    return figure
