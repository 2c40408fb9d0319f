"""How even the counts of datagrams are, and what is said of a single flow."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from locality.udp.advice import ENOUGH_SAMPLES, concentration, cures, meaning
from locality.udp.balance import arrivals, balances, effective_sockets, endpoint, imbalance
from tests.unit.udp_intervals import ANY_ADDRESS, address, flows, interval, sockets


# Bugs: members with nothing are left out of the mean; logarithm to the base 2, whose exp is no
# number of sockets.
@pytest.mark.parametrize(
    ("counts", "most_over_mean", "effective"),
    [
        ([10, 10, 10, 10], 1.0, 4.0),
        ([40, 0, 0, 0], 4.0, 1.0),
        ([20, 20, 0, 0], 2.0, 2.0),
        ([7], 1.0, 1.0),
        ([3, 1], 1.5, 4 / 3**0.75),
    ],
)
def test_balance(counts: list[int], most_over_mean: float, effective: float) -> None:
    array = np.array(counts, "u8")
    assert imbalance(array) == pytest.approx(most_over_mean)
    assert effective_sockets(array) == pytest.approx(effective)


# Bug: division by zero, or "1 socket" for no traffic at all.
def test_no_datagrams_are_not_balanced() -> None:
    assert imbalance(np.zeros(4, "u8")) is None
    assert effective_sockets(np.zeros(4, "u8")) is None


# Bugs: an overflow of u8 counts; a value outside 1 to n.
@given(st.lists(st.integers(0, 2**56), min_size=1, max_size=64).filter(any))
def test_bounds_of_balance(counts: list[int]) -> None:
    array = np.array(counts, "u8")
    effective, uneven = effective_sockets(array), imbalance(array)
    assert effective is not None
    assert uneven is not None
    assert 1 - 1e-9 <= effective <= np.count_nonzero(array) + 1e-9
    assert 1 - 1e-9 <= uneven <= len(counts) + 1e-9
    # exp of the entropy is at least 1 over the largest share.
    assert effective >= len(counts) / uneven - 1e-6 or math.isclose(effective * uneven, len(counts))


# Bug: an overloaded socket that drops three of four looks like the others.
def test_what_was_dropped_was_meant_for_the_socket() -> None:
    rows = sockets(100, 100, 100, 100, drops=[300, 0, 0, 0], refused=[0, 0, 0, 50])
    assert arrivals(rows).tolist() == [400, 100, 100, 150]


# Bugs: a flow to another port, network namespace, family or address of the machine is taken for
# the group's.
def test_the_flows_of_a_group() -> None:
    rows = sockets(100, 0)
    foreign = [
        flows(900, port=5001),
        flows(900, netns=1),
        flows(900, family=10),
    ]
    found = interval(rows, flows=np.concatenate([*foreign, flows(60, 40)]))
    (one,) = balances(found)
    assert one.top_flow is not None
    assert (one.top_flow.source, one.top_flow.target) == ("10.0.0.1:4000", "10.0.0.2:5000")
    assert (one.top_flow.samples, one.top_flow.of, one.top_flow.share) == (60, 100, 60.0)
    bound = sockets(100, 0, address=address(10, 0, 0, 3))
    (elsewhere,) = balances(interval(bound, flows=flows(60)))
    assert elsewhere.top_flow is None


# Bug: an IPv6 socket that takes IPv4 too, or the other way round, has no flows.
def test_flows_of_both_families() -> None:
    both = sockets(100, family=10)
    (one,) = balances(interval(both, flows=np.concatenate([flows(30, family=10), flows(70)])))
    assert one.top_flow is not None
    assert one.top_flow.source == "10.0.0.1:4000"
    assert one.top_flow.of == 100
    assert endpoint(both[0]) == "[::]:5000"


# Bugs: advice from three samples, for one socket, for an even spread, or where the hash can do;
# no advice where half of the members are out of work.
def test_when_something_is_said_of_a_single_flow() -> None:
    uneven = interval(sockets(100, 0, 0, 0), flows=flows(98, 2))
    (one,) = balances(uneven)
    assert concentration(one) == "one flow carries 98.0%: 10.0.0.1:4000 -> 10.0.0.2:5000"
    assert "1.00 of 4" in (meaning(one) or "")
    assert [cure.command for cure in cures(one)] == [
        "locality attach-cbpf --port 5000 --program random",
        "locality spread --dev IF --port 5000",
    ]
    assert "overtake" in cures(one)[0].cost
    assert "source port" in cures(one)[1].cost

    (spread,) = balances(interval(sockets(25, 25, 25, 25), flows=flows(100)))
    assert concentration(spread) is not None
    assert "4.00 of 4" in (meaning(spread) or "")
    assert cures(spread) == ()

    (few,) = balances(interval(sockets(100, 0, 0, 0), flows=flows(ENOUGH_SAMPLES - 1)))
    assert concentration(few) is None
    (many,) = balances(interval(sockets(100, 0, 0, 0), flows=flows(*[10] * 10)))
    assert (concentration(many), cures(many)) == (None, ())

    alone = replace(uneven, sockets=sockets(100, group=-1), groups={})
    (lone,) = balances(alone)
    assert concentration(lone) is not None
    assert (meaning(lone), cures(lone)) == (None, ())


# Bug: sockets of a port that are in no group are one group, or gone.
def test_sockets_of_no_group_stand_alone() -> None:
    rows = sockets(1, 2, 3, group=[0, -1, -1], port=[5000, 53, 53])
    found = balances(interval(rows, groups={0: ANY_ADDRESS}))
    assert [one.name for one in found] == [
        *("udp 0.0.0.0:53, socket 101", "udp 0.0.0.0:53, socket 102", "udp 0.0.0.0:5000")
    ]
    assert [one.counts.tolist() for one in found] == [[2], [3], [1]]
