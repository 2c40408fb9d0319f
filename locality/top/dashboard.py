"""The dashboard of `locality top`: who reads the most that was received elsewhere, now."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from locality.dashboard.frame import DIM, PLAIN, Line, amount, grade, line
from locality.dashboard.screen import Dashboard
from locality.dashboard.sparkline import Minute, sparkline
from locality.reads.outputs import DEFAULT
from locality.text import percent, share
from locality.top.interval import known, remote
from locality.top.text import table_lines

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from locality.dashboard.screen import Header
    from locality.machine.topology import Topology
    from locality.top.interval import TopInterval


class TopDashboard(Dashboard["TopInterval"]):
    """Shows the rows with the most remote reads, interval by interval.

    Args:
        machine: Whose CPUs they are.
        header: Shown on top.
        console: A terminal.
        by: A key of `GROUPINGS`.
    """

    title: ClassVar[str] = "top"

    def __init__(
        self, machine: Topology, header: Header, console: Console, by: str = DEFAULT
    ) -> None:
        super().__init__(header, console)
        del machine
        self._by = by
        self._seconds = 0.0
        self._minute = Minute()
        #: What is shown; never changed, only replaced.
        self._view: tuple[TopInterval, TopInterval, Sequence[float | None]] | None = None

    def _take(self, batch: TopInterval) -> bool:
        begin, self._seconds = self._seconds, self._seconds + batch.seconds
        told, local = int(known(batch.readers).sum()), int(batch.readers["cpu"].sum())
        self._minute.add_span(begin, self._seconds, local, told)
        total = batch if self._view is None else self._view[1] + batch
        self._view = (batch, total, self._minute.percents(int(self._seconds - 1e-9)))
        return True

    def _elapsed(self) -> float:
        return self._view[1].seconds if self._view else 0

    def _lost(self) -> int:
        return self._view[0].lost if self._view else 0

    def _body(self, width: int, height: int) -> list[Line]:
        del width
        if self._view is None:
            return [line(""), line("the first interval is not over yet")]
        now, total, minute = self._view
        lines = [
            _sums("now", now),
            _sums("since the start", total),
            line(("local ", DIM), f"{sparkline(minute)}", ("  0-100%", DIM)),
            line(""),
        ]
        heading, *rows = table_lines(now, self._by)
        lines.append(line((heading, DIM)))
        lines += [line((row, PLAIN)) for row in rows]
        return lines[:height]


def _sums(name: str, interval: TopInterval) -> Line:
    rows = interval.readers
    reads, told = int(rows["reads"].sum()), int(known(rows).sum())
    figure = share(int(rows["cpu"].sum()), told)
    return line(
        (f"{name:15} ", DIM),
        f"{amount(reads / interval.seconds):>6} reads/s  local ",
        ("-" if not reads else percent(figure), grade(figure)),
        f"  remote {amount(int(remote(rows).sum()) / interval.seconds)}/s",
    )
