"""What a run of `locality skb` or `spread` adds up to."""

from __future__ import annotations

import numpy as np

from locality.skb.interval import Flow, Interval
from locality.spread.source import COUNTS, FIGURES, Spread
from locality.summary import Summary
from tests.unit.recordings import META


def interval(time: float, lost: int, rx: Flow, delivered: int | None) -> Interval:
    matrix = np.full((2, 2, 2), rx.packets, np.int64)
    tx = Flow(1, None, None, None, 1)
    return Interval(time, 0.5, "kprobe", lost, rx, tx, delivered, delivered, matrix, (1, 2), (3, 4))


# Bug: a run without an interval shows zeros as if they had been measured.
def test_nothing_yet() -> None:
    assert Summary[Interval](META.machine).total is None


# Bugs: a figure is left out of the sum or taken from the last interval; lost, which counts from
# the start, is added up; a figure not seen in one interval appears as the sum of the others.
def test_intervals_add_up() -> None:
    summary = Summary[Interval](META.machine)
    summary.write(interval(10.0, 2, Flow(100, 60, 90, 40, 5), 50))
    summary.write(interval(10.5, 3, Flow(10, 6, None, 4, 1), None))
    total = summary.total
    assert total
    assert (total.time, total.seconds, total.rung, total.lost) == (10.5, 1.0, "kprobe", 3)
    assert total.rx == Flow(110, 66, None, 44, 6)
    assert total.tx == Flow(2, None, None, None, 2)
    assert (total.delivered, total.delivered_local) == (None, None)
    assert total.matrix.tolist() == [[[110, 110], [110, 110]]] * 2
    assert (total.apart, total.together) == ((2, 4), (6, 8))


# Bug: adding up changes the interval that the other sinks were given too.
def test_the_intervals_stay_as_they_are() -> None:
    summary = Summary[Interval](META.machine)
    first = interval(10.0, 0, Flow(1, 1, 1, 0, 0), 1)
    for _ in range(3):
        summary.write(first)
    assert first.matrix.sum() == 8
    assert first.rx.packets == 1


# Bugs: a figure is left out of the sum; CPUs are added to each other; the time is of the first.
def test_spread_intervals_add_up() -> None:
    summary = Summary[Spread](META.machine)
    for time in (10.0, 10.5):
        counts = np.zeros(2, COUNTS)
        for row, name in enumerate(FIGURES):
            counts[name] = [row + 1, 10 * time]
        summary.write(Spread(time, 0.5, counts))
    total = summary.total
    assert total
    assert (total.time, total.seconds) == (10.5, 1.0)
    assert [total.counts[name].tolist() for name in FIGURES] == [[2 * n, 205] for n in (1, 2, 3, 4)]
