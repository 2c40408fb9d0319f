"""Events lost at 50,000, 200,000 and a million a second, beside bcc and bpftrace.

Each event is a call of getpgid(), made at a steady rate from one CPU, and for each a record
of an accepted connection's size comes over and a line is written to a file. Ours reads
a ring as large as `locality accept` has, once into its text and once just into its summary;
bcc's ring is as large and its Python callback writes as short a line as bpftrace's printf.
"""

from __future__ import annotations

import os
import re
import subprocess
from typing import TYPE_CHECKING

from benchmarks.peers import contestants
from benchmarks.peers.running import running
from benchmarks.plan import HERE
from benchmarks.programs import SOURCES, compile_native
from benchmarks.tracers import PER, Found, able, told_of
from locality.accept.batch import ACCEPT
from locality.errors import LocalityError
from locality.machine.syscalls import number

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from benchmarks.measure import Figure
    from benchmarks.peers.running import Running
    from benchmarks.plan import Plan

RATES = (50_000, 200_000, 1_000_000)
#: Many times what a ring holds at the highest rate.
SECONDS = 1.0

_SUMMARY = re.compile(r"^(\d+) accepted, .* (\d+) lost$", re.MULTILINE)


def run(scratch: Path, plan: Plan = HERE) -> Iterator[Figure]:
    program = scratch / "calls"
    if not program.exists():
        compile_native(SOURCES / "calls.c", scratch)
    found = Found()
    getpgid = number("getpgid")
    if getpgid is None:
        raise LocalityError("the number of getpgid() is not known on this architecture")
    for rate in RATES:
        for _ in range(plan.lives):
            for contestant in able(contestants.calls(getpgid, ACCEPT.itemsize), plan):
                with told_of(contestant), running(contestant, scratch) as alive:
                    before = alive.spent()
                    made, seconds = _make(program, rate)
                    if contestant.event:
                        seen = alive.events(made)
                        spent = alive.spent() - before
                    else:  # its reader takes what the ring has when it ends
                        spent = None
                        seen = _told_at_the_end(alive)
                who, of = contestant.name, f"{rate:,} events/s"
                if spent and seen:
                    of_all = f"user CPU per {PER:,}, {of}"
                    found.add(of_all, who, spent.user * PER / seen, "s")
                found.add(f"lost, {of}", who, made - seen, "")
                found.add(f"lost of all, {of}", who, 100 * (1 - seen / made), "%")
                found.add(f"rate reached, {of}", who, made / seconds / 1000, "k/s")
    yield from found.figures()


def _make(program: Path, rate: int) -> tuple[int, float]:
    """Make calls; returns how many, and the seconds it took."""
    cpu = max(os.sched_getaffinity(0))
    command = [str(program), str(cpu), str(rate), str(round(SECONDS * 1000))]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    made, ns = map(int, done.stdout.split())
    return made, ns / 1e9


def _told_at_the_end(alive: Running) -> int:
    """How many came over, as its summary says; ends the contestant."""
    answer = alive.stop()
    summary = _SUMMARY.search(answer)
    if summary is None:
        raise LocalityError(f"{alive.contestant.name} printed no summary: {answer[-300:]}")
    return int(summary[1])
