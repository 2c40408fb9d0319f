"""Accepted MPTCP connections: the socket that accept() returns stands for several subflows."""

from __future__ import annotations

import os
import socket
import time
from typing import TYPE_CHECKING

import pytest

from locality.accept.batch import WAIT_KNOWN
from locality.accept.source import RUNGS, AcceptSource, Filter
from tests.live.helpers.rungs import parametrize
from tests.live.helpers.traffic import (
    CPUS,
    HERE,
    PATIENCE,
    THERE,
    Accepted,
    accept4,
    describe,
    from_record,
    pinned,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.live, pytest.mark.accept]

IPPROTO_MPTCP = 262
ME = Filter(pids=(os.getpid(),))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    parametrize(metafunc, AcceptSource, RUNGS)


def mptcp_socket() -> socket.socket:
    try:
        return socket.socket(socket.AF_INET, socket.SOCK_STREAM, IPPROTO_MPTCP)
    except OSError as error:
        pytest.skip(f"limitation: no MPTCP socket: {error.strerror}")


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with mptcp_socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(128)
        listener.settimeout(PATIENCE)
        yield listener


def is_mptcp(connection: socket.socket) -> bool:
    """Whether both ends speak it: with a client that does not, accept() returns a TCP socket."""
    return connection.getsockopt(socket.SOL_SOCKET, socket.SO_PROTOCOL) == IPPROTO_MPTCP


def accept_from(listener: socket.socket, client: socket.socket, client_cpu: int) -> Accepted:
    """Connect on one CPU, accept on another; what the accepting end knows."""
    client.settimeout(PATIENCE)
    with pinned(client_cpu):
        client.connect(listener.getsockname())
    with pinned(THERE), accept4(listener) as accepted:
        assert is_mptcp(accepted) == is_mptcp(client)
        return describe(listener, accepted, THERE)


# A subflow taken for a connection of its own (seen twice), the RX CPU of another socket than
# the one SO_INCOMING_CPU speaks of, or a TCP field read from a socket that is no tcp_sock.
def test_each_connection_once(rung: str, listener: socket.socket) -> None:
    known = []
    with AcceptSource(ME, rung) as source:
        for number in range(23):
            with mptcp_socket() as client:
                known.append(accept_from(listener, client, CPUS[number % len(CPUS)]))
        batch = source.read()
    assert [from_record(record) for record in batch.records] == known
    assert (batch.records["flags"] & WAIT_KNOWN).all()


# A listener for MPTCP serves plain TCP clients too, by sockets of the other kind.
def test_plain_clients(rung: str, listener: socket.socket) -> None:
    known = []
    with AcceptSource(ME, rung) as source:
        for _ in range(23):
            with socket.socket() as client:
                known.append(accept_from(listener, client, HERE))
        batch = source.read()
    assert [from_record(record) for record in batch.records] == known


# When the connection was established stands in its first subflow: read from the MPTCP socket
# itself it would be any number, and a wait longer than we have known of the connection.
@pytest.mark.parametrize("kind", ["mptcp", "tcp"])
def test_time_in_the_queue(rung: str, listener: socket.socket, kind: str) -> None:
    with AcceptSource(ME, rung) as source:
        before = time.monotonic_ns()
        with mptcp_socket() if kind == "mptcp" else socket.socket() as client:
            client.settimeout(PATIENCE)
            client.connect(listener.getsockname())
            time.sleep(0.06)
            with accept4(listener) as accepted:
                assert is_mptcp(accepted) == (kind == "mptcp")
        after = time.monotonic_ns()
        (record,) = source.read().records
    assert record["flags"] & WAIT_KNOWN
    assert 50_000_000 <= record["wait"] <= after - before
