"""One UDP flow over a veth pair to the four sockets of a group, and who got what."""

from __future__ import annotations

import json
import socket
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from locality.lab.namespaces import Namespace, namespace
from tests.live.helpers.traffic import PATIENCE, Network

if TYPE_CHECKING:
    from collections.abc import Iterator

PORT, SOURCE = 4000, 5555
SOCKETS = 4
DATAGRAMS = 20_000  # the standard deviation of a share is 0.3 points
BURST = 100  # fewer than veth's ring holds
SO_NO_CHECK = 11
SO_REUSEPORT = 15

#: Where the server is; the client is at 2 where the server is at 1.
ADDRESSES = {"ipv4": "198.18.0.1", "ipv6": "fd00::1"}


@dataclass(frozen=True)
class Cable:
    """A veth pair called `cable` at both ends."""

    server: Namespace
    client: Namespace

    @property
    def network(self) -> Network:
        return Network("veth", ADDRESSES["ipv4"], self.server.pid, self.client.pid)

    def offload(self, *, checksums: bool) -> None:
        """Leave checksums to a device that never comes, or have sender and receiver make them.

        VLAN tags are in the packet, as a card without offloads has them.
        """
        word = "on" if checksums else "off"
        for end in (self.server, self.client):
            for what in (("tx", word), ("rx", word), ("rxvlan", "off"), ("txvlan", "off")):
                end.run("ethtool", "-K", "cable", *what)

    def csum_errors(self) -> int:
        """The server's UDP InCsumErrors of both families."""
        proc = Path(f"/proc/{self.server.pid}/net")
        names, values = (
            line.split() for line in (proc / "snmp").read_text().splitlines() if "Udp:" in line
        )
        of_ipv6 = dict(line.split() for line in (proc / "snmp6").read_text().splitlines())
        return int(dict(zip(names, values, strict=True))["InCsumErrors"]) + int(
            of_ipv6["Udp6InCsumErrors"]
        )

    def xdp(self) -> dict[str, Any]:
        """What ip says of XDP at the server's end; empty if nothing is attached."""
        (link,) = json.loads(self.server.run("ip", "-j", "-d", "link", "show", "cable"))
        found: dict[str, Any] = link.get("xdp", {})
        return found


@contextmanager
def open_cable() -> Iterator[Cable]:
    """A cable between two new namespaces, with addresses of both families."""
    with namespace() as server, namespace() as client:
        near, far = ("name", "cable"), ("name", "cable", "netns", str(client.pid))
        server.run("ip", "link", "add", *near, "type", "veth", "peer", *far)
        for end, host in ((server, 1), (client, 2)):
            end.run("ip", "address", "add", f"198.18.0.{host}/24", "dev", "cable")
            end.run("ip", "address", "add", f"fd00::{host}/64", "dev", "cable", "nodad")
            end.run("ip", "link", "set", "cable", "up")
        yield Cable(server, client)


@contextmanager
def group(cable: Cable, address: str) -> Iterator[list[socket.socket]]:
    """Four sockets of one reuseport group at the server's end."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with ExitStack() as stack:
        sockets = []
        with cable.network.at_server():
            for _ in range(SOCKETS):
                one = stack.enter_context(socket.socket(family, socket.SOCK_DGRAM))
                one.setsockopt(socket.SOL_SOCKET, SO_REUSEPORT, 1)
                one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
                one.bind((address, PORT))
                one.setblocking(False)
                sockets.append(one)
        yield sockets


@contextmanager
def sender(
    cable: Cable, address: str, *, source: str | None = None, no_check: bool = False
) -> Iterator[socket.socket]:
    """A socket at the client's end with one source port."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with cable.network.at_client():
        one = socket.socket(family, socket.SOCK_DGRAM)
    with one:
        if no_check:
            one.setsockopt(socket.SOL_SOCKET, SO_NO_CHECK, 1)
        one.bind((source or address[:-1] + "2", SOURCE))
        one.connect((address, PORT))
        yield one


@dataclass
class Received:
    """What arrived: datagrams by socket, and the source ports."""

    counts: list[int]
    ports: set[int]

    @property
    def shares(self) -> list[float]:
        return [100 * count / sum(self.counts) for count in self.counts]


def exchange(
    sockets: list[socket.socket], client: socket.socket, size: int = 0, wanted: int = DATAGRAMS
) -> Received:
    """Send until so many datagrams have arrived; each must be one that was sent, and come once."""
    received, sent, deadline = Received([0] * len(sockets), set()), 0, time.monotonic() + PATIENCE
    waiting: set[int] = set()
    while sum(received.counts) < wanted:
        assert time.monotonic() < deadline, received
        for number in range(sent, sent + BURST):
            client.send(payload(number, size))
        waiting.update(range(sent, sent + BURST))
        sent += BURST
        for index, one in enumerate(sockets):
            for data, source in drain(one):
                number = int(data[:8], 16)
                assert data == payload(number, size)
                waiting.remove(number)
                received.counts[index] += 1
                received.ports.add(source)
    return received


def payload(number: int, size: int = 0) -> bytes:
    """Bytes that depend on the number, of odd and even lengths."""
    return b"%08x" % number + bytes(number * 7 % 251 + 1 for _ in range(size or number % 64))


def drain(one: socket.socket) -> Iterator[tuple[bytes, int]]:
    while True:
        try:
            data, source = one.recvfrom(1 << 16)
        except BlockingIOError:
            return
        yield data, source[1]
