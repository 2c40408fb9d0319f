"""What `locality trial` is asked for: its options in one object, and what is done with them."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import click

from locality.commands.filters import namespace
from locality.commands.lines import show, tell

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from locality.trial.asked import Asked, Per
    from locality.trial.observation import Trial
    from locality.trial.run import Switched

ATTACH, SPILL, RPS = "attach", "spill", "rps:"


@dataclass(frozen=True, kw_only=True)
class Request:
    """The options of `locality trial`, by the names they have there."""

    port: int
    netns: str | None
    switch: str | None
    command_b: str | None
    duration: float | None
    aa: float
    pairs: int | None
    block: float | None
    washout: float | None
    per: Per | None
    metrics: tuple[str, ...]
    max_overflows: int
    max_drops: int
    max_wait: float
    max_imbalance: float
    keep_better: bool
    dry_run: bool
    seed: int | None
    undo_file: Path | None

    def check(self) -> None:
        """Refuse options that do not go together.

        Raises:
            UsageError: The first of `MISTAKES` that was made.
            LocalityError: A command or a metric cannot be read.
        """
        for mistake, made in MISTAKES.items():
            if made(self):
                raise click.UsageError(mistake)
        self.switched  # noqa: B018 - reads the commands

    @property
    def is_setting(self) -> bool:
        """Whether --switch names something that locality itself switches."""
        switch = self.switch or ""
        return switch in {ATTACH, SPILL} or switch.startswith((RPS, f"{SPILL}:"))

    @cached_property
    def switched(self) -> Switched | None:
        """What is switched; None for a trial by connection."""
        from locality.trial.programs import Command
        from locality.trial.run import Switched

        if self.switch is None:
            return None
        what, colon, bound = self.switch.partition(":")
        if self.is_setting and what == SPILL:
            from locality.commands.values import Spill

            try:
                chosen = Spill().convert(bound if colon else "auto", None, None)
            except click.BadParameter as wrong:
                raise click.UsageError(f"--switch {self.switch}: {wrong.message}") from None
            return Switched(SPILL, chosen if isinstance(chosen, int) else None)
        if self.is_setting or self.command_b is None:
            return Switched(self.switch)
        return Switched(commands=(Command.parse(self.switch), Command.parse(self.command_b)))

    def asked(self) -> Asked:
        """The same for the trial.

        Raises:
            LocalityError: --netns names nothing, or a metric cannot be read.
        """
        from locality.changes.undo_file import default_undo_file
        from locality.trial.asked import Asked
        from locality.trial.guard import Bounds
        from locality.trial.programs import Metric

        bounds = Bounds(
            overflows=self.max_overflows,
            drops=self.max_drops,
            wait_times=self.max_wait,
            imbalance=self.max_imbalance,
        )
        return Asked(
            port=self.port,
            netns=namespace(self.netns),
            seed=secrets.randbits(32) if self.seed is None else self.seed,
            duration_s=self.duration or (30.0 if self.switch is None else 60.0),
            aa_s=self.aa,
            undo_file=self.undo_file or default_undo_file(),
            bounds=bounds,
            keep_better=self.keep_better,
            block_s=self.block,
            washout_s=self.washout,
            pairs=self.pairs,
            per=self.per or "connection",
            metrics=tuple(map(Metric.parse, self.metrics)),
        )


#: What to answer to options that do not go together, and whether a request has them.
MISTAKES: Mapping[str, Callable[[Request], bool]] = {
    "--switch with a command needs a second one: --switch 'COMMAND-A' 'COMMAND-B'": lambda asked: (
        asked.switch is not None and not asked.is_setting and asked.command_b is None
    ),
    "--switch attach, spill:N and rps:DEV take no second command": lambda asked: (
        asked.is_setting and asked.command_b is not None
    ),
    "a command goes with --switch: --switch 'COMMAND-A' 'COMMAND-B'": lambda asked: (
        asked.switch is None and asked.command_b is not None
    ),
    "--switch rps: names no device: write --switch rps:eth0": lambda asked: asked.switch == RPS,
    "--pairs, --block, --washout, --per and --metric go with --switch": lambda asked: (
        asked.switch is None
        and (asked.pairs, asked.block, asked.washout, asked.per, asked.metrics)
        != (None, None, None, None, ())
    ),
}


def conduct(request: Request) -> Trial | None:
    """Run the trial; None if it was only planned."""
    from locality.trial.progress import TerminalProgress
    from locality.trial.run import run

    return run(request.asked(), request.switched, TerminalProgress(tell), dry=request.dry_run)


def show_result(found: Trial, format_: str, record: Path | None, *, force: bool) -> None:
    """Print a trial, and then record it: neither a full disk nor a closed pipe takes all of it."""
    from locality.trial.records import trial_record
    from locality.trial.text import lines

    try:
        show([json.dumps(trial_record(found))] if format_ == "json" else lines(found))
    finally:
        if record is not None:
            from locality.trial.recording import record as write_recording

            write_recording(found, record, force=force)


def check_record(record: Path | None, *, force: bool) -> None:
    """Refuse a recording that could not be written before anything is tried.

    Raises:
        LocalityError: There is something of that name, or no directory for it.
        ImportError: A package that recordings need is not installed.
    """
    from locality.files import new_file

    if record is None:
        return
    import locality.trial.recording  # noqa: F401 - this needs it later

    if force and record.is_file() and not record.is_symlink():
        return  # it is replaced at the end
    with new_file(record):
        pass
    record.unlink()
