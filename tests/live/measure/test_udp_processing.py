"""The CPU that processes datagrams, where it is not the one that allocated them.

Over a veth pair the sender's CPU allocates, and receive packet steering (RPS) has another CPU
process: a choice of one CPU is known beforehand.
"""

from __future__ import annotations

import socket
import struct
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

import pytest

from locality.filter import Wanted
from locality.machine.topology import format_cpu_mask
from locality.udp.reads import UdpReads
from locality.udp.source import RUNGS, UdpSource
from tests.live.helpers.datagrams import (
    RECEIVE_BUFFER,
    SO_RCVBUFFORCE,
    Receiver,
    exchange,
    of,
    watching,
)
from tests.live.helpers.rungs import parametrize
from tests.live.helpers.traffic import EMULATED, HERE, PATIENCE, THERE
from tests.live.helpers.udp_cable import ADDRESSES, open_cable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.live.helpers.udp_cable import Cable

pytestmark = [
    pytest.mark.live,
    pytest.mark.udp,
    pytest.mark.skipif(HERE == THERE, reason="limitation: one CPU"),
]

COUNT = 101 if EMULATED else 1_009


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    parametrize(metafunc, UdpSource, RUNGS)


@pytest.fixture(scope="module")
def cable() -> Iterator[Cable]:
    with open_cable() as opened:
        yield opened


@contextmanager
def processed_on(cable: Cable, cpu: int | None) -> Iterator[None]:
    """Have one CPU process what the server receives; None: where it arrives."""
    rps = "/sys/class/net/cable/queues/rx-0/rps_cpus"
    cable.server.write(rps, format_cpu_mask([] if cpu is None else [cpu]))
    try:
        yield
    finally:
        cable.server.write(rps, "0")


@contextmanager
def ends(cable: Cable, kind: str) -> Iterator[tuple[Receiver, socket.socket]]:
    """The server's socket, and the client's, which is connected to it."""
    family = socket.AF_INET if kind == "ipv4" else socket.AF_INET6
    with cable.network.at_server():
        to = Receiver(family, socket.SOCK_DGRAM)
    with cable.network.at_client():
        by = socket.socket(family, socket.SOCK_DGRAM)
    with to, by:
        to.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER)
        to.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("=qq", int(PATIENCE), 0))
        to.bind((ADDRESSES[kind], 0))
        by.connect(to.getsockname()[:2])
        yield to, by


class Case(NamedTuple):
    """Where the client sends, and who processes and reads it."""

    processing: int | None
    reader: int

    @property
    def local(self) -> bool:
        return self.reader == HERE

    @property
    def moved(self) -> bool:
        return self.processing not in {None, HERE}

    @property
    def rx(self) -> int:
        return HERE if self.processing is None else self.processing


CASES = {
    "moved to the reader": Case(THERE, THERE),
    "moved from the reader": Case(THERE, HERE),
    "with the reader": Case(None, HERE),
    "apart from the reader": Case(None, THERE),
    "not moved by RPS": Case(HERE, THERE),
}


# The measure itself. Bugs: the alloc CPU is taken for the one that processes, or the other way
# round; a note of an earlier datagram at the address is taken for this one's; one of a packet of
# several fragments, or of IPv6, is missing.
@pytest.mark.core
@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
@pytest.mark.parametrize("kind", ["ipv4", "ipv6"])
@pytest.mark.parametrize("way", ["recv", "recvmmsg"])
def test_read_where_it_is_processed(
    rung: str, cable: Cable, kind: str, way: str, case: Case
) -> None:
    with (
        processed_on(cable, case.processing),
        ends(cable, kind) as (to, by),
        watching(to.port, rung=rung) as source,
    ):
        exchange(to, by, COUNT, reader_cpu=case.reader, sender_cpu=HERE, way=way)
        interval = source.read()
        row = of(to, interval)
    assert row["datagrams"] == COUNT
    assert 0.98 * COUNT <= row["known"] <= COUNT
    assert 0.98 * COUNT <= row["rx_known"] <= COUNT
    assert row["local"] == (row["known"] if case.local else 0)
    assert row["rx_local"] == (row["rx_known"] if case.reader == case.rx else 0)
    if case.moved:
        assert 0.98 * COUNT <= row["moved"] <= min(row["known"], row["rx_known"])
    else:
        assert row["moved"] == 0


# A thread that spins reads a datagram before the raw tracepoint can tell of it: what follows
# tells where it was processed, but that is not where it was allocated.
@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_a_spinning_reader(rung: str, cable: Cable, case: Case) -> None:
    with (
        processed_on(cable, case.processing),
        ends(cable, "ipv4") as (to, by),
        watching(to.port, rung=rung) as source,
    ):
        exchange(to, by, COUNT, reader_cpu=case.reader, sender_cpu=HERE, way="spinning")
        row = of(to, source.read())
    assert row["datagrams"] == COUNT
    # How often the thread is early depends on what else runs on its CPU.
    assert row["rx_known"] >= 0.8 * COUNT
    assert row["local"] == (row["known"] if case.local else 0)
    assert row["rx_local"] == (row["rx_known"] if case.reader == case.rx else 0)


# Bug: what is put together from fragments is none of the packets that were received.
@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_fragments(rung: str, cable: Cable, case: Case) -> None:
    with (
        processed_on(cable, case.processing),
        ends(cable, "ipv4") as (to, by),
        watching(to.port, rung=rung) as source,
    ):
        exchange(to, by, COUNT, reader_cpu=case.reader, sender_cpu=HERE, payload=b"x" * 4000)
        row = of(to, source.read())
    assert row["datagrams"] == COUNT
    assert row["rx_known"] >= 0.98 * COUNT
    assert row["local"] == (row["known"] if case.local else 0)
    assert row["rx_local"] == (row["rx_known"] if case.reader == case.rx else 0)


# Bug: the record of a read has the alloc CPU.
@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_records_have_the_cpu_that_processed(rung: str, cable: Cable, case: Case) -> None:
    with (
        processed_on(cable, case.processing),
        ends(cable, "ipv4") as (to, by),
        UdpReads(Wanted(ports=(to.port,)), rung) as source,
    ):
        exchange(to, by, COUNT, reader_cpu=case.reader, sender_cpu=HERE)
        records = source.read().records
    assert len(records) == COUNT
    assert (records["cpu"] == case.reader).all()
    known = records[records["rxcpu"] >= 0]
    assert len(known) >= 0.98 * COUNT
    assert (known["rxcpu"] == case.rx).all()
