"""What a filter of `locality skb` adds to the run time of its probes.

A ping-pong over loopback between two CPUs; all programs that the source loaded are added up, and
divided by the packets: the two of a round trip, received, and the two originals that TCP keeps. A
filter lets all of them pass, which costs more than to refuse them.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.measure import FEWEST_ROUNDS, Figure, Goal, ratios, take_turns
from benchmarks.program_stats import counted
from benchmarks.traffic import PACKETS, PingPong, ping_pong
from locality.machine.cgroups import find
from locality.skb.source import SkbSource
from locality.skb.wanted import SkbFilter, device

if TYPE_CHECKING:
    from collections.abc import Iterator

ROUNDS, SETTLE_S, TURN_S = 2 * FEWEST_ROUNDS, 0.03, 0.1
GOAL = Goal(high=1.3)

NONE = "no filter"
#: How often a packet is counted.
TIMES = {"tcp": 2, "udp": 1}


def run(scratch: Path) -> Iterator[Figure]:
    for protocol, times in TIMES.items():
        with ping_pong(protocol, "cross CPU", scratch) as game:
            game.play(TURN_S)
            contestants = {
                name: partial(_cost, game, wanted, times) for name, wanted in _filters(game).items()
            }
            costs = take_turns(contestants, rounds=ROUNDS)
        alone = costs.pop(NONE)
        yield Figure(f"{protocol.upper()}, {NONE}", alone, "ns/packet")
        for name, some in costs.items():
            yield Figure(f"{protocol.upper()}, {name}", some, "ns/packet")
            yield Figure(f"{protocol.upper()}, {name} / {NONE}", ratios(some, alone), "", GOAL)


def _filters(game: PingPong) -> dict[str, SkbFilter]:
    """Each lets all packets of the game pass."""
    netns = Path("/proc/self/ns/net").stat().st_ino
    return {
        NONE: SkbFilter(),
        "--netns": SkbFilter(netns=netns),
        "--dev": SkbFilter(device=device("lo")),
        "--family": SkbFilter(family=4),
        "--port": SkbFilter(ports=game.ports),
        "--pid": SkbFilter(pids=game.pids),
        "--comm": SkbFilter(comm="pingpong"),
        "--cgroup": SkbFilter(cgroup=find("/")),
    }


def _cost(game: PingPong, wanted: SkbFilter, times: int) -> float:
    """Nanoseconds of all programs of a source, for each packet."""
    with SkbSource(wanted=wanted) as source, counted():
        # The probe of calls that send is attached until an interval shows that it is not needed.
        game.play(SETTLE_S)
        source.read()
        obj, programs = source.attachment.obj, source.attachment.programs
        before = sum(obj.info(program).run_time_ns for program in programs)
        round_trips = game.play(TURN_S).round_trips
        after = sum(obj.info(program).run_time_ns for program in programs)
    return float(after - before) / (times * PACKETS * round_trips)
