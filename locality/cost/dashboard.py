"""The dashboard of `locality cost`: how long packets wait now, by row and distance."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from locality.cost.grouping import LOCAL, rows_of
from locality.cost.interval import reads_of
from locality.cost.text import HEADING, bill_lines, row_lines
from locality.dashboard.frame import DIM, PLAIN, Line, amount, grade, line
from locality.dashboard.screen import Dashboard
from locality.dashboard.sparkline import Minute, sparkline
from locality.machine.topology import Distance
from locality.reads.outputs import DEFAULT
from locality.text import percent, share

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from locality.cost.interval import CostInterval
    from locality.dashboard.screen import Header
    from locality.machine.topology import Topology


class CostDashboard(Dashboard["CostInterval"]):
    """Shows the rows with the most remote reads, interval by interval.

    Args:
        machine: Whose CPUs they are.
        header: Shown on top.
        console: A terminal.
        by: One of `locality.cost.grouping.BY`.
    """

    title: ClassVar[str] = "cost"

    def __init__(
        self, machine: Topology, header: Header, console: Console, by: str = DEFAULT
    ) -> None:
        super().__init__(header, console)
        del machine
        self._by = by
        self._seconds = 0.0
        self._minute = Minute()
        #: What is shown; never changed, only replaced.
        self._view: tuple[CostInterval, Sequence[float | None]] | None = None

    def _take(self, batch: CostInterval) -> bool:
        begin, self._seconds = self._seconds, self._seconds + batch.seconds
        local, known = _counts(batch)
        self._minute.add_span(begin, self._seconds, local, known)
        self._view = (batch, self._minute.percents(int(self._seconds - 1e-9)))
        return True

    def _elapsed(self) -> float:
        return self._seconds

    def _lost(self) -> int:
        return self._view[0].lost if self._view else 0

    def _body(self, width: int, height: int) -> list[Line]:
        del width
        if self._view is None:
            return [line(""), line("the first interval is not over yet")]
        now, minute = self._view
        local, known = _counts(now)
        figure = share(local, known)
        lines = [
            line(
                f"{amount(known / now.seconds):>6} reads/s  local ",
                ("-" if not known else percent(figure), grade(figure)),
                f"  {sparkline(minute)}",
                ("  0-100%", DIM),
            ),
            *(line((text, DIM)) for text in bill_lines(now)),
            line(""),
            line((HEADING, DIM)),
        ]
        for row in rows_of(now, self._by):
            lines += [line((text, PLAIN)) for text in row_lines(row, now.seconds)]
            lines += [line((f"  {row.sentence(now.seconds)}", DIM))]
        return lines[:height]


def _counts(interval: CostInterval) -> tuple[int, int]:
    """Local reads, and those for which the CPU that received is known."""
    reads = reads_of(interval.readers, interval.times).sum(axis=0)
    return int(reads[[*LOCAL]].sum()), int(reads.sum() - reads[Distance.UNKNOWN])
