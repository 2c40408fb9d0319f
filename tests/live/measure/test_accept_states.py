"""Connections that are no longer, or not yet, simply established when they are accepted.

A record is read from the socket at the accept. What the kernel takes back when a connection ends,
such as its port, must not be missing there.
"""

from __future__ import annotations

import os
import socket
import struct
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from locality.accept.batch import WAIT_KNOWN
from locality.accept.source import RUNGS, AcceptSource, Filter
from locality.lab.namespaces import namespace
from tests.live.helpers.rungs import parametrize
from tests.live.helpers.traffic import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = [pytest.mark.live, pytest.mark.accept]

CONNECTIONS = 51
IPPROTO_MPTCP = 262
TCP_FASTOPEN = 23
MSG_FASTOPEN = 0x20000000
RESET = struct.pack("=ii", 1, 0)  # struct linger: close() sends a RST


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    parametrize(metafunc, AcceptSource, RUNGS)


def stays(client: socket.socket, _waiting: ExitStack) -> None:
    client.send(b"x")


def ends(client: socket.socket, waiting: ExitStack) -> None:
    client.send(b"x")
    waiting.pop_all().close()


def is_reset(client: socket.socket, waiting: ExitStack) -> None:
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    waiting.pop_all().close()


@contextmanager
def listening(family: socket.AddressFamily, protocol: int) -> Iterator[socket.socket]:
    """A listener on loopback."""
    try:
        listener = socket.socket(family, socket.SOCK_STREAM, protocol)
    except OSError as refusal:
        pytest.skip(f"limitation: {refusal}")
    with listener:
        listener.bind(("::1" if family == socket.AF_INET6 else "127.0.0.1", 0))
        listener.listen(2 * CONNECTIONS)
        listener.settimeout(PATIENCE)
        yield listener


# A port that is read where the kernel has given it back (skc_num): connections that were reset
# while they waited have port 0, and a filter by port does not find them.
@pytest.mark.parametrize("what", [stays, ends, is_reset])
@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
@pytest.mark.parametrize("protocol", [socket.IPPROTO_TCP, IPPROTO_MPTCP])
def test_before_it_is_accepted(
    rung: str,
    family: socket.AddressFamily,
    protocol: int,
    what: Callable[[socket.socket, ExitStack], None],
) -> None:
    with ExitStack() as stack:
        listener = stack.enter_context(listening(family, protocol))
        address = listener.getsockname()
        wanted = Filter(pids=(os.getpid(),), ports=(address[1],))
        source = stack.enter_context(AcceptSource(wanted, rung))
        ports = []
        for _ in range(CONNECTIONS):
            waiting = ExitStack()
            client = waiting.enter_context(socket.socket(family, socket.SOCK_STREAM, protocol))
            client.connect(address)
            ports.append(client.getsockname()[1])
            what(client, waiting)
            stack.push(waiting)
        for _ in range(CONNECTIONS):
            listener.accept()[0].close()
        batch = source.read()
    records = batch.records
    assert batch.lost == 0
    assert records["lport"].tolist() == [address[1]] * CONNECTIONS
    assert records["rport"].tolist() == ports
    own = socket.inet_pton(family, address[0]).ljust(16, b"\0")
    assert {record["laddr"].tobytes() for record in records} == {own}
    assert {record["raddr"].tobytes() for record in records} == {own}
    if protocol == socket.IPPROTO_TCP:
        assert (records["flags"] & WAIT_KNOWN).all()


def counted(name: str) -> int:
    """What this network namespace's own statistics say."""
    names, values = (
        line.split()
        for line in Path("/proc/thread-self/net/netstat").read_text().splitlines()
        if line.startswith("TcpExt:")
    )
    return int(dict(zip(names, values, strict=True))[name])


# Fast Open: accepted while the handshake goes on. SYN cookies: made from the ACK alone.
@pytest.mark.parametrize("how", ["fast open", "cookies"])
def test_unusual_handshakes(rung: str, how: str) -> None:
    with namespace() as inside, ExitStack() as stack:
        name, value = ("tcp_fastopen", "0x603") if how == "fast open" else ("tcp_syncookies", "2")
        inside.write(f"/proc/sys/net/ipv4/{name}", value)
        stack.enter_context(inside.joined())
        listener = stack.enter_context(listening(socket.AF_INET, 0))
        if how == "fast open":
            listener.setsockopt(socket.IPPROTO_TCP, TCP_FASTOPEN, 2 * CONNECTIONS)
        address = listener.getsockname()
        wanted = Filter(pids=(os.getpid(),), ports=(address[1],))
        source = stack.enter_context(AcceptSource(wanted, rung))
        begin, ports = time.monotonic_ns(), []
        for _ in range(CONNECTIONS):
            client = stack.enter_context(socket.socket())
            if how == "fast open":
                client.sendto(b"x", MSG_FASTOPEN, address)
            else:
                client.connect(address)
            ports.append(client.getsockname()[1])
            with listener.accept()[0] as accepted:
                accepted.settimeout(PATIENCE)
                if how == "fast open":
                    assert accepted.recv(1) == b"x"
        batch = source.read()
        end = time.monotonic_ns()
        happened = counted("TCPFastOpenPassive" if how == "fast open" else "SyncookiesRecv")
    assert happened == CONNECTIONS, "this test shows nothing"
    assert batch.lost == 0
    assert batch.records["lport"].tolist() == [address[1]] * CONNECTIONS
    assert batch.records["rport"].tolist() == ports
    assert (batch.records["rxcpu"] >= 0).all()
    assert (batch.records["flags"] & WAIT_KNOWN).all()
    assert (batch.records["wait"] < end - begin).all()
