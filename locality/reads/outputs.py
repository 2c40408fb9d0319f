"""What outputs of reads share: rows that are put together, and what each interval missed."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol, TextIO, TypeVar

from locality.stream import Batch, Output

if TYPE_CHECKING:
    from locality.machine.topology import Topology

#: What a row is by default: a port, of one protocol.
DEFAULT = "port"


class Interval(Batch, Protocol):
    """An interval of reads."""

    @property
    def time(self) -> float:
        """When it ended, seconds since the epoch."""
        ...

    @property
    def lost(self) -> int:
        """Reads that were missed, since the start."""
        ...


I_contra = TypeVar("I_contra", bound=Interval, contravariant=True)


class GroupedOutput(Output[I_contra]):
    """An output of intervals whose rows are put together.

    Args:
        out: Where to.
        machine: The CPUs that were measured.
        by: What a row is: one of the groupings of the kind.
    """

    def __init__(self, out: TextIO, machine: Topology, by: str = DEFAULT) -> None:
        super().__init__(out, machine)
        self._by = by
        self._lost = 0

    def _lost_before(self, interval: I_contra) -> int:
        """What had been missed before an interval, which is the one before the next."""
        before, self._lost = self._lost, interval.lost
        return before

    def _write_sums(self, interval: I_contra, sums: str) -> None:
        """Write the first line of an interval, as text: its end, its sums, and what it missed."""
        clock = time.strftime("%H:%M:%S", time.localtime(interval.time))
        missed = interval.lost - self._lost_before(interval)
        self._out.write(f"{clock} {sums}{f', {missed} lost' if missed > 0 else ''}\n")


def rate(count: int, of: float) -> str:
    """A count for each of so many seconds, or reads: ``1,234``, or ``3.4`` if it is below ten."""
    each = count / of
    return f"{each:,.0f}" if each >= 10 or not count else f"{each:.1f}"  # noqa: PLR2004
