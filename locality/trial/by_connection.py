"""A trial by connection: a coin in the group's program chooses the worker of each.

Both arms run at the same time on the same machine, so nothing that changes over time can be taken
for an effect, and nothing carries over. What is compared is one connection at the nearest worker
with one at another worker, while half of all connections are at each. How the machine does as a
whole when all are at the nearest one is a question for a trial by blocks (``--switch attach``).
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from locality.cbpf.describe import describe
from locality.machine.clocks import monotonic_ns
from locality.text import percent
from locality.trial.arms import Arms
from locality.trial.asked import AA, TRIAL
from locality.trial.connection_units import (
    NOT_ENDED,
    OUTCOMES,
    ConnectionUnits,
    Span,
    random_arms,
)
from locality.trial.cpu_time import CpuHistory
from locality.trial.observation import A, B, Design, Trial, units_dtype
from locality.trial.restoring import restoring

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from locality.accept.batch import Records
    from locality.arrays import Array
    from locality.trial.asked import Asked
    from locality.trial.session import Session
    from locality.trial.targets import Steered
    from locality.trial.traffic import Ending, Taken

ARMS = ("another worker", "nearest worker")

#: Connections that were sent somewhere before the program was attached are established by then.
SETTLE_S = 0.2
#: Connections that are accepted later than this before the end may not end in time, in seconds.
_SHORTEST_DRAIN_S, _LONGEST_DRAIN_S = 0.2, 5.0


def plan_lines(steered: Sequence[Steered], asked: Asked) -> list[str]:
    """What the trial would do, for a dry run."""
    lines = [f"arm B: the nearest worker; arm A: another one; for {asked.duration_s:g} s"]
    for one in steered:
        what = "no program" if one.before is None else one.describe(one.before)
        lines.append(f"{one.group}: {describe(one.coin)}; at the end {what} again")
    return lines


@dataclass
class _Part:
    """The A/A part, or the trial itself: what is seen while it runs.

    Attributes:
        units: Takes the connections that have ended.
        cpu: The CPU time of the workers.
        ours: The listening sockets.
        begin: The kernel's CLOCK_MONOTONIC, ns, as probes have it.
    """

    units: ConnectionUnits
    cpu: CpuHistory
    ours: frozenset[int]
    begin: int = 0
    _accepted: list[Array] = field(default_factory=list)

    def take(self, taken: Taken) -> None:
        """Take a reading."""
        self.cpu.note()
        self._accepted.append(taken.accepts["time"][np.isin(taken.inodes, list(self.ours))])
        self.units.write(taken.connections)

    def result(
        self, end: int, seen_until: int, lifetime_ns: float | None
    ) -> tuple[Array, Mapping[str, int]]:
        """The units, and how many are left out by the reason; see `Span`.

        Without a lifetime the CPU time of the workers is left out.
        """
        span = Span(self.begin, end, seen_until)
        cpu = None if lifetime_ns is None else self.cpu
        units, left_out = self.units.units(span, cpu, lifetime_ns or 0.0)
        times = np.concatenate(self._accepted or [np.zeros(0, np.uint64)])
        expected = int(((times >= self.begin) & (times < min(end, seen_until))).sum())
        ended = self.units.accepted_within(self.begin, min(end, seen_until))
        if expected > ended:
            left_out = {**left_out, NOT_ENDED: expected - ended}
        return units, left_out


@dataclass
class ByConnection:
    """A trial by connection.

    Args:
        session: What it works with.
        steered: The groups, each with its map.
    """

    session: Session
    steered: Sequence[Steered]

    def __post_init__(self) -> None:
        lifetimes = self.session.look.lifetimes
        lasts = (lifetimes.most_s if lifetimes.known else None) or _LONGEST_DRAIN_S
        self._drain_s = min(max(lasts, _SHORTEST_DRAIN_S), _LONGEST_DRAIN_S)

    def run(self) -> Trial:
        """Run it to its end.

        Raises:
            LocalityError: The program cannot be attached, or the undo file cannot be written.
        """
        asked, look = self.session.asked, self.session.look
        planned = max(1, int(look.accepted / look.seconds * asked.duration_s))
        design = Design("connection", ARMS, planned, asked.seed, aa=asked.aa_s > 0)
        nothing = np.zeros(0, units_dtype(OUTCOMES))
        target = str(look.target)
        trial = Trial(design, OUTCOMES, nothing, nothing, target=target, restored=True)
        if asked.aa_s:
            aa_units, ending = self.before()
            trial = replace(trial, aa_units=aa_units, lost=self.session.traffic.lost)
            if ending.early:
                return replace(trial, ended_early=True)
        self.session.reporter.smallest(trial)
        return self._tossed(trial)

    def _part(self, arm_of: Callable[[Records, Array], Array]) -> _Part:
        target = self.session.target
        units = ConnectionUnits(arm_of, self.session.traffic.sockets)
        return _Part(units, CpuHistory(target.pids), target.inodes)

    def before(self) -> tuple[Array, Ending]:
        """The A/A part: as the trial, but the arm of a connection says nothing."""
        reporter, seconds = self.session.reporter, self.session.asked.aa_s
        part = self._part(random_arms(np.random.default_rng(self.session.asked.seed)))
        self.session.traffic.discard()
        self.session.safety.begin()
        part.begin, began = monotonic_ns(), time.monotonic()
        reporter.begin(AA, seconds)

        def take(taken: Taken) -> None:
            self.session.safety.watch(taken)
            part.take(taken)
            reporter.advance(taken.now - began)

        ending = self.session.traffic.run(seconds, [take])
        self.session.safety.before_is_over()
        reporter.end()
        end = monotonic_ns()
        units, _ = part.result(end, end - self._drain_ns, self._drain_ns)
        return units, ending

    def _tossed(self, trial: Trial) -> Trial:
        """The trial itself: the coin is attached, and then taken away again."""
        traffic, asked = self.session.traffic, self.session.asked
        part = self._part(Arms(self.steered, self.session.machine.possible).of)

        def so_far(end: int, seen_until: int) -> Trial:
            # Of a part of the trial the CPU time of the workers says too little: its anytime-valid
            # interval would compare connections of one slice, which all have the same value.
            whole = end == seen_until
            units, left_out = part.result(end, seen_until, self._drain_ns if whole else None)
            return replace(trial, units=units, left_out=left_out, lost=traffic.lost)

        changes = [one.change_to(one.coin) for one in self.steered]
        with restoring(changes, asked.undo_file, self.session.reporter.say) as restoration:
            for one in self.steered:
                one.attach(one.coin)
            self.session.safety.expected = lambda: [(one.group, one.coin) for one in self.steered]
            trial = replace(trial, began=time.time_ns() + int(SETTLE_S * 1e9))
            ending = self._judged(part, lambda: so_far(now := monotonic_ns(), now - self._drain_ns))
            end = monotonic_ns()
            restoration.restore()
        if ending.early:
            found = so_far(end, end - self._drain_ns)
        else:
            traffic.run(self._drain_s, [part.take])
            found = so_far(end, end)
        local = ", ".join(percent(part.units.accept_local(arm), 2) for arm in (A, B))
        return replace(
            found,
            harm=ending.harm,
            ended_early=ending.early,
            restored=restoration.is_as_before,
            facts={"accept-local in A and B": local},
        )

    def _judged(self, part: _Part, so_far: Callable[[], Trial]) -> Ending:
        """Wait while the coin is attached, and end where it does harm."""
        traffic, reporter = self.session.traffic, self.session.reporter
        if (ending := traffic.run(SETTLE_S)).early:
            return ending
        seconds = self.session.asked.duration_s
        traffic.discard()
        self.session.safety.begin()
        part.begin, began = monotonic_ns(), time.monotonic()
        reporter.begin(TRIAL, seconds)

        def take(taken: Taken) -> str | None:
            part.take(taken)
            reporter.advance(taken.now - began, so_far)
            return self.session.safety.judge(taken)

        ending = traffic.run(seconds, [take])
        reporter.end()
        return ending

    @property
    def _drain_ns(self) -> int:
        """How long most connections last, in ns; see `_Part.result`."""
        return int(self._drain_s * 1e9)
