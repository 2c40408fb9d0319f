"""Trials of nginx in the lab: the map against the hash, and a cost that is known to be there."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from locality import cbpf
from locality.errors import LocalityError
from locality.lab.dear_server import READY
from locality.lab.load import run_load
from locality.lab.namespaces import POLL_S, START_S
from locality.lab.network import SERVER_ADDRESS
from locality.lab.nginx import PORT
from locality.lab.programs import PYTHON, failure
from locality.lab.trial_cases import (
    AA,
    MAP,
    REQUESTS,
    REVERSED,
    SCENARIOS,
    SPIN_US,
    RequestFigures,
    Scenario,
    Shown,
)
from locality.machine import topology
from locality.stream import interruptible
from locality.trial import paired
from locality.trial.asked import Asked
from locality.trial.by_blocks import ByBlocks
from locality.trial.by_connection import ByConnection
from locality.trial.counters import Counters
from locality.trial.effects import Effect, Verdict, effects
from locality.trial.guard import Bounds, Guard
from locality.trial.look import look_at
from locality.trial.safety import Safety
from locality.trial.session import Session
from locality.trial.switches import AttachSwitch
from locality.trial.targets import find_target, steer
from locality.trial.traffic import watching

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from locality.arrays import Array
    from locality.lab.experiment import LocalLab
    from locality.trial.observation import Trial
    from locality.trial.targets import Steered

DEAR_PORT = 8090
_DEAR_CONNECTIONS = 2
"""Few, so that a read waits for its reader and not for a CPU."""
_SETTLE_S = 0.5
_LOOKED_AT = ("cpu_per_request", "nginx_per_request", "requests", "queue_wait p50")
"""The outcomes in the table, by their labels."""
#: The lab's load fills the machine: there is no harm to guard against.
_NO_BOUNDS = Bounds(1 << 40, 1 << 40, 1e9, 1e9, 1e9)


@dataclass(frozen=True)
class Length:
    """How long the lab's trials are.

    Attributes:
        block_s: Seconds of a block.
        pairs: Pairs of blocks of each comparison.
        injected_s: Seconds of the trial of the injected cost.
        seed: Of the random numbers.
    """

    block_s: float = 0.5
    pairs: int = 8
    injected_s: float = 6.0
    seed: int = 2017


@dataclass
class LabReporter:
    """Passes on what must be said, and shows no bar."""

    say: Callable[[str], None]

    def begin(self, what: str, seconds: float) -> None:
        """A part begins."""

    def advance(self, seconds: float, so_far: Callable[[], Trial] | None = None) -> None:
        """Some of it is over."""

    def smallest(self, trial: Trial) -> None:
        """What it can show is in the table."""

    def end(self) -> None:
        """It is over."""


def run(lab: LocalLab, length: Length, say: Callable[[str], None]) -> Iterator[Shown]:
    """Run all comparisons; each outcome as soon as it is known.

    Raises:
        LocalityError: nginx, the load or a trial could not be run.
        KeyboardInterrupt: A signal came.
    """
    for scenario in SCENARIOS:
        lab.serve(requests=REQUESTS)
        yield from _compare(lab, scenario, length, say)
    for spin_us in (0.0, SPIN_US):
        yield from _inject(lab, spin_us, length, say)


def _compare(
    lab: LocalLab, scenario: Scenario, length: Length, say: Callable[[str], None]
) -> Iterator[Shown]:
    url = f"http://{SERVER_ADDRESS}:{PORT}/{scenario.path}"
    threads = len(lab.cpus)
    with (
        run_load(lab.client, url, threads, keep_alive=scenario.keep_alive),
        session_of(lab, PORT, length, say) as session,
    ):
        steered = steer(session.target, session.machine, session.look.receiving)
        wire = lab.wire.process
        figures = [RequestFigures(lab.nginx, wire.pid if wire else None)]
        for comparison, switch in (
            (MAP, AttachSwitch(steered)),
            (REVERSED, AttachSwitch(steered, list(map(_reversed, steered)), "another worker")),
        ):
            asked = replace(session.asked, aa_s=session.asked.aa_s if comparison == MAP else 0.0)
            trial = ByBlocks(replace(session, asked=asked), switch, figures).run()
            _require_whole(trial)
            found = {effect.outcome.label: effect for effect in effects(trial)}
            local = trial.facts["accept-local in A and B"]
            labels = [label for label in _LOOKED_AT if label in found]
            for label in labels if comparison == MAP else ():
                missing = _missing(trial.aa_units, label)
                shown = _of_aa(found[label], trial.aa_units)
                yield Shown(scenario.name, AA, "", shown, missing)
            for label in labels:
                missing = _missing(trial.units, label)
                yield Shown(scenario.name, comparison, local, found[label], missing)


def _missing(units: Array, label: str) -> str:
    """Why nothing is known of an outcome, in words; empty if something is."""
    pairs = paired.pairs_of(units, label)
    count, fewest = len(pairs.values), paired.FEWEST_PAIRS
    if count >= fewest:
        return ""
    return f"{count} of {len(units) // 2} pairs have a value, and {fewest} are needed"


def _of_aa(effect: Effect, units: Array) -> Effect:
    """What the A/A part before a trial showed of an outcome.

    Args:
        effect: What the trial showed.
        units: Of the A/A part.
    """
    interval = effect.aa
    pairs = paired.pairs_of(units, effect.outcome.label)
    verdict = Verdict.NOT_KNOWN
    if interval is not None:
        lower = (interval.high < 0) == (effect.outcome.better == "lower")
        verdict = Verdict.BETTER if lower else Verdict.WORSE
        if not interval.excludes_zero:
            verdict = Verdict.NO_DIFFERENCE
    return replace(
        effect,
        a=paired.level(pairs.a, pairs.scale),
        b=paired.level(pairs.b, pairs.scale),
        difference=None,
        interval=interval,
        verdict=verdict,
        units=2 * len(pairs.values),
    )


def _reversed(steered: Steered) -> cbpf.Program:
    """The map that sends what each CPU receives to another worker than the nearest."""
    size = len(steered.group.group.members)
    return cbpf.table({cpu: (index + 1) % size for cpu, index in steered.indexes.items()})


def _inject(
    lab: LocalLab, spin_us: float, length: Length, say: Callable[[str], None]
) -> Iterator[Shown]:
    """A trial by connection of a server whose remote reads cost so much more."""
    url = f"http://{SERVER_ADDRESS}:{DEAR_PORT}/"
    with (
        _dear_server(lab, spin_us),
        run_load(lab.client, url, _DEAR_CONNECTIONS, connections=_DEAR_CONNECTIONS),
        session_of(lab, DEAR_PORT, length, say) as session,
    ):
        steered = steer(session.target, session.machine, session.look.receiving)
        trial = ByConnection(session, steered).run()
        _require_whole(trial)
        name = f"own server, a remote read {spin_us:g} us dearer"
        for effect in effects(trial):
            if effect.outcome.label == "receipt_to_read p50":
                local = trial.facts["accept-local in A and B"]
                yield Shown(name, "nearest worker against another one", local, effect)


@contextmanager
def session_of(
    lab: LocalLab, port: int, length: Length, say: Callable[[str], None]
) -> Iterator[Session]:
    """What a trial of one of the lab's servers works with."""
    time.sleep(_SETTLE_S)
    machine = topology.read()
    netns = Path(f"/proc/{lab.server.pid}/ns/net").stat().st_ino
    target = find_target(port, netns)
    with (
        TemporaryDirectory(prefix="locality-lab-") as directory,
        interruptible() as wait,
        watching(target, wait) as traffic,
    ):
        safety = Safety(Guard(_NO_BOUNDS, 1), Counters(target.holders), target)
        look = look_at(traffic, target, machine, safety)
        washout = min(max(0.1, look.lifetimes.most_s or 0.0), length.block_s / 2)
        asked = Asked(
            port=port,
            netns=netns,
            seed=length.seed,
            duration_s=length.injected_s,
            aa_s=length.injected_s / 2 if port == DEAR_PORT else 2 * length.pairs * length.block_s,
            undo_file=Path(directory, "undo.json"),
            bounds=_NO_BOUNDS,
            block_s=length.block_s,
            washout_s=washout,
            pairs=length.pairs,
        )
        yield Session(traffic, look, machine, asked, LabReporter(say), safety)


@contextmanager
def _dear_server(lab: LocalLab, spin_us: float) -> Iterator[None]:
    argv = (*PYTHON, "locality.lab.dear_server", str(DEAR_PORT), f"{spin_us:g}")
    with lab.server.start(*argv, *map(str, lab.cpus), own_mounts=False) as process:
        deadline = time.monotonic() + START_S
        while process.printed() != READY:
            process.check()
            if time.monotonic() > deadline:
                raise failure(argv, process.printed(), None)
            time.sleep(POLL_S)
        yield
        process.check()


def _require_whole(trial: Trial) -> None:
    """See that a trial came to its end.

    Raises:
        LocalityError: Something went wrong.
        KeyboardInterrupt: A signal ended it.
    """
    if trial.harm is not None:
        raise LocalityError(f"a trial of the lab was ended: {trial.harm}")
    if trial.ended_early:
        raise KeyboardInterrupt
