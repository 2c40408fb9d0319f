"""Whom connected UDP sockets talk to: /proc tells, the probes do not.

A server that connects a socket to each of its clients has many sockets of one address, which only
their peers tell apart.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from locality.reuseport.bound import BoundSocket
from locality.reuseport.places import namespaces

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

#: Sockets that are kept: servers that connect one to each client close them again.
_MOST_KNOWN = 1 << 16
_CONNECTED = "01"  # TCP_ESTABLISHED of include/net/tcp_states.h, which UDP uses too


class Peers:
    """The peers of sockets, each looked for once.

    Of very many, only those are kept that were asked for last.
    """

    def __init__(self) -> None:
        self._known: dict[int, str] = {}

    def of(self, inodes: Iterable[int]) -> dict[int, str]:
        """By inode, address and port of the peer; those that have none are left out."""
        wanted = [*inodes]
        if not self._known.keys() >= {*wanted}:
            found = dict(_read())
            self._known |= {inode: found.get(inode, "") for inode in wanted}
            if len(self._known) > _MOST_KNOWN:
                self._known = {inode: self._known[inode] for inode in wanted}
        return {inode: peer for inode in wanted if (peer := self._known[inode])}


def _read() -> Iterator[tuple[int, str]]:
    """The peer of each connected socket, in every network namespace that has a process."""
    for namespace in namespaces():
        for table in ("udp", "udp6"):
            yield from namespace.read(table, lambda lines: [*parse(lines)]) or ()


def parse(lines: Iterable[str]) -> Iterator[tuple[int, str]]:
    """Inode and peer of each connected socket of /proc/net/udp or udp6.

    Args:
        lines: The table, with its heading.
    """
    for line in islice(lines, 1, None):
        fields = line.split()
        if fields[3] == _CONNECTED:
            peer = BoundSocket(fields[2], 0, 0, 0)
            yield int(fields[9]), f"{peer.host}:{peer.port}"
