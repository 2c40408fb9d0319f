"""A trial by blocks of time: a setting is switched to and fro, in pairs in random order.

What a machine-wide setting does cannot be told from single connections: RPS, a program for a whole
group, or a command of the user's. So time is cut into blocks, and each pair of neighbouring blocks
has one of each arm. What the last block left behind passes in the wash-out at the beginning.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from locality.errors import LocalityError
from locality.text import percent, share
from locality.trial.asked import AA, TRIAL
from locality.trial.block_units import Accepted, OwnFigures, outcomes, rows
from locality.trial.counters import Counters
from locality.trial.observation import A, B, Design, Trial
from locality.trial.restoring import restoring
from locality.trial.schedule import FEWEST_PAIRS, Blocks, order, plan_blocks
from locality.trial.traffic import Ending

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from locality.arrays import Array
    from locality.trial.block_units import Figure
    from locality.trial.observation import Outcome
    from locality.trial.programs import Metric
    from locality.trial.restoring import Restoration
    from locality.trial.session import Session
    from locality.trial.switches import Switch
    from locality.trial.traffic import Taken

#: So many pairs of the order are shown.
_SHOWN = 12

INCOMPLETE = "block whose pair was not finished"


@dataclass
class ByBlocks:
    """A trial by blocks.

    Args:
        session: What it works with.
        switch: What is switched.
        figures: What else is compared; the first of them is the primary outcome.
    """

    session: Session
    switch: Switch
    figures: Sequence[Figure] = ()
    _left_out: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        asked, lifetimes = self.session.asked, self.session.look.lifetimes
        self._lives_s = lifetimes.most_s if lifetimes.known else None
        if not self.switch.keeps_connections:
            self._lives_s = 0.0
            lifetimes = replace(lifetimes, most_s=0.0)
        self._own = OwnFigures(asked.per, asked.metrics, self.session.target.inodes)
        self._local = np.zeros((2, 2), np.int64)
        self.blocks: Blocks = plan_blocks(
            lifetimes,
            duration_s=asked.duration_s,
            block_s=asked.block_s,
            washout_s=asked.washout_s,
            pairs=asked.pairs,
        )
        self.outcomes: tuple[Outcome, ...] = outcomes(self.figures, self._own)
        self._counters = Counters(self.session.target.pids)
        self._draw = np.random.default_rng(asked.seed)

    def plan_lines(self) -> list[str]:
        """What the trial would do, for a dry run."""
        blocks = self.blocks
        first = " ".join(
            "".join("AB"[arm] for arm in pair)
            for pair in order(blocks.pairs, np.random.default_rng(self.session.asked.seed))[:_SHOWN]
        )
        length = (
            f"{blocks.pairs} pairs of blocks of {blocks.block_s:g} s, of which the first "
            f"{blocks.washout_s:g} s are thrown away: {blocks.seconds:g} s; an A/A part of "
            f"{self._aa_pairs} pairs comes first"
        )
        return [
            f"connections: {self.session.look.lifetimes.sentence}",
            length,
            f"order: {first}{' ...' * (blocks.pairs > _SHOWN)}",
            *([blocks.doubt] if blocks.doubt else []),
            *self.switch.lines(),
        ]

    @property
    def _aa_pairs(self) -> int:
        """How many pairs the A/A part has."""
        if not self.session.asked.aa_s:
            return 0
        return max(FEWEST_PAIRS, int(self.session.asked.aa_s // (2 * self.blocks.block_s)))

    def run(self) -> Trial:
        """Run it to its end.

        Raises:
            LocalityError: The undo file cannot be written, or a metric prints no number.
        """
        asked, blocks, reporter = self.session.asked, self.blocks, self.session.reporter
        design = Design(
            "blocks",
            self.switch.arms,
            2 * blocks.pairs,
            asked.seed,
            blocks.block_s,
            blocks.washout_s,
            aa=asked.aa_s > 0,
            lives_s=self._lives_s,
        )
        nothing = rows(self.outcomes, [])
        target = str(self.session.target)
        trial = Trial(design, self.outcomes, nothing, nothing, target=target, restored=True)
        pairs = order(blocks.pairs, self._draw)
        for metric in asked.metrics:
            metric.read()  # a command that prints no number shows it now, and not at the end
        if self._aa_pairs:
            self.session.safety.begin()
            coins = order(self._aa_pairs, self._draw)
            aa_units, ending = self._run(AA, coins, lambda _arm: None, self._watch, trial)
            self.session.safety.before_is_over()
            trial = replace(trial, aa_units=aa_units, lost=self.session.traffic.lost)
            self._local[:] = 0
            if ending.early:
                return replace(trial, ended_early=True)
        reporter.smallest(trial)
        with restoring(self.switch.changes, asked.undo_file, reporter.say) as restoration:
            self.session.safety.begin()
            self.session.safety.expected = self.switch.programs
            trial = replace(trial, began=time.time_ns())
            try:
                units, ending = self._run(
                    TRIAL, pairs, self.switch.to, self.session.safety.judge, trial
                )
            finally:  # what commands did is not in the undo file, and whatever ends it, A is run
                restored = self._go_back(restoration)
        return replace(
            trial,
            units=units,
            left_out=dict(self._left_out),
            lost=self.session.traffic.lost,
            harm=ending.harm,
            ended_early=ending.early,
            restored=restored,
            facts=self._manipulated(),
        )

    def _manipulated(self) -> dict[str, str]:
        """What the arms did to where connections are accepted: whether they were two at all."""
        shares = (percent(share(int(local), int(total)), 2) for local, total in self._local)
        return {"accept-local in A and B": ", ".join(shares)}

    def keep(self) -> bool:
        """Leave arm B in place, where no undo file can: run its command.

        Returns:
            Whether that was done; if it failed, A's command was run again.

        Raises:
            LocalityError: Neither could be done, so it is not known what there is.
        """
        try:
            self.switch.to(B)
        except LocalityError as error:
            self.session.reporter.say(f"not kept: {error}")
            self.switch.to(A)
            self.session.reporter.say(f"put back: {self.switch.arms[A]}")
            return False
        return True

    def _go_back(self, restoration: Restoration) -> bool:
        """Put everything back, and say whether that is done."""
        if self.switch.changes:
            restoration.restore()
            return restoration.is_as_before
        try:
            self.switch.to(A)
        except LocalityError as error:
            self.session.reporter.say(f"not put back: {error}")
            return False
        return True

    def _watch(self, taken: Taken) -> str | None:
        self.session.safety.watch(taken)
        return None

    def _run(
        self,
        what: str,
        pairs: Sequence[tuple[int, int]],
        to: Callable[[int], None],
        judge: Callable[[Taken], str | None],
        trial: Trial,
    ) -> tuple[Array, Ending]:
        """Run through the pairs; the units of whole pairs, and how it ended."""
        done: list[dict[str, Any]] = []
        reporter = self.session.reporter
        reporter.begin(what, 2 * len(pairs) * self.blocks.block_s)
        self.session.traffic.discard()
        began, ending, shown = time.monotonic(), Ending(), what == TRIAL

        def so_far() -> Trial:
            whole = rows(self.outcomes, done[: len(done) // 2 * 2])
            return replace(trial, units=whole, ended_early=True)

        def take(taken: Taken) -> str | None:
            reporter.advance(taken.now - began, so_far if shown else None)
            return judge(taken)

        for number, arm in ((number, arm) for number, arms in enumerate(pairs) for arm in arms):
            try:
                to(arm)
            except LocalityError as error:
                ending = Ending(harm=f"the switch failed: {error}")
                break
            values, ending = self._block(arm, take)
            if values is None:
                break
            done.append(values | {"pair": number, "time": values["time"] - began})
        reporter.end()
        if len(done) % 2:
            done.pop()
            self._left_out[INCOMPLETE] = 1
        return rows(self.outcomes, done), ending

    def _block(
        self, arm: int, take: Callable[[Taken], str | None]
    ) -> tuple[dict[str, Any] | None, Ending]:
        """One block: its values, None if it was not finished, and how it ended."""
        traffic, blocks = self.session.traffic, self.blocks
        if (ending := traffic.run(blocks.washout_s, [take])).early:
            return None, ending
        accepted = Accepted(self.session.target.inodes)
        for figure in self.figures:
            figure.begin()
        before, began = self._counters.read(), time.monotonic()
        seconds = blocks.block_s - blocks.washout_s
        if (ending := traffic.run(seconds, [accepted.take, take])).early:
            return None, ending
        counted = self._counters.read().since(before)
        values = self._own.of(counted, accepted)
        for figure in self.figures:
            values |= figure.end(counted)
        self._local[arm] += accepted.local, accepted.total
        for metric in self.session.asked.metrics:
            values[metric.name] = self._printed(metric)
        return {**values, "arm": arm, "time": began, "washout": blocks.washout_s}, ending

    def _printed(self, metric: Metric) -> float:
        """What a metric's command prints; NaN if it failed, which is counted."""
        try:
            return metric.read()
        except LocalityError as error:
            key = f"no value: {error}"
            self._left_out[key] = self._left_out.get(key, 0) + 1
            return float("nan")
