"""Which hosts are more or less local than before, with so few false ones that one can look at them.

Among a thousand hosts that did not change, fifty would look as if they had, if each were judged
by a 95 % interval alone. So of the hosts that are shown, at most 5 % are expected to be false
(Benjamini and Hochberg 1995).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from locality.trial import student

if TYPE_CHECKING:
    from collections.abc import Sequence

    from locality.fleet.hosts import Host

FALSE = 0.05
_LEVEL = 0.975


@dataclass(frozen=True)
class Change:
    """A host that changed.

    Attributes:
        before: The host then.
        after: The host now.
        points: How far its local share moved, percentage points.
        low: The lower end of its 95 % interval.
        high: The upper end.
    """

    before: Host
    after: Host
    points: float
    low: float
    high: float


@dataclass(frozen=True)
class Changes:
    """What changed.

    Attributes:
        worse: Hosts that are less local, the worst first.
        better: Hosts that are more local, the best first.
        compared: How many hosts could be compared.
        not_told: How many have no interval, then or now.
        new: How many were not there then.
        gone: How many are not there now.
    """

    worse: tuple[Change, ...]
    better: tuple[Change, ...]
    compared: int
    not_told: int
    new: int
    gone: int


def changes(before: Sequence[Host], after: Sequence[Host]) -> Changes:
    """Compare the hosts of two times."""
    then = {(host.cluster, host.name): host for host in before}
    now = {(host.cluster, host.name): host for host in after}
    both = [(then[key], now[key]) for key in now if key in then]
    compared = [(one, p) for pair in both if (one := _change(*pair)) for p in [_p_value(one)]]
    shown = [one for one, _ in _shown(compared)]
    return Changes(
        worse=tuple(sorted((one for one in shown if one.points < 0), key=lambda one: one.points)),
        better=tuple(sorted((one for one in shown if one.points > 0), key=lambda one: -one.points)),
        compared=len(compared),
        not_told=len(both) - len(compared),
        new=len(now) - len(both),
        gone=len(then) - len(both),
    )


def _error(change: Change) -> tuple[float, int]:
    """The standard error of a change, a share, and its degrees of freedom."""
    one, other = change.before, change.after
    error = math.hypot(one.error or 0.0, other.error or 0.0)
    return error, max(1, min(one.freedom, other.freedom))


def _change(before: Host, after: Host) -> Change | None:
    if None in {before.share, after.share, before.error, after.error}:
        return None
    points = 100 * ((after.share or 0.0) - (before.share or 0.0))
    error, freedom = _error(Change(before, after, points, points, points))
    reach = 100 * student.quantile(_LEVEL, freedom) * error
    return Change(before, after, points, points - reach, points + reach)


def _p_value(change: Change) -> float:
    error, freedom = _error(change)
    if not error:
        return 0.0 if change.points else 1.0
    return student.p_value(change.points / 100 / error, freedom)


def _shown(compared: Sequence[tuple[Change, float]]) -> Sequence[tuple[Change, float]]:
    """Those of which `FALSE` are expected to be false."""
    ordered = sorted(compared, key=lambda one: one[1])
    most = 0
    for place, (_, p) in enumerate(ordered, 1):
        if p <= FALSE * place / len(ordered):
            most = place
    return ordered[:most]
