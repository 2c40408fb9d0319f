"""A trial in parts: what came in, with all that is known of the trial besides."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from locality.machine.topology import Topology
    from locality.trial.observation import Trial


@dataclass(frozen=True)
class TrialBatch:
    """A part of a trial.

    Attributes:
        part: The trial; its units are those of this part alone, all else is as it was then.
        ended: Whether no other part follows.
    """

    part: Trial
    ended: bool = True

    def __len__(self) -> int:
        return len(self.part.units)

    def first(self, count: int) -> Self:
        """The same with no more than `count` of its units."""
        return replace(self, part=replace(self.part, units=self.part.units[:count]))


def joined(parts: Sequence[Trial]) -> Trial:
    """Parts of one trial as the trial that it was at the last of them; there is at least one."""
    return replace(
        parts[-1],
        units=np.concatenate([part.units for part in parts]),
        aa_units=np.concatenate([part.aa_units for part in parts]),
    )


class TrialSummary:
    """A sink that puts the parts together.

    Attributes:
        machine: The CPUs of the machine.
        trial: As far as it has come; None before the first part.
    """

    def __init__(self, machine: Topology) -> None:
        self.machine = machine
        self.trial: Trial | None = None

    def write(self, batch: TrialBatch) -> None:
        """Add a part."""
        self.trial = batch.part if self.trial is None else joined([self.trial, batch.part])
