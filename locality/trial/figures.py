"""The figures of a trial: effects with their intervals, and both arms over time."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from locality.reporting.canvas import BOTTOM, room_for_names
from locality.reporting.figures import COLOURS, GREY, LOCAL, REMOTE, figure_of, legend, plain
from locality.trial import clustered, paired
from locality.trial import scale as scales
from locality.trial.observation import A, B

# isort: split
from matplotlib.ticker import EngFormatter, LogLocator, NullLocator, PercentFormatter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from locality.arrays import Array
    from locality.trial.effects import Effect, Interval
    from locality.trial.observation import Outcome, Trial
    from locality.trial.scale import Scale

#: Outcomes of a figure; more do not fit.
MOST_OUTCOMES = 16
#: By connection, the arms are drawn in so many parts of the time at most.
_PARTS = 30
#: A part has so many connections of each arm at least, for each statistic.
_OF_PART = {"mean": 5, "p50": 5, "p99": 100}
#: A name beside an axis has no more letters than this.
_LONGEST = 36
#: This part of the axis is free on each side of what is drawn.
_MARGIN = 0.08


def effects(found: Sequence[Effect]) -> Figure:
    """Effects with their intervals; grey, a little below: A against A.

    Args:
        found: Those of a trial. Relative ones share an axis, others have one each.
    """
    shown = [one for one in found if one.interval is not None][:MOST_OUTCOMES]
    relative = [one for one in shown if one.interval and one.interval.scale == "relative"]
    groups = [relative] if relative else []
    groups += [[one] for one in shown if one not in relative]
    if not groups:
        figure, axis = figure_of(height=1.0)
        axis.text(0.5, 0.5, "too little to tell", ha="center")
        axis.set_axis_off()
        return figure
    rows = [len(group) for group in groups]
    figure, axes = figure_of(
        len(groups),
        1,
        height=1.0 + 0.42 * sum(rows) + 0.5 * len(rows),
        # An axis has its own label below it, and not the next axis.
        between=(BOTTOM + 0.1, 0.2),
        height_ratios=rows,
    )
    for axis, group in zip(np.ravel(axes), groups, strict=True):
        _intervals(axis, group)
    room_for_names(figure)
    legend(figure, np.ravel(axes)[0])
    return figure


def _name(effect: Effect) -> str:
    """The outcome, as it stands beside the axis."""
    name = plain(effect.outcome.label)
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 3]}..."


def _intervals(axis: Axes, group: Sequence[Effect]) -> None:
    ends = [0.0]
    for place, effect in enumerate(group):
        colour = {"better": LOCAL, "worse": REMOTE}.get(effect.verdict.value, "black")
        for interval, below, look in (
            (effect.interval, 0.0, {"color": colour, "lw": 3}),
            (effect.aa, 0.28, {"color": GREY, "lw": 1.5}),
        ):
            if interval is not None:
                label = "A against A" if below else "B against A"
                # A label that begins so is not in the legend.
                label = f"_{label}" if place else label
                _interval(axis, interval, place + below, label, look)
                ends += [interval.low, interval.high]
    axis.axvline(0, color=GREY, lw=1)
    low, high = min(ends), max(ends)
    margin = _MARGIN * ((high - low) or 1.0)
    axis.set_xlim(low - margin, high + margin)
    axis.set_ylim(len(group) - 0.4, -0.6)
    axis.set_yticks(range(len(group)), map(_name, group), fontsize="small")
    interval = group[0].interval
    if interval is not None and interval.scale == "relative":
        axis.xaxis.set_major_formatter(PercentFormatter(1.0))
        axis.set_xlabel("B against A")
    else:
        axis.set_xlabel(plain(f"B - A, {group[0].outcome.unit}"))
    axis.grid(axis="x", alpha=0.3)


def _interval(axis: Axes, interval: Interval, at: float, label: str, look: dict[str, Any]) -> None:
    axis.hlines(at, interval.low, interval.high, label=label, **look)
    axis.plot([interval.estimate], [at], "o", color=look["color"], markersize=2 * look["lw"])


def over_time(trial: Trial, outcomes: Sequence[Outcome]) -> Figure:
    """The values of both arms over the time of the trial, an outcome below the other.

    By blocks: each block, joined with the other of its pair. By connection: the statistic of the
    connections of each arm in parts of the time.

    Args:
        trial: Whole, or as far as it has come.
        outcomes: Which of its outcomes; at least one.
    """
    figure, axes = figure_of(
        len(outcomes), 1, height=0.6 + 1.9 * len(outcomes), sharex=True, squeeze=False
    )
    for axis, outcome in zip(axes[:, 0], outcomes, strict=True):
        draw = _blocks if trial.design.kind == "blocks" else _connections
        scale = draw(axis, trial, outcome)
        if scale == "relative":
            axis.set_yscale("log")
            axis.yaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7), numticks=12))
            axis.yaxis.set_minor_locator(NullLocator())
        axis.yaxis.set_major_formatter(EngFormatter(sep=""))
        unit = f", {outcome.unit}" if outcome.unit else ""
        axis.set_ylabel(plain(f"{outcome.label}{unit}"), fontsize="small")
        axis.grid(axis="y", alpha=0.3)
    axes[-1, 0].set_xlabel("seconds from the beginning")
    legend(figure, axes[0, 0])
    return figure


def _blocks(axis: Axes, trial: Trial, outcome: Outcome) -> Scale:
    units, label = trial.units, outcome.label
    pairs = paired.pairs_of(units, label)
    for arm, name in ((A, trial.design.arms[A]), (B, trial.design.arms[B])):
        of_arm = units[(units["arm"] == arm) & scales.known(units[label])]
        axis.plot(of_arm["time"], of_arm[label], ".", color=COLOURS[arm], label=_arm(arm, name))
    for number in pairs.number:
        both = np.sort(units[units["pair"] == number], order="time")
        axis.plot(both["time"], both[label], color=GREY, lw=0.6, alpha=0.6, zorder=0)
    return pairs.scale


def _connections(axis: Axes, trial: Trial, outcome: Outcome) -> Scale:
    values, arm, summary, scale = clustered.connections_of(
        trial.units, outcome.label, outcome.summary
    )
    times = np.sort(trial.units["time"][scales.known(trial.units[outcome.label])])
    parts = int(np.clip(len(values) // (4 * _OF_PART[summary]), 1, _PARTS))
    edges = np.arange(parts + 1) * len(values) // parts
    for side, name in ((A, trial.design.arms[A]), (B, trial.design.arms[B])):
        points = _points(values, times, arm == side, edges, outcome)
        axis.plot(*points, marker=".", color=COLOURS[side], label=_arm(side, name))
    return scale


def _points(
    values: Array, times: Array, mine: Array, edges: Array, outcome: Outcome
) -> tuple[list[float], list[float]]:
    at, found = [], []
    for low, high in pairwise(edges):
        part = values[low:high][mine[low:high]]
        if len(part):
            at.append(float(times[low:high].mean()))
            found.append(clustered.statistic(part, outcome.summary))
    return at, found


def _arm(arm: int, name: str) -> str:
    return plain(f"{'AB'[arm]}: {name}")
