"""What a change did to the share that is local, by what was counted before and after it."""

from __future__ import annotations

from enum import Enum
from itertools import accumulate
from typing import TYPE_CHECKING

from locality.machine.distance import by_distance, distance_text
from locality.reporting.statistics import compare
from locality.text import percent, share

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

    A difference of the local share counts where its interval leaves out zero. Where both are the
    same, as without a worker on any RX CPU, the share on the same core counts, and so on.
    """
    lines = []
    for when, counted in (("before", before), ("after", after)):
        lines.append(counted_line(when, counted, seconds))
        if counted.total:
            lines.append(f"  {distance_text(_apart(counted), counted.machine)}")
    change = compare([before.series], [after.series])
    if change is not None and before.local * after.total != after.local * before.total:
        lines.append(f"  {change.sentence.partition(': ')[2]}")
    return lines, outcome(before, after)


def outcome(before: Counted, after: Counted) -> Outcome:
    """What a change did; see `verdict`."""
    if not before.total or not after.total:
        return Outcome.NOT_SHOWN
    was, now = _nearness(before), _nearness(after)
    if was[0] == now[0]:
        return Outcome.BETTER if now > was or was[0] == 1 else Outcome.NOT_SHOWN
    change = compare([before.series], [after.series])
    if change is None or not change.shown:
        return Outcome.NOT_SHOWN
    return Outcome.BETTER if change.effect > 0 else Outcome.WORSE


def _apart(counted: Counted) -> Counts:
    return by_distance(counted.matrix, counted.machine.distances)


def _nearness(counted: Counted) -> list[float]:
    """The share at most so far from its RX CPU, by distance."""
    return [near / counted.total for near in accumulate(_apart(counted).values())]
