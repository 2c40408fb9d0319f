"""Tracing accepts beside bcc and bpftrace: start, memory, CPU time, what is lost, nginx.

Each contestant is started alone and prints its lines to a file. A storm of a stated number of
connections is accepted while nothing else is on; when no more lines come, they are counted. CPU
time is that of the process, user and kernel apart; the run time of its BPF programs is measured by
the kernel. Then nginx, in turns with the tracer on and off.
"""

from __future__ import annotations

import os
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from benchmarks import program_stats
from benchmarks.measure import Figure
from benchmarks.peers import contestants, switching
from benchmarks.peers.beside import lab_figures
from benchmarks.peers.running import running
from benchmarks.plan import HERE
from benchmarks.storm import storm
from locality.errors import LocalityError
from locality.lab.experiment import open_lab

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from benchmarks.peers.contestants import Contestant
    from benchmarks.peers.running import Running
    from benchmarks.plan import Plan
    from benchmarks.storm import Storm
    from locality.lab.experiment import LocalLab

#: CPU time is given for so many connections, however many were made.
PER = 100_000


@dataclass
class Found:
    """Figures that grow by a value with each life of a contestant."""

    values: dict[tuple[str, str, str], list[float]] = field(default_factory=dict)

    def add(self, what: str, who: str, value: float, unit: str) -> None:
        """Add a value."""
        self.values.setdefault((what, who, unit), []).append(value)

    def figures(self) -> Iterator[Figure]:
        """All of them, what was measured before whom it was measured of."""
        for (what, who, unit), values in sorted(
            self.values.items(), key=lambda item: _order(item[0][0], self)
        ):
            yield Figure(f"{what}: {who}", values, unit)


def _order(what: str, found: Found) -> int:
    return list(dict.fromkeys(name for name, _, _ in found.values)).index(what)


def run(scratch: Path, plan: Plan = HERE) -> Iterator[Figure]:
    found = Found()
    beside: list[Figure] = []
    with ExitStack() as stack:
        making = stack.enter_context(storm(os.cpu_count() or 1, scratch))
        lab = stack.enter_context(open_lab(workers=2)) if plan.lab else None
        for life in range(plan.lives):
            for contestant in able(contestants.accept(), plan):
                with told_of(contestant), running(contestant, scratch) as alive:
                    started(alive, found)
                    with program_stats.counted():
                        # What is only looked up for the first connections is no storm's.
                        warm = plan.accepts[0] // 10
                        making.make(warm)
                        seen = alive.events(warm)
                        for connections in plan.accepts:
                            seen = _accept(alive, making, connections, seen, found)
                    if lab and life == plan.lives - 1:
                        beside += _beside_nginx(alive, lab, scratch, plan)
    yield from found.figures()
    yield from beside


def able(everybody: list[Contestant], plan: Plan) -> Iterator[Contestant]:
    """Those of them that the plan has time for."""
    for contestant in everybody:
        if plan.over:
            print(f"  {contestant.name}: left out, there is no time", flush=True)
        elif plan.compilers or not contestant.compiles:
            print(f"  {time.strftime('%H:%M:%S')} {contestant.name}", flush=True)
            yield contestant


@contextmanager
def told_of(contestant: Contestant) -> Iterator[None]:
    """Others go on where one fails: say so, and that is all that is known of it."""
    try:
        yield
    except (LocalityError, OSError) as error:
        print(f"  {contestant.name}: left out: {error}", flush=True)


def started(alive: Running, found: Found) -> None:
    """How it came up."""
    who = alive.contestant.name
    found.add("exec to attached", who, alive.seconds, "s")
    found.add("CPU time until attached", who, alive.cpu_seconds, "s")
    found.add("largest resident size", who, alive.peak_mb, "MB")
    found.add("resident size", who, alive.resident_mb, "MB")


def _accept(alive: Running, making: Storm, connections: int, earlier: int, found: Found) -> int:
    """A storm, of which so many lines were seen before; returns how many are seen after it."""
    who = alive.contestant.name
    before = alive.spent()
    seconds = making.make(connections)
    seen = alive.events(earlier + connections) - earlier
    spent = alive.spent() - before
    per = PER / connections
    of = f"{connections:,} accepts"
    found.add(f"user CPU per {PER:,}, {of}", who, spent.user * per, "s")
    found.add(f"kernel CPU per {PER:,}, {of}", who, spent.system * per, "s")
    found.add(f"BPF programs, {of}", who, spent.programs / connections, "ns/accept")
    found.add(f"lost, {of}", who, connections - seen, "")
    found.add(f"connections/s, {of}", who, connections / seconds, "/s")
    return earlier + seen


def _beside_nginx(alive: Running, lab: LocalLab, scratch: Path, plan: Plan) -> Iterator[Figure]:
    switched = switching.of(alive, scratch)
    if switched is not None:
        with switched as switch:
            yield from lab_figures(alive.contestant.name, switch, lab, plan)
