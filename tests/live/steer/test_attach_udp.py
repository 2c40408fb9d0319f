"""Programs for UDP groups: one 4-tuple over a veth pair, and which socket gets what."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from locality import cbpf
from locality.reuseport import survey as groups
from tests.live.helpers.rungs import ASKED
from tests.live.helpers.traffic import PATIENCE
from tests.live.helpers.udp_cable import (
    ADDRESSES,
    BURST,
    PORT,
    SOURCE,
    Cable,
    drain,
    exchange,
    group,
    open_cable,
    sender,
)

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(ASKED is not None, reason="limitation: no rung of its own"),
]

CONTROL = cbpf.Control(offset=5, value=0x80, mask=0xF0)
SHORT = b"abc"


@pytest.fixture(scope="module")
def cable() -> Iterator[Cable]:
    with open_cable() as opened:
        yield opened


def netns_of(cable: Cable) -> int:
    return Path(f"/proc/{cable.server.pid}/ns/net").stat().st_ino


def attach(cable: Cable, *options: str) -> subprocess.CompletedProcess[str]:
    where = ("attach-cbpf", "--port", str(PORT), "--netns", str(netns_of(cable)))
    command = [sys.executable, "-m", "locality", *where, *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)


# Bugs: a UDP group is not found by its port; the program is attached to one socket instead of
# its group; the shares are not even; the way back is none.
@pytest.mark.parametrize("family", list(ADDRESSES))
def test_random_spreads_one_flow_and_detaching_ends_it(cable: Cable, family: str) -> None:
    address = ADDRESSES[family]
    with group(cable, address) as sockets, sender(cable, address) as client:
        one = exchange(sockets, client, wanted=1_000)
        assert sorted(one.counts)[:3] == [0, 0, 0]
        done = attach(cable, "--program", "random")
        assert done.returncode == 0, done.stderr
        spread = exchange(sockets, client)
        assert all(23 <= share <= 27 for share in spread.shares), spread.shares
        assert spread.ports == {SOURCE}
        assert attach(cable, "--detach").returncode == 0
        again = exchange(sockets, client, wanted=1_000)
        assert [bool(count) for count in again.counts] == [bool(count) for count in one.counts]


def control(number: int) -> bool:
    """Whether a datagram is control traffic: one in ten, or so."""
    return number % 10 == 3


def datagram(number: int) -> bytes:
    kind = 0x80 | number % 16 if control(number) else (number * 16 + 7) % 128
    return b"data:" + bytes([kind]) + b"%d" % number


def told(
    sockets: list[socket.socket], client: socket.socket, wanted: int
) -> tuple[list[int], list[int], list[int]]:
    """By socket: control datagrams, other ones, and ones too short to tell."""
    received = [0] * len(sockets), [0] * len(sockets), [0] * len(sockets)
    deadline, sent = time.monotonic() + PATIENCE, 0
    while sum(map(sum, received)) < wanted:
        assert time.monotonic() < deadline, received
        for number in range(sent, sent + BURST):
            client.send(SHORT if number % 10 == 6 else datagram(number))
        sent += BURST
        for index, one in enumerate(sockets):
            for data, _ in drain(one):
                kind = 2 if data == SHORT else 0 if data[5] & 0xF0 == 0x80 else 1
                received[kind][index] += 1
    return received


# Bugs: the byte is looked for in the UDP header; what is too short ends the program with 0,
# which is index 0; data comes to the socket that was set aside, or misses one of the others.
@pytest.mark.parametrize("others", cbpf.OTHERS)
def test_control_traffic_goes_to_index_0(cable: Cable, others: str) -> None:
    address = ADDRESSES["ipv4"]
    options = ("--payload-offset", "5", "--mask", "0xf0", "--value", "0x80", "--others", others)
    with group(cable, address) as sockets, sender(cable, address) as client:
        one = exchange(sockets, client, wanted=100)
        done = attach(cable, "--program", "payload", *options)
        assert done.returncode == 0, done.stderr
        assert "payload[5] & 0xf0 == 0x80" in done.stdout
        (found,) = [one for one in groups.find(ports=[PORT]) if one.netns == netns_of(cable)]
        assert found.group.program == cbpf.payload(
            4 if others != "hash" else 2, cbpf.Control(5, 0x80, 0xF0, others)
        )
        known, data, short = told(sockets, client, 10_000)
    assert known[1:] == [0, 0, 0]
    assert known[0] > 900
    both = [long + brief for long, brief in zip(data, short, strict=True)]
    assert sum(short) > 900
    if others == "hash":
        assert [bool(count) for count in both] == [bool(count) for count in one.counts]
        return
    assert both[0] == 0
    if others == "random":
        # 9000 over three: standard deviation 0.5 points.
        assert all(abs(100 * count / sum(both) - 33.3) < 3 for count in both[1:]), both
