"""What a server and a ping-pong lose while a tracer is on: turns with and without it."""

from __future__ import annotations

import os
import signal
import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.lab import requests
from benchmarks.measure import Figure, percent_more, take_turns

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchmarks.peers.switching import Switch
    from benchmarks.plan import Plan
    from benchmarks.traffic import PingPong
    from locality.lab.experiment import LocalLab
    from locality.lab.load import Load


#: Requests in a turn, to say anything; an emulated server takes a while.
FEWEST = 50


@contextmanager
def quiet(load: Load) -> Iterator[None]:
    """No new requests: nothing runs through the code that is being patched.

    An emulated CPU does not always survive that.
    """
    os.kill(load.process.pid, signal.SIGSTOP)
    # nsenter, its parent, stops with it a moment later, and takes it along when it goes on.
    entry = load.process.entry.pid
    while not stopped(entry):
        time.sleep(0.001)
    try:
        yield
    finally:
        os.kill(entry, signal.SIGCONT)


def stopped(pid: int) -> bool:
    """Whether a process was stopped by a signal."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def lab_figures(name: str, switch: Switch, lab: LocalLab, plan: Plan) -> Iterator[Figure]:
    """Requests/s of nginx with and without a tracer.

    Args:
        name: The tracer's.
        switch: Its.
        lab: Is up.
        plan: Rounds, and length of a turn.
    """
    with lab.load() as load:

        def rate(*, on: bool) -> float:
            with quiet(load):
                switch.turn(on=on)
            time.sleep(plan.lab_turn_s / 3)
            before, begin, done = requests(lab), time.perf_counter(), 0
            while done < FEWEST:
                time.sleep(plan.lab_turn_s)
                done = requests(lab) - before
                load.process.check()
            return done / (time.perf_counter() - begin)

        found = _with_and_without(rate, plan)
        load.stop()
    switch.turn(on=False)
    yield Figure(f"nginx slowed by: {name}", _percent_less(found), "%")
    yield Figure(f"nginx requests/s without: {name}", found["off"], "/s")
    yield Figure(f"nginx requests/s with: {name}", found["on"], "/s")


def ping_pong_figures(name: str, switch: Switch, game: PingPong, plan: Plan) -> Iterator[Figure]:
    """How much longer a round trip takes with a tracer; the arguments are those of the lab."""

    def round_trip(*, on: bool) -> float:
        switch.turn(on=on)
        return game.play(plan.turn_s).ns

    found = _with_and_without(round_trip, plan)
    switch.turn(on=False)
    slower = percent_more(found["on"], found["off"])
    yield Figure(f"TCP ping-pong slowed by: {name}", slower, "%")


def _with_and_without(measure: Callable[..., float], plan: Plan) -> dict[str, list[float]]:
    turns = {"off": partial(measure, on=False), "on": partial(measure, on=True)}
    return take_turns(turns, rounds=plan.rounds)


def _percent_less(found: dict[str, list[float]]) -> list[float]:
    return [(1 - on / off) * 100 for on, off in zip(found["on"], found["off"], strict=True)]
