"""The dashboard of a trial: what it shows so far, part by part."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from locality.dashboard.frame import Line, line
from locality.dashboard.screen import Dashboard
from locality.trial.batch import TrialSummary
from locality.trial.text import plan_lines, result_lines

if TYPE_CHECKING:
    from rich.console import Console

    from locality.dashboard.screen import Header
    from locality.machine.topology import Topology
    from locality.trial.batch import TrialBatch


class TrialDashboard(Dashboard["TrialBatch"]):
    """Shows the result of the parts so far.

    Args:
        machine: Whose CPUs they are.
        header: Shown on top.
        console: A terminal.
    """

    title: ClassVar[str] = "trial"

    def __init__(self, machine: Topology, header: Header, console: Console) -> None:
        super().__init__(header, console)
        self._summary = TrialSummary(machine)
        #: What is shown; never changed, only replaced.
        self._shown: list[Line] = [line(""), line("no unit is over yet")]

    def _take(self, batch: TrialBatch) -> bool:
        self._summary.write(batch)
        trial = self._summary.trial
        if trial is None:
            return False
        self._shown = [line(one) for one in (*plan_lines(trial), *result_lines(trial))]
        return True

    def _elapsed(self) -> float:
        trial = self._summary.trial
        return float(trial.units["time"].max()) if trial is not None and len(trial.units) else 0.0

    def _lost(self) -> int:
        return self._summary.trial.lost if self._summary.trial is not None else 0

    def _body(self, width: int, height: int) -> list[Line]:
        del width
        return self._shown[:height]
