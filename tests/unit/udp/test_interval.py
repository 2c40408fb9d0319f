"""What the counts of datagrams add up to."""

from __future__ import annotations

import numpy as np

from locality.summary import Summary
from locality.udp.interval import MOST_FLOWS, UdpInterval
from tests.unit.recordings import META
from tests.unit.udp_intervals import flows, interval, readers, sockets


# Bugs: the sum of gauges; a peak of the last interval only; two threads of one socket, or one
# thread of two sockets, become one.
def test_intervals_add_up() -> None:
    first = sockets(10, 20, queued=[5, 0], peak=[9, 1], drops=[1, 0], local=[4, 0])
    later = sockets(1, 2, 3, queued=[2, 0, 0], peak=[3, 4, 0], local=[1, 0, 0])
    one = interval(first, flows=flows(5, 1), flows_lost=2, matrix=np.eye(2, dtype="u8"))
    two = interval(later, flows=flows(1, 9), flows_lost=1, lost=7, seconds=0.5)
    both = one + two
    assert (both.seconds, both.lost, both.flows_lost) == (1.5, 7, 3)
    assert both.sockets["datagrams"].tolist() == [11, 22, 3]
    assert both.sockets["local"].tolist() == [5, 0, 0]
    assert both.sockets["queued"].tolist() == [2, 0, 0]
    assert both.sockets["peak"].tolist() == [9, 4, 0]
    assert both.sockets["drops"].tolist() == [1, 0, 0]
    assert both.readers["datagrams"].tolist() == [11, 22, 3]
    assert both.flows[["source_port", "samples"]].tolist() == [(4001, 10), (4000, 6)]
    assert both.matrix.sum() == 2
    other_thread = interval(first, readers=readers(first, tid=5))
    assert sorted((one + other_thread).readers["datagrams"].tolist()) == [10, 10, 20, 20]
    summary = Summary[UdpInterval](META.machine)
    for each in (one, two):
        summary.write(each)
    assert summary.total is not None
    assert summary.total.sockets["datagrams"].sum() == 36


# Bug: a run of days on a resolver keeps every client's port.
def test_flows_of_a_sum_are_bounded_and_the_rest_is_counted() -> None:
    rows = sockets(1)
    half = MOST_FLOWS // 2 + 10
    low, high = flows(*[1] * half), flows(*[3] * half)
    high["source"][:, 3] = 9
    both = interval(rows, flows=low) + interval(rows, flows=high)
    assert len(both.flows) == MOST_FLOWS
    assert both.flows["samples"].sum() + both.flows_lost == 4 * half
    assert both.flows["samples"][:half].tolist() == [3] * half
