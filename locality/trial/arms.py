"""Which arm a connection was in, read back from where it was accepted.

The coin's answer is not recorded anywhere, but the connection tells: a socket of its group other
than the one that the map names for the connection's RX CPU can only be the coin's other side. The
RX CPU is the one of the accept (SO_INCOMING_CPU); RSS and RPS bring all packets of a connection to
one CPU, so the SYN, for which the program ran, was there too.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

import numpy as np

from locality.reuseport.descriptors import socket_behind
from locality.trial.observation import A, B

if TYPE_CHECKING:
    from collections.abc import Iterable

    from locality.accept.batch import Records
    from locality.arrays import Array
    from locality.trial.targets import Steered


class NoArm(IntEnum):
    """Why a connection is in no arm; beside `A` and `B`."""

    OTHER_SOCKET = 2
    NOT_MAPPED = 3
    SAME_PLACE = 4

    @property
    def reason(self) -> str:
        """In words."""
        return _REASONS[self]


_REASONS = {
    NoArm.OTHER_SOCKET: "accepted on a socket that is not of the group, or has been closed",
    NoArm.NOT_MAPPED: "no RX CPU was noted, or the map does not have it",
    NoArm.SAME_PLACE: "the other worker runs on the CPU of the worker of the map",
}


class Sockets:
    """The listening socket of each accept: its inode, asked once for each thread and descriptor."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, int, int], int] = {}

    def of(self, accepts: Records) -> Array:
        """(accepts,) inodes; 0 where the descriptor is no socket now.

        Args:
            accepts: dtype `locality.accept.batch.ACCEPT`.
        """
        who, place = np.unique(accepts[["pid", "tid", "listen_fd"]], return_inverse=True)
        inodes = np.array([self._inode(*one) for one in who.tolist()], np.int64)
        found: Array = inodes[place] if len(inodes) else np.zeros(0, np.int64)
        return found

    def _inode(self, pid: int, tid: int, fd: int) -> int:
        if not self._known.get((pid, tid, fd)):
            self._known[pid, tid, fd] = socket_behind(pid, tid, fd) or 0
        return self._known[pid, tid, fd]


class Arms:
    """The arm of each connection of some groups.

    Args:
        steered: The groups, each with its map.
        cpus: How many CPU numbers there can be.
    """

    def __init__(self, steered: Iterable[Steered], cpus: int) -> None:
        self._answers: dict[int, Array] = {}
        for group in steered:
            members = group.group.group.members
            for member in members:
                answers = np.full(cpus + 1, NoArm.NOT_MAPPED, np.uint8)
                for cpu, index in group.indexes.items():
                    mapped = members[index]
                    if member.inode == mapped.inode:
                        answers[cpu] = B
                    elif member.cpus & mapped.cpus:
                        answers[cpu] = NoArm.SAME_PLACE
                    else:
                        answers[cpu] = A
                self._answers[member.inode] = answers

    def of(self, accepts: Records, inodes: Array) -> Array:
        """(accepts,) the arm, or why there is none: `A`, `B` or a `NoArm`.

        Args:
            accepts: dtype `locality.accept.batch.ACCEPT`.
            inodes: Their listening sockets; see `Sockets`.
        """
        arms = np.full(len(accepts), NoArm.OTHER_SOCKET, np.uint8)
        for inode in np.unique(inodes).tolist():
            if (answers := self._answers.get(inode)) is not None:
                here = inodes == inode
                # The last entry is for an RX CPU of -1: none was noted.
                arms[here] = answers[accepts["rxcpu"][here]]
        return arms
