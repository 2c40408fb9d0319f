"""The dashboard of `locality connections`: how many end, how local their reads were, by whom."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, ClassVar

from locality.connections.summary import ConnectionSummary
from locality.connections.text import summary_lines
from locality.dashboard.frame import DIM, Line, amount, grade, line
from locality.dashboard.screen import Dashboard
from locality.dashboard.sparkline import Minute, sparkline
from locality.text import percent, share

if TYPE_CHECKING:
    from rich.console import Console

    from locality.connections.batch import ConnectionBatch
    from locality.dashboard.screen import Header
    from locality.machine.topology import Topology


class ConnectionDashboard(Dashboard["ConnectionBatch"]):
    """Shows the summary of the connections that have ended so far.

    Args:
        machine: Whose CPUs they are.
        header: Shown on top.
        console: A terminal.
    """

    title: ClassVar[str] = "connections"

    def __init__(self, machine: Topology, header: Header, console: Console) -> None:
        super().__init__(header, console)
        self._summary = ConnectionSummary(machine)
        self._since = time.monotonic()
        self._minute = Minute()
        #: What is shown; never changed, only replaced.
        self._shown: list[Line] = [line(""), line("no connection has ended yet")]
        self._told = 0, 0, -1

    def _take(self, batch: ConnectionBatch) -> bool:
        summary, records = self._summary, batch.records
        summary.write(batch)
        second = int(self._elapsed())
        local, reads = (int(records[name].sum()) for name in ("local_reads", "reads"))
        self._minute.add(second, local, reads)
        told = summary.total, summary.still_open, second
        if told == self._told or not summary.total:
            return False
        self._told = told
        figure = share(summary.sums["local_reads"], summary.sums["reads"])
        self._shown = [
            line(
                ("connections/s ", DIM),
                f"{amount(summary.total / max(self._elapsed(), 1)):>6}  local ",
                (percent(figure), grade(figure)),
            ),
            line(("local ", DIM), sparkline(self._minute.percents(second)), ("  0-100%", DIM)),
            line(""),
            *(line(text) for text in summary_lines(summary)),
        ]
        return True

    def _elapsed(self) -> float:
        return time.monotonic() - self._since

    def _lost(self) -> int:
        return self._summary.lost

    def _body(self, width: int, height: int) -> list[Line]:
        del width
        return self._shown[:height]
