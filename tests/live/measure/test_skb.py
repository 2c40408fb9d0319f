"""Packets on the running kernel, against workloads whose packets are known.

Every test runs on each rung that this kernel allows, or on the one that LOCALITY_RUNG names.

What is counted are all packets of the machine, and there may be others than ours. Where a
figure should be ours alone, a measurement waits for a quiet moment, and one that still holds
more packets than ours is made again, three times at most: a probe that counts too much does
so each time, and fails.
"""

from __future__ import annotations

import itertools
import time
from collections import Counter
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import pytest

from locality.bpf import btf
from locality.machine import topology
from locality.skb.interval import RX, TX, Interval
from locality.skb.pairs import MOST_DENSE, FewPairs
from locality.skb.source import RUNGS, SkbSource
from locality.text import share
from tests.live.helpers.rungs import ASKED, check_ladder, parametrize, stand_on, to_stand_on
from tests.live.helpers.traffic import (
    EMULATED,
    HERE,
    PATIENCE,
    ROUND_TRIPS,
    THERE,
    netlink_requests,
    tcp_ping_pong,
    tcp_stream,
    udp_ping_pong,
    unix_messages,
)

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(HERE == THERE, reason="limitation: one CPU"),
]

PACKETS = 2 * ROUND_TRIPS
WORKLOADS = {"tcp": tcp_ping_pong, "udp": udp_ping_pong}
PLACES = {"same": (HERE, HERE), "cross": (HERE, THERE)}

each_protocol = pytest.mark.parametrize("protocol", ["tcp", "udp"])
each_place = pytest.mark.parametrize("place", ["same", "cross"])


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    parametrize(metafunc, SkbSource, RUNGS)


@dataclass
class Measured:
    """Intervals put together."""

    intervals: list[Interval] = field(default_factory=list)

    def total(self, direction: int, name: str) -> int | None:
        """The sum of one figure of one direction; None where the rung does not see it."""
        flows = [(one.rx, one.tx)[direction] for one in self.intervals]
        figures: list[int | None] = [getattr(flow, name) for flow in flows]
        seen = [figure for figure in figures if figure is not None]
        assert len(seen) in {0, len(figures)}, "seen in some intervals only"
        return sum(seen) if seen else None

    def packets(self, direction: int) -> int:
        return self.total(direction, "packets") or 0

    def known(self, direction: int) -> int:
        return self.total(direction, "known") or 0

    def delivered(self) -> tuple[int, int] | None:
        """Delivered packets, and the local ones among them."""
        if any(one.delivered is None for one in self.intervals):
            return None
        return (
            sum(one.delivered or 0 for one in self.intervals),
            sum(one.delivered_local or 0 for one in self.intervals),
        )

    @property
    def matrix(self) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
        matrices = np.array([one.matrix for one in self.intervals])
        assert (matrices >= 0).all(), "a count below zero"
        total: np.ndarray[tuple[int, ...], np.dtype[np.int64]] = matrices.sum(axis=0)
        return total


def measure(
    source: SkbSource,
    workload: Callable[[], object],
    enough: Callable[[Measured], bool] = lambda _measured: True,
) -> Measured:
    """Run a workload and read until it is accounted for: lists are flushed, ACKs come late."""
    wait_for_quiet(source)
    workload()
    deadline = time.monotonic() + PATIENCE / 10
    measured = Measured([source.read()])
    while not enough(measured) and time.monotonic() < deadline:
        time.sleep(0.02)
        measured.intervals.append(source.read())
    return measured


def wait_for_quiet(source: SkbSource) -> None:
    """Read until the machine has had next to no packets for a moment, or patience ends."""
    source.read()
    deadline = time.monotonic() + PATIENCE
    packets = PACKETS
    while packets > 0.001 * PACKETS and time.monotonic() < deadline:
        time.sleep(0.1)
        interval = source.read()
        packets = interval.rx.packets + interval.tx.packets


@cache
def ping_pong(rung: str, protocol: str, place: str) -> Measured:
    """One measurement, shared by the tests that look at different figures of it."""
    server_cpu, client_cpu = PLACES[place]

    def settled(measured: Measured) -> bool:
        sent = measured.packets(TX) >= PACKETS or protocol == "udp"
        freed = measured.total(RX, "freed_local")
        everything_freed = freed is None or freed >= PACKETS or not deferred_by(protocol)
        return measured.packets(RX) >= PACKETS and sent and everything_freed

    with SkbSource(rung=rung) as source:
        for _ in range(3):
            measured = measure(
                source, lambda: WORKLOADS[protocol](server_cpu, client_cpu, ROUND_TRIPS), settled
            )
            if measured.packets(RX) <= 1.01 * PACKETS:
                break
    return measured


def deferred_by(protocol: str) -> bool:
    """Whether the alloc CPU frees what was read on another one: TCP since 5.19."""
    return protocol == "tcp" and btf.kernel().has_function("skb_attempt_defer_free")


# A kernel on which nothing works would leave nothing to fail below. The order of the ladder:
# a better rung passed over without a reason.
@pytest.mark.core
@pytest.mark.chosen
def test_some_rung_works() -> None:
    with SkbSource(rung=ASKED) as source:
        attachment = source.attachment
        interval = source.read()
    assert interval.rung == attachment.rung.name
    check_ladder(attachment, RUNGS)


# Not a test of ours but a line for each rung that the tests below could not try here.
@pytest.mark.core
@pytest.mark.skb_rx
@pytest.mark.skb_tx
@pytest.mark.parametrize("rung_tried", to_stand_on(RUNGS))
def test_what_is_tried_here(rung_tried: str) -> None:
    stand_on(SkbSource, RUNGS, rung_tried)


# The measure itself. Freed instead of consumed reads 100 % in both places; so does the CPU of the
# softirq instead of the reader's. A flush taken for a consumption reads 50 %.
@pytest.mark.core
@pytest.mark.skb_rx
@each_protocol
@each_place
def test_consumed_local(rung: str, protocol: str, place: str) -> None:
    measured = ping_pong(rung, protocol, place)
    local = measured.total(RX, "local")
    assert local is not None
    if place == "same":
        assert local >= 0.99 * measured.known(RX)
    else:
        # Bare ACKs and the handshake are consumed where they arrive.
        assert local - max(0, measured.packets(RX) - PACKETS) <= 0.01 * PACKETS


# A function not hooked loses packets, two hooks on one way count them twice: the shares above
# would not show it.
@pytest.mark.core
@pytest.mark.skb_rx
@each_protocol
@each_place
def test_each_packet_is_counted_once(rung: str, protocol: str, place: str) -> None:
    measured = ping_pong(rung, protocol, place)
    assert PACKETS <= measured.packets(RX) <= 1.02 * PACKETS
    assert (measured.total(RX, "unknown") or 0) <= 0.01 * PACKETS


# A kprobe program that is skipped is a packet missed, and must be told.
@pytest.mark.core
@pytest.mark.skb_rx
@each_protocol
@each_place
def test_nothing_is_missed_untold(rung: str, protocol: str, place: str) -> None:
    measured = ping_pong(rung, protocol, place)
    missing = max(0, PACKETS - measured.packets(RX))
    assert missing <= measured.intervals[-1].lost


# TCP's originals go when the ACK comes, one for each message. Counting the driver's clones as
# well doubles them; on loopback UDP has no sent packet of its own, for it is the received one.
@pytest.mark.core
@pytest.mark.skb_tx
@each_protocol
@each_place
def test_sent_packets(rung: str, protocol: str, place: str) -> None:
    measured = ping_pong(rung, protocol, place)
    expected = PACKETS if protocol == "tcp" else 0
    assert abs(measured.packets(TX) - expected) <= 0.02 * PACKETS
    local = share(measured.total(TX, "local"), measured.known(TX))
    if protocol == "tcp" and place == "same" and measured.known(TX) > 0.9 * PACKETS:
        # The ACK is processed where the message was sent.
        assert local is not None
        assert local >= 99


# What readers took: bare ACKs are none, and each datagram and each segment is one.
@pytest.mark.core
@pytest.mark.skb_rx
@each_protocol
@each_place
def test_delivered(rung: str, protocol: str, place: str) -> None:
    figures = ping_pong(rung, protocol, place).delivered()
    if figures is None:
        pytest.skip("limitation: this rung does not see readers here")
    delivered, local = figures
    assert abs(delivered - PACKETS) <= 0.01 * PACKETS
    expected = PACKETS if place == "same" else 0
    assert abs(local - expected) <= 0.01 * PACKETS


# The point of it all: the alloc CPU frees the memory, so freed-local says nothing of where packets
# are consumed. A rung that sees no free must not print a number.
@pytest.mark.core
@pytest.mark.skb_rx
@each_place
def test_freed_local(rung: str, place: str) -> None:
    measured = ping_pong(rung, "tcp", place)
    freed = measured.total(RX, "freed_local")
    if rung == "raw-tracepoint":
        assert freed is None
        assert measured.total(TX, "freed_local") is None
        return
    percent = share(freed, measured.packets(RX))
    assert percent is not None
    if place == "same" or deferred_by("tcp"):
        assert percent >= 90
    else:  # where nothing is deferred, the two are the same
        assert percent <= 1


# Deferred is what crossed CPUs, where the kernel defers, and nothing else.
@pytest.mark.skb_rx
@each_place
def test_deferred(rung: str, place: str) -> None:
    deferred = ping_pong(rung, "tcp", place).total(RX, "deferred")
    if not deferred_by("tcp"):
        assert deferred is None
        return
    expected = PACKETS if place == "cross" else 0
    assert deferred is not None
    assert abs(deferred - expected) <= 0.02 * PACKETS


# Which CPU gave to which: transposed, or put on the diagonal, or in the other direction's half.
@pytest.mark.core
@pytest.mark.skb_rx
@each_protocol
@each_place
def test_matrix(rung: str, protocol: str, place: str) -> None:
    measured = ping_pong(rung, protocol, place)
    received = measured.matrix[RX]
    outside = sum(one.apart[RX] + one.together[RX] for one in measured.intervals)
    assert received.sum() + outside + (measured.total(RX, "unknown") or 0) == measured.packets(RX)
    if outside > 0.9 * PACKETS:
        # The rung sees datagrams in sum only: it must say on which side of the line they are.
        beside = sum(
            (one.together if place == "same" else one.apart)[RX] for one in measured.intervals
        )
        assert abs(beside - PACKETS) <= 0.02 * PACKETS
        return
    if place == "same":
        assert received[HERE, HERE] >= 0.99 * PACKETS
        return
    assert abs(received[HERE, THERE] - ROUND_TRIPS) <= 0.02 * ROUND_TRIPS
    assert abs(received[THERE, HERE] - ROUND_TRIPS) <= 0.02 * ROUND_TRIPS


# Bugs: of more CPUs than a table is made for, a pair is another pair's, is forgotten between two
# readings, or is one of unknown CPUs.
@pytest.mark.skb_rx
@each_place
def test_more_cpus_than_a_table_has(rung: str, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    cpus = 2 * MOST_DENSE
    monkeypatch.setattr(topology, "possible_cpus", lambda: cpus)
    server_cpu, client_cpu = PLACES[place]
    with SkbSource(rung=rung) as source:
        measured = measure(
            source,
            lambda: WORKLOADS["tcp"](server_cpu, client_cpu, ROUND_TRIPS),
            lambda measured: measured.packets(RX) >= PACKETS,
        )
    received: Counter[tuple[int, int]] = Counter()
    for interval in measured.intervals:
        assert isinstance(interval.by_pair, FewPairs)
        pairs = interval.by_pair.both[RX]
        places = zip(*(some.tolist() for some in np.divmod(pairs.cells, cpus)), strict=True)
        received.update(dict(zip(places, pairs.packets.tolist(), strict=True)))
    assert (measured.total(RX, "unknown") or 0) <= 0.02 * PACKETS
    if place == "same":
        assert received[HERE, HERE] >= 0.99 * PACKETS
    else:
        assert abs(received[HERE, THERE] - ROUND_TRIPS) <= 0.02 * ROUND_TRIPS
        assert abs(received[THERE, HERE] - ROUND_TRIPS) <= 0.02 * ROUND_TRIPS


# One way only, so that a transposed matrix cannot hide in symmetry: the sender's CPU allocates,
# the reader's consumes. And what TCP sent is seen, where it was consumed known or not.
@pytest.mark.skb_rx
@pytest.mark.skb_tx
def test_one_way(rung: str) -> None:
    size = (4 if EMULATED else 32) << 20

    def arrived(measured: Measured) -> bool:
        return measured.packets(TX) > 0 and (measured.delivered() or (1, 0))[0] > 0

    with SkbSource(rung=rung) as source:
        measured = measure(source, lambda: tcp_stream(HERE, THERE, size), arrived)
    received = measured.matrix[RX]
    # Segments of 64 KiB at most, of which the receive queue puts several into one sk_buff: as
    # many as its 17 fragments can hold (MAX_SKB_FRAGS).
    at_least = size / 65_536 / 17
    assert received[THERE, HERE] >= at_least
    # These are ACKs, of which TCP sends one for every second segment, or more when it is slow.
    assert received[THERE, HERE] > received[HERE, THERE]
    # Before it is sent, a segment may be filled up from the next one (tcp_grow_skb, 6.x).
    assert measured.packets(TX) >= size / 65_536 / 2
    if figures := measured.delivered():
        delivered, local = figures
        assert at_least <= delivered <= measured.packets(RX)
        # An ACK that lets the sender go on splits segments on the reader's CPU: those are local.
        assert local < 0.5 * delivered


# Unix and netlink messages are sk_buffs as well, and no packets. The background may add some.
@pytest.mark.skb_rx
@pytest.mark.skb_tx
@pytest.mark.parametrize("workload", [unix_messages, netlink_requests])
def test_what_is_no_packet(rung: str, workload: Callable[[int], None]) -> None:
    messages = 2_000
    counted: list[int] = []
    with SkbSource(rung=rung) as source:
        for _ in range(3):
            measured = measure(source, lambda: workload(messages))
            counted.append(measured.packets(RX) + measured.packets(TX))
            if counted[-1] < 0.05 * messages:
                break
    assert min(counted) < 0.05 * messages


# Readings that fall between a packet's being deferred and its being freed, hundreds of times: a
# borrowed count that is not paid back, or paid twice, adds up. A second source reads once.
@pytest.mark.skb_rx
@pytest.mark.skb_tx
@each_protocol
@each_place
def test_reading_often_loses_nothing(rung: str, protocol: str, place: str) -> None:
    server_cpu, client_cpu = PLACES[place]
    measured = Measured()
    with SkbSource(rung=rung) as often, SkbSource(rung=rung) as once:
        often.read()
        once.read()
        turn = itertools.count()

        def now_and_then() -> None:
            if next(turn) % 20 == 0:
                measured.intervals.append(often.read())

        WORKLOADS[protocol](server_cpu, client_cpu, ROUND_TRIPS, now_and_then)
        whole = read_the_rest(once, measured, often)
    margin = 0.01 * PACKETS
    for direction in (RX, TX):
        assert abs(measured.packets(direction) - whole.packets(direction)) <= margin
    local, expected = measured.total(RX, "local"), whole.total(RX, "local")
    assert local is not None
    assert expected is not None
    assert abs(local - expected) <= margin
    assert (measured.matrix >= 0).all()


def read_the_rest(once: SkbSource, measured: Measured, often: SkbSource) -> Measured:
    """Wait for what is still on its way, then read both sources."""
    deadline = time.monotonic() + PATIENCE / 10
    # Once at least: bare ACKs of a slow machine can make up the number before the end.
    measured.intervals.append(often.read())
    while measured.packets(RX) < PACKETS and time.monotonic() < deadline:
        time.sleep(0.02)
        measured.intervals.append(often.read())
    return Measured([once.read()])


# Two intervals are apart in time and their lengths add up; a negative or repeated one would
# make the packets a second nonsense.
@pytest.mark.skb_rx
@pytest.mark.skb_tx
def test_intervals_follow_each_other(rung: str) -> None:
    with SkbSource(rung=rung) as source:
        begin = time.monotonic()
        source.read()
        since = time.monotonic()
        intervals = []
        for _ in range(5):
            time.sleep(0.01)
            intervals.append(source.read())
        now = time.monotonic()
    assert all(one.seconds >= 0.01 for one in intervals)
    assert sum(one.seconds for one in intervals) <= now - begin
    assert sum(one.seconds for one in intervals) >= now - since - (since - begin) - 1
    assert [one.time for one in intervals] == sorted(one.time for one in intervals)
    assert abs(intervals[-1].time - time.time()) < PATIENCE
