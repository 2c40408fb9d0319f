"""What ends a trial at once: harm, and a group that is not the one it began with."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from locality.errors import LocalityError
from locality.reuseport.group import read_sockets
from locality.steering import attachment
from locality.trial.targets import replaced

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from locality.arrays import Array
    from locality.cbpf import Program
    from locality.reuseport.survey import FoundGroup
    from locality.spill.table import Table
    from locality.trial.counters import Counters
    from locality.trial.guard import Guard
    from locality.trial.targets import Target
    from locality.trial.traffic import Taken

#: Seconds between two readings of the counters, and of the groups' programs.
_EACH_S, _PROGRAMS_EACH_S = 0.5, 2.0


@dataclass
class Safety:
    """Feeds the guard with what is accepted, and asks it.

    Args:
        guard: Judges.
        counters: Of the server.
        target: The listeners as they were when the trial was planned.

    Attributes:
        expected: Tells the program that each group should have now; None for none.
    """

    guard: Guard
    counters: Counters
    target: Target
    expected: Callable[[], Sequence[tuple[FoundGroup, Program | Table | None]]] = tuple
    _due: float = 0.0
    _programs_due: float = 0.0
    _strangers: int = 0

    def begin(self) -> None:
        """What comes from now on is judged by the bounds, or noted as what was before."""
        now = time.monotonic()
        self.guard.begin(now, self.counters.refusals())
        self._due = now + _EACH_S

    def before_is_over(self) -> None:
        """What was seen since `begin` is how it is without the trial."""
        self.guard.finish_before(time.monotonic(), self.counters.refusals())

    def watch(self, taken: Taken) -> None:
        """Take what is accepted, and judge nothing."""
        ours = self._ours(taken)
        self.guard.write(taken.now, taken.accepts[ours], taken.inodes[ours])

    def judge(self, taken: Taken) -> str | None:
        """Take what is accepted; why the trial must end, or None."""
        self.watch(taken)
        if taken.now < self._due:
            return None
        self._due = taken.now + _EACH_S
        if self._strangers:
            self._strangers = 0
            if changed := self._changed():
                return changed
        if taken.now >= self._programs_due:
            self._programs_due = taken.now + _PROGRAMS_EACH_S
            if replaced := self._replaced():
                return replaced
        return self.guard.harm(taken.now, self.counters.refusals())

    def _ours(self, taken: Taken) -> Array:
        known = np.isin(taken.inodes, list(self.target.inodes))
        # A descriptor that was closed since tells nothing; another socket does.
        self._strangers += int((~known & (taken.inodes > 0)).sum())
        return known

    def _replaced(self) -> str | None:
        """Whether a group has another program than the trial gave it."""
        for group, program in self.expected():
            try:
                present = read_sockets(*group.holder, group.inodes)
            except LocalityError:  # its process has ended, or has another socket of this number
                if changed := self._changed():
                    return changed
                continue
            if other := attachment.another(present, program):
                return replaced(group, other)
            if program is not None and present.attached is False:
                return f"somebody else detached the program of {group} meanwhile"
        return None

    def _changed(self) -> str | None:
        """Whether the listeners are others than those the trial was planned for."""
        try:
            now = self.target.again().inodes
        except LocalityError:
            now = frozenset()
        if now == self.target.inodes:
            return None
        return (
            f"the listening sockets of {self.target} changed: its server was reloaded or restarted"
        )
