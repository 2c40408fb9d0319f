"""Single reads of datagrams: a record for each, with the thread and the CPUs it is about."""

from __future__ import annotations

import os
import threading
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from locality.filter import Wanted
from locality.reads.batch import READ
from locality.stream import stream
from locality.udp.reads import RUNGS, UdpReads
from tests.live.helpers.datagrams import (
    PAYLOAD,
    WAYS,
    Receiver,
    Vector,
    drain,
    exchange,
    fill,
    receiver,
    sender,
)
from tests.live.helpers.rungs import parametrize
from tests.live.helpers.traffic import CPUS, EMULATED, HERE, PAGE, THERE, in_thread, pinned, room

if TYPE_CHECKING:
    import socket

    from locality.arrays import Array
    from locality.reads.batch import ReadBatch

pytestmark = [pytest.mark.live, pytest.mark.udp]

COUNT = 101 if EMULATED else 1_009
two_cpus = pytest.mark.skipif(HERE == THERE, reason="limitation: one CPU")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    parametrize(metafunc, UdpReads, RUNGS)


def reads_of(*sockets: Receiver, rung: str, ring_bytes: int = 1 << 20) -> UdpReads:
    return UdpReads(Wanted(ports=tuple(sock.port for sock in sockets)), rung, ring_bytes)


def read_all(source: UdpReads, to: Receiver, by: socket.socket) -> Array:
    """What the ring holds, once the record of the last read is there too."""
    by.send(PAYLOAD)
    drain(to)
    return source.read().records


# Bugs: the thread or the CPU of the softirq is recorded, not the reader's; reads of two threads
# or two sockets are mixed up; one of recvmmsg()'s datagrams has a record, or a read that finds
# nothing; the two CPUs are exchanged.
@two_cpus
@pytest.mark.parametrize("way", ["recv", "recvmmsg"])
def test_each_read_has_its_thread_and_its_cpus(rung: str, way: str) -> None:
    expected = Counter[tuple[int, int, int, int, int]]()
    vector = Vector(8)

    def read(sock: Receiver, cpu: int, count: int, sent_on: int) -> None:
        left = count
        with pinned(cpu):
            while left:
                left -= WAYS[way](sock, vector)
        expected[sock.inode, sock.port, threading.get_native_id(), cpu, sent_on] += count

    with receiver() as one, receiver() as other, reads_of(one, other, rung=rung) as source:
        for sock, cpu, count, sent_on in (
            (one, HERE, 23, THERE),
            (one, THERE, 41, HERE),
            (other, HERE, 17, HERE),
            (other, THERE, 61, THERE),
        ):
            with pinned(sent_on):
                fill(sock, count)
            with in_thread(lambda: read(sock, cpu, count, sent_on)):  # noqa: B023 - at once
                pass
        batch = source.read()
        assert len(source.read()) == 0
    names = ("inode", "lport", "tid", "cpu", "rxcpu")
    assert Counter(zip(*(batch.records[name].tolist() for name in names), strict=True)) == expected
    assert (batch.records["pid"] == os.getpid()).all()
    assert (batch.records["netns"] == Path("/proc/self/ns/net").stat().st_ino).all()
    assert batch.lost == 0


# A reader that spins is faster than the news of the datagram, by which the raw tracepoint tells
# its CPU: the record is missing, comes twice, or is the softirq's.
@two_cpus
def test_a_spinning_reader(rung: str) -> None:
    with receiver() as to, sender(to) as by, reads_of(to, rung=rung) as source:
        exchange(to, by, COUNT, reader_cpu=HERE, sender_cpu=THERE, way="spinning")
        records = read_all(source, to, by)
    records = records[records["tid"] != threading.get_native_id()]
    assert len(records) == COUNT
    assert len(np.unique(records["tid"])) == 1
    assert (records["cpu"] == HERE).all()
    known = records[records["rxcpu"] >= 0]
    assert len(known) >= 0.98 * COUNT
    assert (known["rxcpu"] == THERE).all()


# Several readers and senders of one socket: who was early is replaced by the next, or its answer
# comes when its row has gone.
def test_many_readers_of_one_socket(rung: str) -> None:
    got = Counter[tuple[int, int]]()

    def read(cpu: int) -> None:
        me = (threading.get_native_id(), cpu)
        with pinned(cpu):
            while to.recv(64) == PAYLOAD:
                got[me] += 1
            got[me] += 1

    with receiver() as to, sender(to) as by, reads_of(to, rung=rung) as source:
        with (
            in_thread(lambda: read(CPUS[0])),
            in_thread(lambda: read(CPUS[-1])),
            in_thread(lambda: read(CPUS[0])),
        ):
            with in_thread(lambda: fill(to, COUNT, flows=3)):
                fill(to, COUNT, flows=3)
            fill_end(by, readers=3)
        records = read_all(source, to, by)
    records = records[records["tid"] != threading.get_native_id()]
    pairs = zip(records["tid"].tolist(), records["cpu"].tolist(), strict=True)
    assert Counter(pairs) == got
    assert sum(got.values()) == 2 * COUNT + 3


def fill_end(by: socket.socket, readers: int) -> None:
    for _ in range(readers):
        by.send(b"end")


# Bugs: a ring that is full is silent; what comes after it is lost for good.
def test_what_finds_no_room_is_counted(rung: str) -> None:
    fits = room(READ)
    count = 2 * fits
    with receiver() as to, reads_of(to, rung=rung, ring_bytes=PAGE) as source:
        fill(to, count)
        assert drain(to) == count
        full = source.read()
        fill(to, 5)
        assert drain(to) == 5
        later = source.read()
    assert fits - 2 <= len(full) <= fits
    assert len(full) + full.lost == count
    assert (len(later), later.lost) == (5, full.lost)


# Bugs: what is not wanted comes too; the loop that streams cannot use the source.
def test_only_what_is_wanted_is_streamed(rung: str) -> None:
    batches: list[ReadBatch] = []

    class Sink:
        def write(self, batch: ReadBatch) -> None:
            batches.append(batch)

    with (
        receiver() as to,
        receiver() as other,
        UdpReads(Wanted(pids=(os.getpid(),), ports=(to.port,)), rung) as ours,
        UdpReads(Wanted(pids=(os.getppid(),)), rung) as theirs,
    ):
        for sock in (to, other):
            fill(sock, 7)
            assert drain(sock) == 7
        assert len(theirs.read()) == 0
        stream(ours, [Sink()], duration=0.1, count=5)
    records = np.concatenate([batch.records for batch in batches])
    assert records["inode"].tolist() == [to.inode] * 5
