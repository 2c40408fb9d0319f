"""How long what a row read had waited, from the times of `locality cost` (`--cost`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from locality.cost.grouping import BY, LOCAL, REMOTE, rows_of
from locality.cost.interval import WAIT
from locality.top.grouping import GROUPINGS

if TYPE_CHECKING:
    from collections.abc import Callable

    from locality.top.interval import TopInterval

__all__ = ["BY", "UNTIMED", "Waits", "waits_of"]


class Waits(NamedTuple):
    """Median times from the receipt of a packet to its read, ns; None where none has a time."""

    local: float | None
    """Of reads on the CPU that received."""
    remote: float | None
    """Of the others."""
    timed: int
    """Reads that have a time."""


UNTIMED = Waits(None, None, 0)


def waits_of(interval: TopInterval, by: str) -> Callable[[Any], Waits]:
    """What was timed, for each row of an interval.

    Args:
        interval: What it showed; without times, no row has any.
        by: A key of `GROUPINGS`, and one of `BY` where there are times.

    Returns:
        The times of a row of dtype `locality.top.interval.READER`.
    """
    if interval.cost is None:
        return lambda _row: UNTIMED
    key = GROUPINGS[by].key
    found = {
        tuple(row.reader[name] for name in key): Waits(
            row.percentile(WAIT, LOCAL, 50),
            row.percentile(WAIT, REMOTE, 50),
            int(row.timed.sum()),
        )
        for row in rows_of(interval.cost, by)
    }
    return lambda row: found.get(tuple(row[name] for name in key), UNTIMED)
