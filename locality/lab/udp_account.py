"""What the kernel counted of the lab's datagrams: sent, arrived, dropped, and where."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from locality.errors import LocalityError
from locality.lab.network import LINK
from locality.lab.udp_forwarder import SINK_PORT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from locality.lab.udp_forwarder import Forwarder
    from locality.lab.udp_sender import Sender

# Fields of a line of /proc/net/udp (udp4_format_sock in net/ipv4/udp.c).
_LOCAL, _QUEUES, _INODE, _DROPS = 1, 4, 9, 12
# Fields of a line of /proc/net/dev (dev_seq_printf_stats in net/core/net-procfs.c).
_RX_DROPPED, _TX_DROPPED = 4, 12

EMPTY_S = 60.0
"""How long the workers may take to read what waits when the sender has stopped."""
QUIET_S = 1.0
POLL_S = 0.01

IP_UDP_HEADERS = 20 + 8
"""Bytes of a packet that are not payload: IPv4 without options, and UDP."""


@dataclass(frozen=True)
class Account:
    """Counts since the lab was made, or between two moments.

    Attributes:
        sent: Datagrams that the sender's calls handed to the kernel.
        read: Datagrams each worker read, by socket.
        buffer_drops: Datagrams that found a socket's buffer full, by socket.
        link_dropped: Datagrams dropped between the sender's end of the cable and the server's
            IP layer: a full backlog (softnet) or a full ring of the veth.
        forwarded: Datagrams that the workers' calls handed to the kernel.
        forward_dropped: Those of them dropped on the way back over the cable.
        sunk: Those that reached the sink.
        control: Keep-alives among `read`.
        refused: Datagrams that the kernel did not take from the sender; they are not in `sent`.
    """

    sent: int
    read: tuple[int, ...]
    buffer_drops: tuple[int, ...]
    link_dropped: int
    forwarded: int
    forward_dropped: int
    sunk: int
    control: int = 0
    refused: int = 0

    def since(self, before: Account) -> Account:
        """What was counted after another moment."""
        return Account(
            sent=self.sent - before.sent,
            read=_minus(self.read, before.read),
            buffer_drops=_minus(self.buffer_drops, before.buffer_drops),
            link_dropped=self.link_dropped - before.link_dropped,
            forwarded=self.forwarded - before.forwarded,
            forward_dropped=self.forward_dropped - before.forward_dropped,
            sunk=self.sunk - before.sunk,
            control=self.control - before.control,
            refused=self.refused - before.refused,
        )

    def plus(self, other: Account) -> Account:
        """Both together."""
        nothing = tuple(0 for _ in other.read)
        none = Account(0, nothing, nothing, 0, 0, 0, 0)
        return self.since(none.since(other))

    @property
    def arrived(self) -> tuple[int, ...]:
        """Datagrams the kernel chose each socket for: read, or dropped at its buffer."""
        return tuple(sum(each) for each in zip(self.read, self.buffer_drops, strict=True))

    @property
    def unaccounted(self) -> int:
        """Datagrams sent that were neither read nor counted as dropped."""
        return self.sent - sum(self.arrived) - self.link_dropped

    @property
    def unaccounted_forwarded(self) -> int:
        """Datagrams forwarded that neither reached the sink nor were counted as dropped."""
        return self.forwarded - self.sunk - self.forward_dropped


@dataclass(frozen=True)
class UdpSocket:
    """A line of /proc/net/udp.

    Attributes:
        port: Local.
        waiting: Bytes in the receive queue, with the kernel's overhead.
        drops: Datagrams that were not queued.
    """

    port: int
    waiting: int
    drops: int


def read_account(sender: Sender, forwarder: Forwarder, *, native_xdp: bool = False) -> Account:
    """Read every count.

    Args:
        sender: Whose namespace has the sink.
        forwarder: Whose sockets are counted.
        native_xdp: An XDP program runs in the server's veth itself. Packets then pass a ring
            before the backlog, and the sending end counts only what the ring drops.

    Raises:
        LocalityError: One of the processes has gone.
    """
    group = group_sockets(forwarder)
    rx_dropped, returned = _dropped(forwarder.pid)
    _, tx_dropped = _dropped(sender.process.pid)
    sinks = [one.drops for one in udp_sockets(sender.process.pid).values() if one.port == SINK_PORT]
    return Account(
        sent=int(sender.rows["sent"].sum()),
        read=tuple(map(int, forwarder.rows["received"])),
        buffer_drops=tuple(one.drops for one in group),
        link_dropped=tx_dropped + (rx_dropped if native_xdp else 0),
        forwarded=int(forwarder.rows["forwarded"].sum()),
        forward_dropped=returned,
        sunk=sum(sinks),
        control=int(forwarder.rows["control"].sum()),
        refused=int(sender.rows["refused"].sum()),
    )


def settled_account(
    sender: Sender, forwarder: Forwarder, before: Account, *, native_xdp: bool = False
) -> Account:
    """Every count since an earlier moment, once the sender was stopped and nothing waits.

    A worker counts a batch when it is forwarded, and may lose its CPU before. So this returns
    at once when every datagram is accounted for, and else when nothing changed for QUIET_S.

    Args:
        sender: Stopped.
        forwarder: Its workers read what waits.
        before: What `read_account` said at the earlier moment.
        native_xdp: As of `read_account`.

    Raises:
        LocalityError: The workers do not read, or have gone.
    """
    account, since = None, time.monotonic()
    end = since + EMPTY_S
    while True:
        empty = not any(one.waiting for one in group_sockets(forwarder))
        now = read_account(sender, forwarder, native_xdp=native_xdp).since(before)
        if empty and now.unaccounted == now.unaccounted_forwarded == 0:
            return now
        if now != account:
            account, since = now, time.monotonic()
        elif empty and time.monotonic() - since > QUIET_S:
            return now
        forwarder.process.check()
        if time.monotonic() > end:
            raise LocalityError(f"the forwarder's queues were not empty after {EMPTY_S:.0f} s")
        time.sleep(POLL_S)


def group_sockets(forwarder: Forwarder) -> list[UdpSocket]:
    """The group's sockets, in its order.

    Raises:
        LocalityError: The forwarder has gone.
    """
    found = udp_sockets(forwarder.pid)
    try:
        return [found[inode] for inode in forwarder.sockets().values()]
    except KeyError:
        forwarder.process.check()
        raise LocalityError("the forwarder's sockets are not in /proc/net/udp") from None


def udp_sockets(pid: int) -> Mapping[int, UdpSocket]:
    """The UDP sockets of a process's network namespace, by inode.

    Raises:
        LocalityError: It has gone.
    """
    return parse_udp(_read(f"/proc/{pid}/net/udp"))


def parse_udp(text: str) -> dict[int, UdpSocket]:
    """What /proc/net/udp says, by inode."""
    rows = [line.split() for line in text.splitlines()[1:]]
    return {
        int(row[_INODE]): UdpSocket(
            int(row[_LOCAL].rpartition(":")[2], 16),
            int(row[_QUEUES].rpartition(":")[2], 16),
            int(row[_DROPS]),
        )
        for row in rows
    }


def _dropped(pid: int) -> tuple[int, int]:
    """Packets that the cable's end in a process's namespace dropped: received, sent."""
    for line in _read(f"/proc/{pid}/net/dev").splitlines():
        name, _, counts = line.partition(":")
        if name.strip() == LINK:
            numbers = [0, *map(int, counts.split())]
            return numbers[_RX_DROPPED], numbers[_TX_DROPPED]
    raise LocalityError(f"the lab's {LINK} has gone")


def payload_of(size: int) -> int:
    """Bytes of payload in a packet of this size: that of the IP packet, with its headers."""
    return size - IP_UDP_HEADERS


def gigabits(datagrams: float, size: int) -> float:
    """10^9 bits of IP packets: no Ethernet header, no checksum and gap of a wire."""
    return datagrams * size * 8 / 1e9


def _minus(later: tuple[int, ...], earlier: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(a - b for a, b in zip(later, earlier, strict=True))


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="ascii")
    except OSError as error:
        raise LocalityError(f"{path}: {error.strerror}; a process of the lab has gone") from None
