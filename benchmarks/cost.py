"""What `locality cost` takes from each read, and what it takes to stamp received packets.

The probes are those of one protocol (`--proto`). A ping-pong over loopback is played without
anything, with stamps, with stamps and programs that do nothing on the same hooks, and with stamps
and the probes. Two packets are received and read in a round trip. What is compared is the CPU time
of both ends, of which a busy machine takes less than of the time that a round trip takes. Turns are
short and many: what else the machine does is then the same for all four. The kernel's own measure
of the programs stands beside that: it holds what it takes to fetch the packet, which the read then
finds in its cache.
"""

from __future__ import annotations

import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.measure import Figure, Goal, take_turns
from benchmarks.program_stats import counted
from benchmarks.programs import attached, open_empty
from benchmarks.traffic import PACKETS, ping_pong
from locality.cost.source import CostSource
from locality.cost.stamping import Stamping

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from benchmarks.traffic import PingPong
    from locality.bpf.object import Object

    Probes = Sequence[tuple[Object, Sequence[str]]]

ROUNDS = 101
TURN_S = 0.02
#: For each protocol and placement.
SECONDS = 12.0
PLACEMENTS = ("same CPU", "cross CPU")
#: The kernel switches stamping on and off in a work queue.
SETTLE_S = 0.005
STATS_ROUNDS = 15

GOAL = Goal(high=250)


def run(scratch: Path) -> Iterator[Figure]:
    for protocol in ("tcp", "udp"):
        yield from _with_probes_of(protocol, scratch)


def _with_probes_of(protocol: str, scratch: Path) -> Iterator[Figure]:
    with ExitStack() as stack:
        source = stack.enter_context(CostSource(protocol=protocol))
        source.stamping.close()
        ours = [(one.obj, one.obj.attached) for one in source.attachments]
        empty = [
            (stack.enter_context(open_empty(obj, programs, scratch)), programs)
            for obj, programs in ours
        ]
        for obj, _ in ours:
            obj.detach()
        for placement in PLACEMENTS:
            where = f"{protocol.upper()} {placement}"
            with ping_pong(protocol, placement, scratch) as game:
                yield from _slow_down(where, game, ours, empty)
                yield from _run_time(where, game, ours, empty)


def _slow_down(where: str, game: PingPong, ours: Probes, empty: Probes) -> Iterator[Figure]:
    ends = _processes(game.process.pid)

    def plain() -> float:
        time.sleep(SETTLE_S)
        before = _cpu_ns(ends)
        played = game.play(TURN_S)
        return (_cpu_ns(ends) - before) / (played.round_trips * PACKETS)

    def stamped() -> float:
        stamping = Stamping()
        try:
            return plain()
        finally:
            stamping.close()

    def with_probes(probes: Probes) -> float:
        with _all_attached(probes):
            return stamped()

    plain()
    times = take_turns(
        {
            "nothing": plain,
            "stamps": stamped,
            "empty": lambda: with_probes(empty),
            "cost": lambda: with_probes(ours),
        },
        rounds=ROUNDS,
        seconds=SECONDS,
    )

    def more(one: str, other: str) -> list[float]:
        return [a - b for a, b in zip(times[one], times[other], strict=True)]

    yield Figure(f"{where}: probes", more("cost", "stamps"), "ns/read", GOAL)
    yield Figure(f"{where}: empty programs", more("empty", "stamps"), "ns/read")
    yield Figure(f"{where}: stamps", more("stamps", "nothing"), "ns/packet")
    yield Figure(f"{where}: CPU time of a message", times["nothing"], "ns")


def _processes(pid: int) -> list[Path]:
    """A process and its children: what /proc says of their CPU time."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [Path(f"/proc/{one}/schedstat") for one in (str(pid), *children)]


def _cpu_ns(ends: Sequence[Path]) -> int:
    """CPU time so far (Documentation/scheduler/sched-stats.rst)."""
    return sum(int(path.read_text().split()[0]) for path in ends)


def _run_time(where: str, game: PingPong, ours: Probes, empty: Probes) -> Iterator[Figure]:
    net = []
    with ExitStack() as stack:
        stack.enter_context(_all_attached(ours))
        stack.enter_context(_all_attached(empty))
        stack.enter_context(counted())
        for _ in range(STATS_ROUNDS):
            before = _spent(ours) - _spent(empty)
            reads = game.play(TURN_S).round_trips * PACKETS
            net.append((_spent(ours) - _spent(empty) - before) / reads)
    yield Figure(f"{where}: run time above empty programs", net, "ns/read")


def _spent(probes: Probes) -> int:
    """Nanoseconds in all programs."""
    return sum(obj.info(name).run_time_ns for obj, programs in probes for name in programs)


@contextmanager
def _all_attached(probes: Probes) -> Iterator[None]:
    with ExitStack() as stack:
        for obj, programs in probes:
            stack.enter_context(attached(obj, programs))
        yield
