"""Sockets that listen or take datagrams, as /proc/PID/net lists them."""

from __future__ import annotations

import socket
import sys
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from locality.machine.limits import PassingOver
from locality.reuseport.sock_diag import TCP_LISTEN, UDP_UNCONNECTED

if TYPE_CHECKING:
    from collections.abc import Iterable

_IPV4_BYTES = 4
_STATES = {f"{state:02X}": state for state in (TCP_LISTEN, UDP_UNCONNECTED)}


class BoundSocket(NamedTuple):
    """A socket that listens or takes datagrams: address in the kernel's hexadecimal."""

    local: str
    state: int
    uid: int
    inode: int
    waiting: int = 0
    """Connections to accept where it listens, else bytes to read."""

    @property
    def host(self) -> str:
        """The local address, as ``127.0.0.1`` or ``[::]``."""
        # Words of 32 bits, each printed as a number of this machine.
        digits = self.local.partition(":")[0]
        words = (int(digits[i : i + 8], 16) for i in range(0, len(digits), 8))
        packed = b"".join(word.to_bytes(4, sys.byteorder) for word in words)
        if len(packed) == _IPV4_BYTES:
            return socket.inet_ntop(socket.AF_INET, packed)
        return f"[{socket.inet_ntop(socket.AF_INET6, packed)}]"

    @property
    def port(self) -> int:
        """The local port."""
        return int(self.local.rpartition(":")[2], 16)

    @property
    def listens(self) -> bool:
        """Whether it is a listening TCP socket."""
        return self.state == TCP_LISTEN


def bound_sockets(pid: int, table: str) -> list[BoundSocket]:
    """The sockets in a process's network namespace that can be in a group.

    Args:
        pid: The process.
        table: ``tcp``, ``tcp6``, ``udp`` or ``udp6``.

    Returns:
        Nothing for a process that has just ended.
    """
    with PassingOver(), Path(f"/proc/{pid}/net/{table}").open() as lines:
        return parse_table(table, lines)
    return []


def parse_table(table: str, lines: Iterable[str]) -> list[BoundSocket]:
    """Read the sockets of a table that can be in a group.

    Args:
        table: ``tcp``, ``tcp6``, ``udp`` or ``udp6``.
        lines: Those of /proc/net/{table}, with their heading.
    """
    # Listeners come first (tcp_seq_start): the connections need not even be read.
    return parse_sockets(lines, until_connection=table.startswith("tcp"))


def parse_sockets(lines: Iterable[str], *, until_connection: bool = False) -> list[BoundSocket]:
    """Read those of /proc/net/{tcp,tcp6,udp,udp6} that can be in a group.

    The columns are those of get_tcp4_sock of net/ipv4/tcp_ipv4.c.

    Args:
        lines: The table, with its heading.
        until_connection: End at the first socket that cannot.
    """
    found: list[BoundSocket] = []
    for line in islice(lines, 1, None):
        fields = line.split()
        if fields[3] in _STATES:
            waiting = int(fields[4].partition(":")[2], 16)
            found.append(
                BoundSocket(fields[1], _STATES[fields[3]], int(fields[7]), int(fields[9]), waiting)
            )
        elif until_connection:
            break
    return found


def same_address(sockets: list[BoundSocket], inode: int) -> set[int]:
    """The inodes that can be in one group with a socket: its address, its user.

    Sockets without SO_REUSEPORT, or bound to one interface, look the same in /proc.
    """
    targets = {(one.local, one.uid) for one in sockets if one.inode == inode}
    return {one.inode for one in sockets if (one.local, one.uid) in targets}
