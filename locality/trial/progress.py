"""Where a trial is, on standard error: a bar with the interval so far on a terminal, else lines."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from locality.text import counted
from locality.trial.amounts import amount
from locality.trial.effects import interval_so_far, smallest_effect
from locality.trial.scale import of_blocks, of_connections
from locality.trial.text import interval_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from locality.trial.observation import Outcome, Trial

#: Seconds between two looks at the interval, and between two drawings.
LOOK_S, DRAW_S = 2.0, 0.2
#: How long a terminal that takes nothing may hold up the end.
PATIENCE_S = 1.0


@dataclass
class TerminalProgress:
    """Tells on a terminal, or in lines, where a trial is.

    A thread of its own draws: a terminal that is held (Ctrl-S) must not hold up the guard.

    Args:
        say: Takes a line.
        console: Standard error.
    """

    say: Callable[[str], None]
    console: Console = field(default_factory=lambda: Console(stderr=True, highlight=False))
    _drawing: _Drawing | None = None
    _looked: float = 0.0

    def begin(self, what: str, seconds: float) -> None:
        """A part begins."""
        self._looked = time.monotonic()
        if self.console.is_terminal:
            self._drawing = _Drawing(self.console, what, seconds)
        else:
            self.say(f"{what}: {seconds:g} s; Ctrl-C ends it with a result of what there is")

    def advance(self, seconds: float, so_far: Callable[[], Trial] | None = None) -> None:
        """So much of it is over."""
        if self._drawing is None:
            return
        self._drawing.done = seconds
        now = time.monotonic()
        if so_far is not None and now - self._looked > LOOK_S:
            self._drawing.text = so_far_text(so_far())
            # A look that takes long is not made as often.
            self._looked = time.monotonic() + 3 * (time.monotonic() - now)

    def smallest(self, trial: Trial) -> None:
        """What the trial will be able to show, by the A/A part."""
        for line in smallest_lines(trial):
            self.say(line)

    def end(self) -> None:
        """The part is over."""
        if self._drawing is not None:
            self._drawing.end()
            self._drawing = None


class _Drawing:
    """A bar, and the thread that draws it.

    Args:
        console: A terminal.
        what: The part that runs.
        seconds: How long it takes.

    Attributes:
        done: Seconds that are over.
        text: What is shown beside the bar.
    """

    def __init__(self, console: Console, what: str, seconds: float) -> None:
        self.done, self.text = 0.0, ""
        self._console, self._what, self._seconds = console, what, seconds
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._draw, daemon=True)
        self._thread.start()

    def _draw(self) -> None:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=10),
            TimeRemainingColumn(),
            TextColumn("{task.fields[so_far]}", markup=False),
        )
        with Progress(
            *columns, console=self._console, auto_refresh=False, transient=True
        ) as progress:
            bar = progress.add_task(self._what, total=self._seconds, so_far="")
            while not self._over.wait(DRAW_S):
                progress.update(bar, completed=self.done, so_far=self.text, refresh=True)

    def end(self) -> None:
        """Take it away again."""
        self._over.set()
        self._thread.join(PATIENCE_S)


def smallest_lines(trial: Trial) -> list[str]:
    """The smallest effects that the trial can show, by its A/A part; a line."""
    if not len(trial.aa_units):
        return ["what this trial can show is not known beforehand: there is no A/A part"]
    shown = []
    for outcome in trial.outcomes:
        smallest = smallest_effect(trial.aa_units, outcome, trial.design.planned)
        if smallest is not None:
            shown.append(f"{outcome.label} {_amount(smallest, outcome, trial)}")
    if not shown:
        return ["what this trial can show is not known: the A/A part saw too little"]
    return [f"this trial can show effects from about: {', '.join(shown)}"]


def so_far_text(trial: Trial) -> str:
    """The interval of the primary outcome so far."""
    primary = next((outcome for outcome in trial.outcomes if outcome.primary), trial.outcomes[0])
    interval = interval_so_far(trial, primary)
    if interval is None:
        return f"{primary.label}: too little yet ({counted(len(trial.units), 'unit')})"
    unit = "" if interval.scale == "relative" else f" {primary.unit}"
    return f"{primary.label}: {interval_text(interval)}{unit}"


def _amount(smallest: float, outcome: Outcome, trial: Trial) -> str:
    """A smallest effect in words."""
    values = trial.aa_units[outcome.label]
    known = values[np.isfinite(values)]
    scale = of_blocks(known) if trial.design.kind == "blocks" else of_connections(known)
    return amount(smallest, scale, outcome.unit)
