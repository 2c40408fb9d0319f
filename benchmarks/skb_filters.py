"""What a filter of `locality skb` adds to the run time of its probes, for each packet.

A ping-pong over loopback between two CPUs, TCP and UDP in turn; all programs that the source loaded
are added up, and divided by the packets that it saw without a filter. A filter lets all of them
pass, which costs more than to refuse them.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.measure import Figure, Goal
from benchmarks.program_stats import counted, programs
from locality.machine.cgroups import find
from locality.skb.source import SkbSource
from locality.skb.wanted import SkbFilter, device
from tests.live.helpers.traffic import HERE, THERE, tcp_ping_pong, udp_ping_pong

if TYPE_CHECKING:
    from collections.abc import Iterator

ROUNDS, ROUND_TRIPS = 11, 3_000
GOAL = Goal(high=1.3)


def run(_scratch: Path) -> Iterator[Figure]:
    netns = Path("/proc/self/ns/net").stat().st_ino
    filters = {
        "--netns": SkbFilter(netns=netns),
        "--dev": SkbFilter(device=device("lo")),
        "--family": SkbFilter(family=4),
        "--port": SkbFilter(ports=(1,)),
        "--pid": SkbFilter(pids=(os.getpid(),)),
        "--comm": SkbFilter(comm=Path("/proc/self/comm").read_text().strip()),
        "--cgroup": SkbFilter(cgroup=find("/")),
    }
    alone: list[float] = []
    costs: dict[str, list[float]] = {name: [] for name in filters}
    for _ in range(ROUNDS):
        alone.append(_cost(SkbFilter()))
        for name, wanted in filters.items():
            costs[name].append(_cost(wanted))
    yield Figure("no filter", alone, "ns/packet")
    for name, some in costs.items():
        yield Figure(f"{name}", some, "ns/packet")
        ratios = [one / other for one, other in zip(some, alone, strict=True)]
        yield Figure(f"{name} / no filter", ratios, "", GOAL)


def _cost(wanted: SkbFilter) -> float:
    """Nanoseconds of all programs of a source, for each packet."""
    before = programs().keys()
    with SkbSource(wanted=wanted) as source:
        source.read()
        with counted():
            tcp_ping_pong(THERE, HERE, ROUND_TRIPS)
            udp_ping_pong(THERE, HERE, ROUND_TRIPS)
        spent = sum(one.ns for number, one in programs().items() if number not in before)
    # Two packets of TCP a round trip, with their originals, and two of UDP.
    return spent / (6 * ROUND_TRIPS)
