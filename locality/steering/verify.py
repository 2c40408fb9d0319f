"""What a change did to the share that is local, by what was counted before and after it."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

import numpy as np

from locality.machine.distance import by_distance, distance_text, shown
from locality.reporting.statistics import Series, compare
from locality.text import duration, percent, share

if TYPE_CHECKING:
    from locality.machine.distance import Counts
    from locality.steering.count import Counted


class Outcome(Enum):
    """What a change did to the nearness of accepts or reads."""

    BETTER = "better"
    WORSE = "worse"
    NOT_SHOWN = "no difference shown"


def counted_line(when: str, counted: Counted, seconds: float) -> str:
    """What was counted, in words."""
    measured = counted.measured
    return (
        f"{when}: {percent(share(counted.local, counted.total), 2)} {measured.figure}, "
        f"{counted.total} {measured.done} in {seconds:g} s, {counted.lost} lost"
    )


def verdict(before: Counted, after: Counted, seconds: float) -> tuple[list[str], Outcome]:
    """Both figures in words, and what a change did.

    A difference of the local share counts where its interval leaves out zero. Where it does not, as
    without a worker on any RX CPU, the share on the same core counts by its interval, and so on.
    """
    lines = []
    for when, counted in (("before", before), ("after", after)):
        lines.append(counted_line(when, counted, seconds))
        if counted.total:
            lines.append(f"  {distance_text(_apart(counted), counted.machine)}")
    change = compare([before.series], [after.series])
    if change is not None and before.local * after.total != after.local * before.total:
        lines.append(f"  {change.sentence.partition(': ')[2]}")
    if _is_perfect(before) and _is_perfect(after):
        lines.append(f"  it was 100 % {before.measured.figure} already: nothing to improve")
    return lines, outcome(before, after)


def outcome(before: Counted, after: Counted) -> Outcome:
    """What a change did; see `verdict`."""
    if not before.total or not after.total:
        return Outcome.NOT_SHOWN
    if _is_perfect(before) and _is_perfect(after):
        return Outcome.BETTER  # as good as it can be
    for distance in shown(None, before.machine):
        change = compare([before.within(distance)], [after.within(distance)])
        if change is not None and change.shown:
            return Outcome.BETTER if change.effect > 0 else Outcome.WORSE
    return Outcome.NOT_SHOWN


def verdict_with_waits(
    before: Counted, after: Counted, seconds: float
) -> tuple[list[str], Outcome]:
    """The same for a change that gives up some locality where a queue is long.

    It did good if the local share or the waits for accept() did, and harm if one of them was harmed
    and the other did not gain.
    """
    lines, local = verdict(before, after, seconds)
    told, tail = _waits(before, after)
    lines += told
    outcomes = {local, tail}
    if Outcome.BETTER in outcomes:
        if Outcome.WORSE in outcomes:
            lines.append("  one figure got better and the other worse, as --spill may trade them")
        return lines, Outcome.BETTER
    return lines, Outcome.WORSE if Outcome.WORSE in outcomes else Outcome.NOT_SHOWN


def _waits(before: Counted, after: Counted) -> tuple[list[str], Outcome]:
    """How long connections waited for accept(), and whether the long waits became rarer."""
    was, now = before.waits.waits, after.waits.waits
    if not len(was) or not len(now):
        return [], Outcome.NOT_SHOWN
    lines = [
        f"  {when}: waited for accept(): median {duration(median)}, p99 {duration(p99)}"
        for when, waits in (("before", was), ("after", now))
        for median, p99 in [np.percentile(waits, [50, 99])]
    ]
    limit = float(np.percentile(was, 99))
    series = [Series(*one.waits.longer_than(limit)) for one in (before, after)]
    change = compare([series[0]], [series[1]])
    if change is None:
        return lines, Outcome.NOT_SHOWN
    lines.append(f"  waited longer than {duration(limit)}: {change.sentence}")
    if not change.shown:
        return lines, Outcome.NOT_SHOWN
    return lines, Outcome.BETTER if change.effect < 0 else Outcome.WORSE


def _is_perfect(counted: Counted) -> bool:
    """Whether something was counted, and all of it was local."""
    return 0 < counted.total == counted.local


def _apart(counted: Counted) -> Counts:
    return by_distance(counted.matrix, counted.machine.distances)
