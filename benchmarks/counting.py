"""Counting packets beside bcc and bpftrace: ns a packet, and what a ping-pong and nginx lose.

Each contestant counts alone, with programs that do nothing attached to the hooks of `locality
skb`: from the run time that the kernel measures (bpf_stats) is taken, for each run, that of an
empty program of the same type. A packet is one of the ping-pong's, two for each round trip; in
turns ten times as long it is seen whether the cost of one depends on their number. Then a
ping-pong and nginx, in turns with the tracer on and off.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from benchmarks import program_stats
from benchmarks.peers import contestants, switching
from benchmarks.peers.beside import lab_figures, ping_pong_figures
from benchmarks.peers.running import running
from benchmarks.plan import HERE
from benchmarks.programs import attached, open_empty
from benchmarks.tracers import Found, able, started, told_of
from benchmarks.traffic import PACKETS, ping_pong
from locality.bpf import btf
from locality.bpf.object import Object
from locality.lab.experiment import open_lab
from locality.skb.source import RUNGS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from benchmarks.measure import Figure
    from benchmarks.peers.running import Running
    from benchmarks.plan import Plan
    from benchmarks.traffic import PingPong
    from locality.lab.experiment import LocalLab

TEN_TIMES = 10
#: After which a port has printed what it counted: it does so each second.
PRINTED_S = 1.5

#: A port's count of received packets, freed on their alloc CPU or elsewhere.
_RECEIVED = re.compile(r"^@rx\[[01]\]: (\d+)$|\brx (?:elsewhere|local) (\d+)", re.MULTILINE)


def run(scratch: Path, plan: Plan = HERE) -> Iterator[Figure]:
    found = Found()
    beside: list[Figure] = []
    with ExitStack() as stack:
        game = stack.enter_context(ping_pong("tcp", plan.placement, scratch))
        lab = stack.enter_context(open_lab(workers=2)) if plan.lab else None
        empties = _Empties(scratch)
        stack.callback(empties.close)
        for life in range(plan.lives):
            for contestant in able(contestants.skb(), plan):
                with told_of(contestant), running(contestant, scratch) as alive:
                    started(alive, found)
                    with empties.attached(), program_stats.counted():
                        _count(alive, empties, game, plan, found)
                    if life == plan.lives - 1:
                        beside += _beside(alive, game, lab, scratch, plan)
    yield from found.figures()
    yield from beside


class _Empties:
    """Programs that do nothing, on the hooks of all rungs that this kernel allows."""

    def __init__(self, scratch: Path) -> None:
        allowed = RUNGS[:2] if contestants.has_kprobes() else RUNGS[2:]
        names = (name for rung in allowed for name in rung.programs(btf.kernel()))
        self._names = list(dict.fromkeys(names))  # a program may be of several rungs
        before = set(program_stats.programs())
        with Object.open("skb_alloc_free") as ours:
            self._obj = open_empty(ours, self._names, scratch)
        self._ids = set(program_stats.programs()) - before

    @contextmanager
    def attached(self) -> Iterator[None]:
        """Have them attached while the block runs."""
        with attached(self._obj, self._names):
            yield

    def runs(self) -> dict[int, program_stats.Runs]:
        """What they did so far."""
        return {one: runs for one, runs in program_stats.programs().items() if one in self._ids}

    def close(self) -> None:
        """Unload them."""
        self._obj.close()


def _count(alive: Running, empties: _Empties, game: PingPong, plan: Plan, found: Found) -> None:
    """Turns of the ping-pong, some ten times as long."""
    game.play(plan.turn_s)
    counted, packets = _received_so_far(alive), 0
    for seconds in (plan.turn_s, plan.turn_s * TEN_TIMES):
        for _ in range(plan.rounds):
            packets += _turn(alive, empties, game, seconds, found)
    counted = _received_so_far(alive) - counted
    if counted:
        who = alive.contestant.name
        found.add("received packets it counts", who, counted / packets, "/packet")


def _turn(alive: Running, empties: _Empties, game: PingPong, seconds: float, found: Found) -> int:
    """One turn; returns how many packets it had."""
    who = alive.contestant.name
    before = alive.runs(), empties.runs(), alive.spent()
    packets = game.play(seconds).round_trips * PACKETS
    after = alive.runs(), empties.runs(), alive.spent()
    ns, runs = _by_type(before[0], after[0])
    empty_ns, empty_runs = _by_type(before[1], after[1])
    nothing = sum(runs[kind] * empty_ns[kind] / empty_runs[kind] for kind in runs & empty_runs)
    turn = f"{seconds:g} s of ping-pong"
    found.add(
        f"ns above empty programs, {turn}", who, (ns.total() - nothing) / packets, "ns/packet"
    )
    found.add(f"ns in BPF programs, {turn}", who, ns.total() / packets, "ns/packet")
    found.add(f"runs, {turn}", who, runs.total() / packets, "/packet")
    spent = after[2] - before[2]
    found.add(f"CPU of the process, {turn}", who, (spent.user + spent.system) / seconds * 100, "%")
    return packets


def _received_so_far(alive: Running) -> int:
    """What a port has printed of the packets until now; 0 if it is none of the ports."""
    if "locality.stp" not in alive.contestant.name:
        return 0
    time.sleep(PRINTED_S)
    return received(alive.output.read_text())


def received(printed: str) -> int:
    """Packets that a port says were received."""
    return sum(int(one or other) for one, other in _RECEIVED.findall(printed))


def _by_type(
    before: dict[int, program_stats.Runs], after: dict[int, program_stats.Runs]
) -> tuple[Counter[int], Counter[int]]:
    """Nanoseconds and runs between two readings, by the type of program."""
    ns: Counter[int] = Counter()
    runs: Counter[int] = Counter()
    for one in before.keys() & after.keys():
        ns[after[one].type] += after[one].ns - before[one].ns
        runs[after[one].type] += after[one].count - before[one].count
    return ns, runs


def _beside(
    alive: Running, game: PingPong, lab: LocalLab | None, scratch: Path, plan: Plan
) -> Iterator[Figure]:
    switched = switching.of(alive, scratch)
    if switched is None:
        return
    with switched as switch:
        yield from ping_pong_figures(alive.contestant.name, switch, game, plan)
        if lab is not None:
            yield from lab_figures(alive.contestant.name, switch, lab, plan)
