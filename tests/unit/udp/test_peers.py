"""Connected sockets have one address, and are told apart by their peers."""

from __future__ import annotations

import os
import socket
from contextlib import ExitStack

import pytest

from locality.udp.balance import balances
from locality.udp.peers import Peers
from tests.unit.udp_intervals import interval, sockets

ADDRESS = ("127.0.0.1", 0)


# Bug: sockets that are connected to different peers have one title, and nobody can tell them apart.
@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_the_peers_of_connected_sockets(family: socket.AddressFamily) -> None:
    host = "127.0.0.1" if family == socket.AF_INET else "::1"
    with ExitStack() as stack:
        made = [stack.enter_context(socket.socket(family, socket.SOCK_DGRAM)) for _ in range(3)]
        for one, port in zip(made, (1001, 1002), strict=False):
            one.bind((host, 0))
            one.connect((host, port))
        made[2].bind((host, 0))
        inodes = [os.fstat(one.fileno()).st_ino for one in made]
        shown = f"[{host}]" if family == socket.AF_INET6 else host
        peers = Peers()
        assert peers.of(inodes) == {
            inodes[0]: f"{shown}:1001",
            inodes[1]: f"{shown}:1002",
        }
        assert peers.of(inodes[2:]) == {}


def test_titles_differ() -> None:  # bug: as above
    alone = sockets(1, 1, 1)
    alone["group"] = alone["index"] = -1
    one, other, third = alone["inode"].tolist()
    seen = interval(alone, peers={one: "10.0.0.1:4000", other: "10.0.0.2:4000"})
    names = [balance.name for balance in balances(seen)]
    assert len({*names}) == 3
    assert names[0].endswith(", peer 10.0.0.1:4000")
    assert names[2].endswith(f", socket {third}")
    added = seen + interval(alone)
    assert [balance.name for balance in balances(added)] == names
