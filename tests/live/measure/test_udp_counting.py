"""Rows, matrix and flows of `locality udp` are of one moment, and count datagrams that were read.

Sockets come, are read and go faster than intervals end, so each reading falls between some of
the counts of one datagram, if it can.
"""

from __future__ import annotations

import ctypes
import os
import socket
import struct
from functools import reduce
from operator import add
from typing import TYPE_CHECKING

import pytest

from locality.udp.source import RUNGS, UdpFilter, UdpSource
from tests.live.helpers.datagrams import PAYLOAD, exchange, of, receiver, sender, watching
from tests.live.helpers.rungs import parametrize
from tests.live.helpers.traffic import CPUS, HERE, PATIENCE, THERE, in_thread, pinned

if TYPE_CHECKING:
    from collections.abc import Callable

    from locality.udp.interval import UdpInterval

pytestmark = [pytest.mark.live, pytest.mark.udp]

COUNT = 101
INTERVALS = 10

_libc = ctypes.CDLL(None, use_errno=True)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    parametrize(metafunc, UdpSource, RUNGS)


def read_while(
    source: UdpSource, work: Callable[[], object], intervals: list[UdpInterval] | None = None
) -> list[UdpInterval]:
    """Intervals as short as they can be, until a thread's work is done.

    Args:
        source: What to read.
        work: For the thread.
        intervals: Where they go, if the work is to see how many there are.
    """
    intervals = [] if intervals is None else intervals
    with in_thread(work) as thread:
        while thread.is_alive():
            intervals.append(source.read())
            thread.join(0.01)
    intervals.append(source.read())
    return intervals


def is_one_account(interval: UdpInterval) -> None:
    """Whatever adds up the same datagrams comes to the same number."""
    readers, sockets = interval.readers, interval.sockets
    for name in ("datagrams", "bytes", "known", "local", "rx_known", "rx_local", "moved"):
        assert readers[name].sum() == sockets[name].sum()
    assert interval.matrix.sum() == readers["known"].sum()
    assert interval.matrix.trace() == readers["local"].sum()
    # Flows are not chosen by who reads: there may be others than ours.
    assert interval.flows["samples"].sum() + interval.flows_lost >= sockets["sampled"].sum()


# A socket that is new between the reading of one table and the next has datagrams in the matrix
# and none in the rows, and then never again.
def test_sockets_that_come_and_go(rung: str) -> None:
    each = 4
    read: list[int] = []
    intervals: list[UdpInterval] = []

    def churn() -> None:
        while len(read) < COUNT or len(intervals) < INTERVALS:
            number = len(read)
            with receiver() as to, sender(to) as by:
                with pinned(CPUS[number % len(CPUS)]):
                    for _ in range(each):
                        by.send(PAYLOAD)
                with pinned(HERE):
                    read.append(sum(len(to.recv(64)) > 0 for _ in range(each)))

    with UdpSource(UdpFilter(pids=(os.getpid(),)), rung=rung, sample=1) as source:
        read_while(source, churn, intervals)
    for interval in intervals:
        is_one_account(interval)
    total = reduce(add, intervals)
    assert total.lost == 0
    assert sum(read) == total.sockets["datagrams"].sum() == len(read) * each
    assert len(total.sockets) == len(read)
    is_one_account(total)


# A reader that is faster than the news of a datagram is told its CPU later; counted in the matrix
# and not among the local ones, the two differ.
def test_matrix_and_local_agree(rung: str) -> None:
    def work() -> None:
        for _ in range(3):
            exchange(to, one, COUNT, reader_cpu=HERE, sender_cpu=THERE, way="spinning")
            exchange(to, other, COUNT, reader_cpu=HERE, sender_cpu=HERE, way="spinning")

    with (
        receiver() as to,
        sender(to) as one,
        sender(to) as other,
        watching(to.port, rung=rung) as source,
    ):
        intervals = read_while(source, work)
    for interval in intervals:
        is_one_account(interval)
    assert reduce(add, intervals).sockets["datagrams"].sum() == 6 * COUNT


def read_until_the_end(to: socket.socket, cpu: int, got: list[int]) -> None:
    with pinned(cpu):
        count = 0
        while to.recv(64) == PAYLOAD:
            count += 1
        got.append(count)


def send_all(by: socket.socket, cpu: int) -> None:
    with pinned(cpu):
        for _ in range(5 * COUNT):
            by.send(PAYLOAD)


# Several senders and several readers at once: heads of the queue are taken by others, and news
# of one datagram comes in place of another's.
def test_many_at_once(rung: str) -> None:
    got: list[int] = []

    def work() -> None:
        with (
            in_thread(lambda: read_until_the_end(to, HERE, got)),
            in_thread(lambda: read_until_the_end(to, THERE, got)),
        ):
            with in_thread(lambda: send_all(one, HERE)), in_thread(lambda: send_all(other, THERE)):
                pass
            one.send(b"end")
            one.send(b"end")

    with (
        receiver() as to,
        sender(to) as one,
        sender(to) as other,
        watching(to.port, rung=rung) as source,
    ):
        intervals = read_while(source, work)
    for interval in intervals:
        is_one_account(interval)
    total = reduce(add, intervals)
    assert sum(got) + 2 == total.sockets["datagrams"].sum() == 10 * COUNT + 2
    assert total.lost == 0


# What is negative for a peek in skb_consume_udp() is 0 where nothing was copied.
def test_peeks_that_copy_nothing(rung: str) -> None:
    with receiver() as to, sender(to) as by, watching(to.port, rung=rung) as source:
        for payload, room in ((b"", 64), (PAYLOAD, 0)):
            for _ in range(COUNT):
                by.send(payload)
                for flags in (socket.MSG_PEEK, socket.MSG_PEEK, 0):
                    to.recvmsg(room, 0, flags)
        row = of(to, source.read())
    assert (row["datagrams"], row["known"], row["bytes"]) == (2 * COUNT, 2 * COUNT, 0)


# The end of a shut socket is 0 bytes long, as an empty datagram is.
def test_a_shut_socket(rung: str) -> None:
    with receiver() as to, sender(to) as by, watching(to.port, rung=rung) as source:
        to.connect(by.getsockname())
        by.send(PAYLOAD)
        by.send(b"")
        assert (to.recv(64), to.recv(64)) == (PAYLOAD, b"")
        to.shutdown(socket.SHUT_RD)
        for _ in range(COUNT):
            assert to.recv(64) == b""
        assert of(to, source.read())["datagrams"] == 2


# A raw socket has UDP's protocol, and its number in place of a port.
def test_a_raw_socket_is_none(rung: str) -> None:
    with (
        receiver() as to,
        sender(to) as by,
        socket.socket(type=socket.SOCK_RAW, proto=socket.IPPROTO_UDP) as raw,
        UdpSource(UdpFilter(pids=(os.getpid(),)), rung=rung) as source,
    ):
        raw.bind(("127.0.0.1", 0))
        for _ in range(COUNT):
            by.send(PAYLOAD)
            assert to.recv(64) == PAYLOAD
            raw.recv(128)
        interval = source.read()
    assert interval.readers["inode"].tolist() == [to.inode]
    assert interval.sockets["datagrams"].sum() == COUNT


# A socket that is disconnected gives its port back; what it got before is still read by it.
def test_a_disconnected_socket(rung: str) -> None:
    nobody = struct.pack("=H14x", socket.AF_UNSPEC)
    with receiver() as other, sender(other) as by, socket.socket(type=socket.SOCK_DGRAM) as to:
        to.settimeout(PATIENCE)
        to.connect(other.getsockname())
        address = to.getsockname()
        with watching(address[1], rung=rung) as source:
            for _ in range(COUNT):
                other.sendto(PAYLOAD, address)
            assert _libc.connect(to.fileno(), nobody, len(nobody)) == 0
            for _ in range(COUNT):
                assert to.recv(64) == PAYLOAD
            interval = source.read()
    del by
    assert interval.sockets["port"].tolist() == [address[1]]
    assert interval.sockets["datagrams"].tolist() == [COUNT]
