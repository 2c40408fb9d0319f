"""Does a share from random windows have the share of the whole time in its interval?

python -m validation.duty_windows >docs/generated/duty-windows.md    # make duty-windows (root)

Made-up streams of events, whose share changes in ways that windows could miss, are looked at
through the windows of `locality exporter --duty 10%`. So are real connections: one probe counts all
of them, another one only those in its windows.
"""

from __future__ import annotations

import argparse
import os
import random
import socket
import sys
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from locality.exporter.measures import Accepts
from locality.exporter.share_interval import interval
from locality.exporter.windows import KEPT, Windows, pause
from locality.filter import Wanted
from locality.machine import topology
from tests.checkout import commit

if TYPE_CHECKING:
    from collections.abc import Callable

    from locality.arrays import Array

#: Seconds of a step in which a made-up stream is alike.
STEP = 0.01
LENGTH, DUTY = 1.0, 0.1
REPORTS, SEED = 500, 21
#: Longer than `KEPT` windows and their pauses can be expected to take.
STEPS = int(KEPT * LENGTH / DUTY * 2.5 / STEP)
#: Of the live run: a window takes longer, for attaching takes some 0.1 s.
LIVE_REPORTS, LIVE_WINDOWS, LIVE_LENGTH, LIVE_DUTY, LIVE_RATE = 100, 10, 0.02, 0.2, 100.0


@dataclass(frozen=True)
class Stream:
    """Events: (steps,) how many are expected a second, and which share of them is local."""

    rate: Array
    share: Array


def steady(draw: np.random.Generator) -> Stream:
    del draw
    return Stream(np.full(STEPS, 500.0), np.full(STEPS, 0.5))


def bursts(draw: np.random.Generator) -> Stream:
    """20 % or 95 % are local, for 5 s on average."""
    switches = draw.random(STEPS) < STEP / 5
    return Stream(np.full(STEPS, 500.0), np.where(np.cumsum(switches) % 2, 0.2, 0.95))


def drift(draw: np.random.Generator) -> Stream:
    """The share grows from 50 to 100 %, and the rate doubles."""
    del draw
    return Stream(np.linspace(300, 600, STEPS), np.linspace(0.5, 1.0, STEPS))


def in_step(draw: np.random.Generator) -> Stream:
    """1 s in 10 nothing is local: as often as there are windows."""
    phase = (np.arange(STEPS) * STEP + draw.uniform(0, 10)) % 10
    return Stream(np.full(STEPS, 500.0), np.where(phase < 1, 0.0, 1.0))


def rare(draw: np.random.Generator) -> Stream:
    """20 events a second, of which 99 % are local."""
    del draw
    return Stream(np.full(STEPS, 20.0), np.full(STEPS, 0.99))


def uneven(draw: np.random.Generator) -> Stream:
    """The rate wanders over two orders of magnitude, and the share falls where it is high."""
    steps = draw.normal(0, 1, STEPS // 100 + 1)
    level = np.zeros(len(steps))
    for place in range(1, len(level)):
        level[place] = 0.9 * level[place - 1] + 0.44 * steps[place]
    level = np.repeat(level, 100)[:STEPS]
    return Stream(200 * np.exp(level), 1 / (1 + np.exp(level - 1)))


STREAMS: tuple[tuple[str, Callable[[np.random.Generator], Stream]], ...] = (
    ("500 events a second, 50 % local", steady),
    ("20 % or 95 % local, for 5 s on average", bursts),
    ("50 % growing to 100 % local, and twice the rate", drift),
    ("nothing local for 1 s in each 10 s", in_step),
    ("20 events a second, 99 % local", rare),
    ("a rate that wanders 100-fold, less local where high", uneven),
)


def report(stream: Stream, draw: np.random.Generator, chance: random.Random) -> tuple[bool, float]:
    """Whether the interval of `KEPT` windows has the share of the whole time in it; its width."""
    events = draw.poisson(stream.rate * STEP)
    local = draw.binomial(events, stream.share)
    all_sums, local_sums = (np.concatenate([[0], np.cumsum(one)]) for one in (events, local))
    now, windows = 0.0, []
    for _ in range(KEPT):
        begin = now + pause(LENGTH, DUTY, chance)
        now = begin + LENGTH
        ends = [min(int(at / STEP), STEPS) for at in (begin, now)]
        first, last = ends
        windows.append(
            (
                int(local_sums[last] - local_sums[first]),
                int(all_sums[last] - all_sums[first]),
            )
        )
    known = interval(windows)
    end = min(int(now / STEP), STEPS)
    truth = local_sums[end] / all_sums[end]
    return (
        known is not None and known.low <= truth <= known.high,
        known.high - known.low if known else 1.0,
    )


def simulated() -> list[str]:
    """A row for each stream."""
    draw, chance = np.random.default_rng(SEED), random.Random(SEED)  # noqa: S311 - no secret
    rows = []
    for name, make in STREAMS:
        covered, widths = [], []
        for _ in range(REPORTS):
            inside, width = report(make(draw), draw, chance)
            covered.append(inside)
            widths.append(width)
        rows.append(
            f"| {name} | {100 * np.mean(covered):.1f} % | {100 * np.median(widths):.1f} points |"
        )
        sys.stderr.write(f"{rows[-1]}\n")
    return rows


def live() -> str:
    """How often the windows' interval had the share that a probe counted all the while."""
    machine, ended = topology.read(), threading.Event()
    covered, told = 0, 0
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        port = listener.getsockname()[1]
        everything, sampled = (
            Accepts(machine, Wanted(ports=(port,))),
            Accepts(machine, Wanted(ports=(port,))),
        )
        windows = Windows([sampled], threading.Lock(), LIVE_DUTY, LIVE_LENGTH, print)
        thread = threading.Thread(target=_connect, args=(listener, ended), daemon=True)
        thread.start()
        before = (0, 0)
        for number in range(LIVE_REPORTS):
            seen = []
            for _ in range(LIVE_WINDOWS):
                time.sleep(pause(windows.taken, LIVE_DUTY))
                windows.window(time.sleep)
                seen.append(windows.last["accepts"][-1])
            everything.read()
            now = everything.shares()["accepts"]
            truth = (now[0] - before[0]) / max(1, now[1] - before[1])
            before = now
            known = interval(seen)
            told += known is not None
            covered += known is not None and known.low <= truth <= known.high
            if known is not None:
                sys.stderr.write(f"{number}: {truth:.3f} {known.low:.3f} {known.high:.3f}\n")
        ended.set()
        thread.join()
        everything.close()
        sampled.close()
    return f"In {covered} of {told} reports the interval had the share ({now[1]} connections)."


def _connect(listener: socket.socket, ended: threading.Event) -> None:
    """Connections, some of which are accepted on the CPU that receives: 20 % or 95 % by turns."""
    cpus = sorted(os.sched_getaffinity(0))
    draw = random.Random(SEED)  # noqa: S311 - no secret
    share = 0.2
    while not ended.wait(draw.expovariate(LIVE_RATE)):
        if draw.random() < 1 / LIVE_RATE:
            share = 1.15 - share
        os.sched_setaffinity(0, {cpus[0] if draw.random() < share else cpus[-1]})
        with socket.create_connection(listener.getsockname()):
            os.sched_setaffinity(0, {cpus[0]})
            listener.accept()[0].close()


PAGE = """# Shares from random windows

`make duty-windows` wrote this page on commit {commit} (root). `locality exporter --duty 10%`
attaches its probes in random windows of time, and exports the local share with a 95 % interval.
This page shows how often the interval contains the share of the whole time.

## Made-up events

Windows of {length:g} s take {duty:.0%} of the time. Each of {reports} reports is of the last {kept}
windows. The share of the whole time is that of all events from the first pause to the last window.

| events | in the interval | median width |
|---|---|---|
{rows}

Most reports miss what happens in rare, short rushes, and an interval cannot include what no window
has seen: see the last row.

## Real connections

Two probes count the connections that a server of this machine accepts: one all of them, the other
one those in its windows, which take {live_duty:.0%} of the time. {live_rate:g} connections a second
are made. 20 % or 95 % of them are local, in turns of a second on average. A report covers
{live_windows} windows, which is few: attaching takes some 0.1 s.

{live}
"""


def main() -> None:
    """Print the page; --live alone prints its last line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--live", action="store_true", help="only with real connections")
    asked = parser.parse_args()
    told = live()
    if asked.live:
        print(told)
        return
    print(
        PAGE.format(
            commit=commit(),
            rows="\n".join(simulated()),
            live=told,
            length=LENGTH,
            duty=DUTY,
            reports=REPORTS,
            kept=KEPT,
            live_duty=LIVE_DUTY,
            live_rate=LIVE_RATE,
            live_windows=LIVE_WINDOWS,
        ),
        end="",
    )


if __name__ == "__main__":
    main()
