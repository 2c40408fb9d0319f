"""What a trial is asked for, and how it tells where it is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol

from locality.trial.guard import Bounds

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from locality.trial.observation import Trial
    from locality.trial.programs import Metric

#: The parts of a trial.
AA, TRIAL = "A/A", "trial"
#: What CPU time and interrupts are divided by.
Per = Literal["connection", "packet", "byte"]


@dataclass(frozen=True)
class Asked:
    """The options of a trial.

    Attributes:
        port: The port.
        netns: Inode of its network namespace; None where all of it is in one.
        seed: Of the random numbers.
        duration_s: How long the trial is to take.
        aa_s: How long the A/A part is to take; 0 for none.
        undo_file: Where to write what takes the changes back.
        bounds: What is harm.
        keep_better: Leave B in place if it is better.
        block_s: Seconds of a block; None to choose.
        washout_s: Seconds of its wash-out; None to choose.
        pairs: So many pairs of blocks; None for as many as there is time for.
        per: What CPU time and interrupts are divided by.
        metrics: Figures that commands print.
    """

    port: int
    netns: int | None
    seed: int
    duration_s: float
    aa_s: float
    undo_file: Path
    bounds: Bounds = field(default_factory=Bounds)
    keep_better: bool = False
    block_s: float | None = None
    washout_s: float | None = None
    pairs: int | None = None
    per: Per = "connection"
    metrics: tuple[Metric, ...] = ()


class Reporter(Protocol):
    """Takes what a trial tells while it runs."""

    def say(self, line: str) -> None:
        """A line for people."""

    def begin(self, what: str, seconds: float) -> None:
        """A part begins that takes so long."""

    def advance(self, seconds: float, so_far: Callable[[], Trial] | None = None) -> None:
        """So much of the part is over.

        Args:
            seconds: Since it began.
            so_far: Puts together the trial as far as it has come.
        """

    def smallest(self, trial: Trial) -> None:
        """The A/A part is over: what the trial will be able to show."""

    def end(self) -> None:
        """The part is over."""
