"""The skb probes' run time, beside an empty program on the same hooks.

Both are attached at once, so both see the same packets. The kernel measures each run
(BPF_ENABLE_STATS); what it reads for a program that does nothing is its own share.
Other traffic of the machine counts into the runs a packet.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING

from benchmarks.measure import Figure
from benchmarks.program_stats import counted
from benchmarks.programs import attached, open_empty
from benchmarks.traffic import PACKETS, ping_pong
from locality.skb.source import SkbSource

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from locality.bpf.object import Object

ROUNDS = 7
TURN_S = 0.3
TRAFFIC = [(protocol, place) for protocol in ("tcp", "udp") for place in ("same CPU", "cross CPU")]
#: Programs with fewer runs in a packet cost nothing worth a line.
RARE = 0.02


@dataclass
class Cost:
    """What one program cost in each round: ns a run, and runs a packet."""

    ours: list[float] = field(default_factory=list)
    empty: list[float] = field(default_factory=list)
    runs: list[float] = field(default_factory=list)


def run(scratch: Path) -> Iterator[Figure]:
    totals: list[Figure] = []
    details: list[Figure] = []
    with ExitStack() as stack:
        source = stack.enter_context(SkbSource())
        ours, programs = source.attachment.obj, source.attachment.programs
        empty = stack.enter_context(open_empty(ours, programs, scratch))
        stack.enter_context(attached(empty, programs))
        stack.enter_context(counted())
        for protocol, placement in TRAFFIC:
            where = f"{protocol.upper()} {placement}"
            costs = {name: Cost() for name in programs}
            net = []
            with ping_pong(protocol, placement, scratch) as game:
                game.play(TURN_S)
                for _ in range(ROUNDS):
                    before = _run_times(ours, programs), _run_times(empty, programs)
                    packets = game.play(TURN_S).round_trips * PACKETS
                    after = _run_times(ours, programs), _run_times(empty, programs)
                    net.append(_add(costs, before, after, packets))
            totals.append(Figure(f"{where}: above empty programs", net, "ns/packet"))
            details += _figures(where, costs)
    yield from totals
    yield from details


Times = dict[str, tuple[int, int]]


def _run_times(obj: Object, programs: Sequence[str]) -> Times:
    """Nanoseconds and runs of each program."""
    infos = {name: obj.info(name) for name in programs}
    return {name: (info.run_time_ns, info.run_cnt) for name, info in infos.items()}


def _add(
    costs: dict[str, Cost], before: tuple[Times, Times], after: tuple[Times, Times], packets: int
) -> float:
    """Add a round to the costs; returns ns a packet of all programs above empty ones."""
    net = 0.0
    for name, cost in costs.items():
        (ours, runs), (empty, empty_runs) = (
            (late[name][0] - early[name][0], late[name][1] - early[name][1])
            for early, late in zip(before, after, strict=True)
        )
        if runs == 0 or empty_runs == 0:
            continue
        cost.ours.append(ours / runs)
        cost.empty.append(empty / empty_runs)
        cost.runs.append(runs / packets)
        net += (ours / runs - empty / empty_runs) * runs / packets
    return net


def _figures(where: str, costs: dict[str, Cost]) -> Iterator[Figure]:
    for name, cost in costs.items():
        if not cost.runs or median(cost.runs) < RARE:
            continue
        yield Figure(f"{where}: {name}", cost.ours, "ns/run")
        yield Figure(f"{'':{len(where)}}  empty program there", cost.empty, "ns/run")
        yield Figure(f"{'':{len(where)}}  runs", cost.runs, "/packet")
