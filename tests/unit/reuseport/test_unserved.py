"""Ports that nobody serves."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from locality.commands.measure import Subject, tell_whom
from locality.reuseport.unserved import unserved

OURS = Path("/proc/self/ns/net").stat().st_ino


def bound(kind: socket.SocketKind, port: int = 0) -> socket.socket:
    made = socket.socket(socket.AF_INET, kind)
    made.bind(("127.0.0.1", port))
    return made


# Bugs: a mistyped port is measured for minutes, and only "0 accepted" is printed; a port of the
# other protocol is taken for a served one; of two protocols both are asked for.
def test_what_is_said_of_a_port() -> None:
    with bound(socket.SOCK_STREAM) as server:
        port = server.getsockname()[1]
        said = f"nothing listens on TCP port {port} in any network namespace: ss -lntup shows what "
        assert unserved([port], ["tcp"], None) == [f"{said}there is"]
        server.listen(1)
        assert unserved([port], ["tcp"], None) == []
        assert unserved([port], ["tcp", "udp"], OURS) == []
        (other,) = unserved([port, port], ["udp"], OURS)
        assert other == (
            f"nothing reads UDP port {port} in network namespace {OURS}, but something listens on "
            f"TCP port {port}: ss -lntup shows what there is"
        )
        with bound(socket.SOCK_DGRAM, port):
            assert unserved([port], ["udp"], None) == []
    assert len(unserved([port], ["tcp", "udp"], None)) == 1


# Bug: connections whose listener has gone, and a connected UDP socket, are read, and still the port
# is said to be unserved.
@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_connections_that_were_made_before(protocol: str) -> None:
    kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
    with bound(kind) as server, bound(kind) as client:
        if protocol == "tcp":
            server.listen(1)
            client.connect(server.getsockname())
            served, _ = server.accept()
        else:
            server.connect(client.getsockname())
            served = server.dup()
        port = served.getsockname()[1]
        server.close()
        with served:
            assert unserved([port], [protocol], None, connected=True) == []
            assert len(unserved([port], [protocol], None)) == 1
    if protocol == "udp":
        assert len(unserved([port], [protocol], None, connected=True)) == 1


# Bug: it is known and not told when a measurement begins, or told where no port was asked for.
def test_it_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with bound(socket.SOCK_STREAM) as silent:
        port = silent.getsockname()[1]
        tell_whom(Subject("accepts", ports=(port,)))
        assert capsys.readouterr().err.startswith(f"locality: nothing listens on TCP port {port} ")
        tell_whom(Subject("accepts", pids=(os.getpid(),)))
        assert "nothing listens" not in capsys.readouterr().err
