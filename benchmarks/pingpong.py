"""How much slower a TCP ping-pong is while packets are counted.

Each round plays without probes, with programs that do nothing on the same hooks, and with
those of `locality skb`. Nothing is done between two packets but to wait for the next, so
a server that works for its answers loses less. Turns are short and many: what else the
machine does is then the same for all three.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from benchmarks.measure import Figure, Goal, percent_more, take_turns
from benchmarks.programs import attached, open_empty
from benchmarks.traffic import ping_pong
from locality.skb.source import SkbSource

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from benchmarks.traffic import PingPong
    from locality.bpf.object import Object

ROUNDS = 101
TURN_S = 0.02
#: For each placement.
SECONDS = 9.0
PLACEMENTS = ("same CPU", "cross CPU")


def run(scratch: Path) -> Iterator[Figure]:
    found = {}
    with ExitStack() as stack:
        # The source knows by now what it learns at start; its programs are switched on and off.
        source = stack.enter_context(SkbSource())
        ours, programs = source.attachment.obj, source.attachment.programs
        empty = stack.enter_context(open_empty(ours, programs, scratch))
        ours.detach()
        for placement in PLACEMENTS:
            with ping_pong("tcp", placement, scratch) as game:
                found[placement] = _compare(game, ours, empty, programs)
    for placement, times in found.items():
        slower = percent_more(times["counting"], times["no probes"])
        yield Figure(f"slow-down, {placement}", slower, "%", Goal(high=3))
    for placement, times in found.items():
        slower = percent_more(times["empty"], times["no probes"])
        yield Figure(f"slow-down by empty programs, {placement}", slower, "%")
    for placement, times in found.items():
        for name, values in times.items():
            yield Figure(f"round trip, {placement}, {name}", [ns / 1000 for ns in values], "us")


def _compare(
    game: PingPong, ours: Object, empty: Object, programs: tuple[str, ...]
) -> dict[str, list[float]]:
    """ns a round trip, by round."""

    def plain() -> float:
        return game.play(TURN_S).ns

    def with_probes(obj: Object) -> float:
        with attached(obj, programs):
            return plain()

    plain()
    contestants = {
        "no probes": plain,
        "empty": lambda: with_probes(empty),
        "counting": lambda: with_probes(ours),
    }
    return take_turns(contestants, rounds=ROUNDS, seconds=SECONDS)
