"""The flows that datagrams are of: samples of them, and the single one that one socket gets.

As in test_udp.py, every test looks at a port of its own, on each rung.
"""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import pytest

from locality import attach_cbpf, cbpf
from locality.udp.advice import cures
from locality.udp.balance import balances
from locality.udp.source import RUNGS, UdpSource
from tests.live.helpers.datagrams import PAYLOAD, drain, fill, group, of, receiver, sender, watching
from tests.live.helpers.rungs import parametrize
from tests.live.helpers.traffic import in_thread

if TYPE_CHECKING:
    from locality.udp.interval import UdpInterval

pytestmark = [pytest.mark.live]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    parametrize(metafunc, UdpSource, RUNGS)


# Bugs: each datagram is a flow of its own (a port in the wrong order, the target's for the
# source's); four even flows are called one; flows of another port are mixed in.
@pytest.mark.udp
@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_flows(rung: str, family: socket.AddressFamily) -> None:
    with (
        receiver(family) as to,
        receiver(family) as other,
        watching(to.port, other.port, rung=rung) as source,
        sender(to) as by,
    ):
        name = by.getsockname()
        for _ in range(40):
            by.send(PAYLOAD)
        fill(other, 100)
        drain(to)
        drain(other)
        one = source.read()
        fill(to, 40, flows=4)
        drain(to)
        four = source.read()
    top = next(one for one in balances(one) if one.sockets["port"][0] == to.port).top_flow
    assert top is not None
    host = f"[{name[0]}]" if family == socket.AF_INET6 else name[0]
    assert top.source == f"{host}:{name[1]}"
    assert (top.samples, top.of) == (40, 40)
    assert sorted(four.flows["samples"].tolist()) == [10, 10, 10, 10]
    assert one.flows_lost == four.flows_lost == 0


# Bug: samples that found no room are forgotten, and what is left looks like all there is.
@pytest.mark.udp
def test_more_flows_than_the_table_has_room_for(rung: str) -> None:
    flows = 3_000
    with receiver() as to, watching(to.port, rung=rung) as source:
        for _ in range(flows // 100):
            fill(to, 100, flows=100)
        assert drain(to) == flows
        interval = source.read()
    sampled = int(of(to, interval)["sampled"])
    assert sampled >= 0.99 * flows
    assert interval.flows_lost == sampled - interval.flows["samples"].sum()
    assert interval.flows_lost > 0


# Bug: the table of an interval is written to again while it is being read: the flow with most of
# the samples loses all of them.
@pytest.mark.udp
def test_no_sample_is_lost_between_intervals(rung: str) -> None:
    with receiver() as to, sender(to) as by, watching(to.port, rung=rung) as source:
        flowing = True

        def traffic() -> None:
            while flowing:
                by.send(PAYLOAD)
                drain(to)

        with in_thread(traffic):
            try:
                intervals = [source.read() for _ in range(300)]
            finally:
                flowing = False
        intervals.append(source.read())
    total = sum(intervals[1:], intervals[0])
    assert total.sockets["sampled"].sum() == total.sockets["seen"].sum()
    assert total.sockets["sampled"].sum() > 300
    # A sample may be in one reading of the sockets and the next one of the flows; no more.
    missing = int(total.sockets["sampled"].sum()) - int(total.flows["samples"].sum())
    assert abs(missing) <= 2
    assert total.flows_lost <= 0.01 * total.sockets["sampled"].sum()


# Bugs: one in N is one in N of those that wait; the first of each N is taken, which from senders
# that take turns is always the same one's; a hash that puts flows which differ in one field into
# one set of the table, so that most of them are lost.
@pytest.mark.udp
def test_a_sample_of_flows(rung: str) -> None:
    count = 8_000
    with receiver() as to, watching(to.port, rung=rung, sample=8) as source:
        for _ in range(count // 1000):
            fill(to, 1000, flows=8)
            drain(to)
        interval = source.read()
    # Binomial: 1000 expected with a deviation of 30. Each of the 64 flows has 125 datagrams, of
    # which none is sampled once in 18 million times.
    sampled = int(of(to, interval)["sampled"])
    assert 800 <= sampled <= 1200
    assert interval.flows["samples"].sum() + interval.flows_lost == sampled
    # Ports are used again by chance, and five flows can meet in one set of four: rare both.
    assert len(interval.flows) >= 60
    assert interval.flows_lost <= 0.05 * sampled


# Bugs: the flow or the cure is not named, or still is when the cure has worked; members without
# datagrams do not count; the program is not seen to help.
@pytest.mark.udp
def test_the_single_flow_and_its_cure(rung: str) -> None:
    rounds, burst = 40, 200
    with group(4) as members, sender(members[0]) as by:
        number = members[0].port

        def run(source: UdpSource) -> UdpInterval:
            for _ in range(rounds):
                for _ in range(burst):
                    by.send(PAYLOAD)
                for member in members:
                    drain(member)
            return source.read()

        with watching(number, rung=rung, sample=16) as source:
            (hashed,) = balances(run(source))
            attach_cbpf.attach(os.getpid(), members[0].fileno(), cbpf.random(4))
            source.read()
            (random,) = balances(run(source))
    assert sorted(hashed.counts.tolist()) == [0, 0, 0, rounds * burst]
    assert hashed.top_flow is not None
    assert hashed.top_flow.share == 100
    assert [cure.command for cure in cures(hashed)] == [
        f"locality attach-cbpf --port {number} --program random",
        f"locality spread --dev IF --port {number}",
    ]
    # 8000 datagrams: a share of 25 % has a deviation of half a point.
    assert random.effective is not None
    assert random.effective >= 3.9
    assert all(0.22 <= count / (rounds * burst) <= 0.28 for count in random.counts.tolist())
    assert cures(random) == ()
