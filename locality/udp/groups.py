"""Which sockets belong together: the UDP reuseport groups behind the sockets that are counted.

The kernel side counts sockets by their inode. Their groups, with the order that a program's
answers select from, are found by `locality.reuseport.survey`; that reads every process's
descriptors, so it is asked no more often than leaves most of the time to others. In between, the
kernel is asked each time whether the groups are what they were.
"""

from __future__ import annotations

import ipaddress
import socket
import time
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from locality.cbpf.describe import describe
from locality.errors import LocalityError
from locality.machine.cgroups import processes_in
from locality.machine.processes import pids_with_thread_named
from locality.reuseport import survey as groups
from locality.reuseport.alone import Alone
from locality.reuseport.changes import GroupStates
from locality.reuseport.descriptors import descriptors
from locality.udp.interval import UdpGroup

if TYPE_CHECKING:
    from collections.abc import Iterable

    from locality.filter import Wanted
    from locality.reuseport.survey import FoundGroup

#: At most this share of the time goes into looking for groups; more if a group has changed, or if
#: there are sockets that were never looked for.
SHARE_OF_TIME = 0.01
SHARE_FOR_CHANGES = 0.05
#: Of so many sockets it is known that they were looked for.
MOST_LOOKED_FOR = 1 << 16
#: Of so many sockets it is known in which group they were; of more, only of those that are there.
MOST_NUMBERED = 1 << 16


class Place(NamedTuple):
    """A socket's place in its group.

    Attributes:
        group: Key of `Membership.groups`.
        position: Its index there, or -1 where the order is not known.
    """

    group: int
    position: int


#: That of a socket of no group.
NOWHERE = Place(-1, -1)


class Membership:
    """The groups of the sockets that are wanted.

    Attributes:
        groups: Each group that was ever seen, by a number that stays its own.
        places: By inode: the members there are now.
        held: Inodes of the sockets held by the wanted processes; None where all are wanted.
    """

    def __init__(self, wanted: Wanted) -> None:
        self._wanted = wanted
        self._numbers: dict[int, int] = {}
        self._ended = self._taken = 0.0
        self._looked_for: frozenset[int] = frozenset()
        self._lone = Alone()
        self._states: GroupStates | None = None
        with suppress(LocalityError):
            self._states = GroupStates()
        self.groups: dict[int, UdpGroup] = {}
        self.places: dict[int, Place] = {}
        self.held: frozenset[int] | None = None
        self.refresh()

    def refresh(self, inodes: Iterable[int] = ()) -> None:
        """Look again, unless that would be too often.

        Args:
            inodes: The sockets whose groups are asked for.
        """
        begun, spent = time.monotonic(), time.process_time()
        asked = frozenset(inodes)
        since = begun - self._ended
        if self._ended and since < self._taken / SHARE_FOR_CHANGES:
            return
        quiet = asked <= self._looked_for and not (self._states and self._states.changed())
        if self._ended and quiet and since < self._taken / SHARE_OF_TIME:
            return
        wanted = self._wanted
        pids = _processes(wanted)
        # No pids at all would be taken for all processes.
        nobody = wanted.cgroup is not None and not pids
        found: list[FoundGroup] = []
        if not nobody:
            found = groups.find(
                ports=wanted.ports, pids=pids, comm=wanted.comm, served=False, lone=self._lone
            )
        if wanted.names_tasks:
            self.held = frozenset() if nobody else frozenset(_held(pids, wanted.comm))
        self.places = {}
        found = [
            one for one in found if one.protocol == "udp" and wanted.netns in {None, one.netns}
        ]
        for one in found:
            self._note(one)
        if len(self._numbers) > MOST_NUMBERED:
            now = frozenset[int]().union(*(one.inodes for one in found))
            self._numbers = {inode: self._numbers[inode] for inode in now if inode}
        if self._states:
            self._states.expect(b"".join(one.group.state for one in found))
        if len(self._looked_for) > MOST_LOOKED_FOR:
            self._looked_for = frozenset()
        self._looked_for |= asked | self.places.keys()
        self._ended = time.monotonic()
        # Of the CPU: on a machine that is busy with other things a look is not worth less.
        self._taken = time.process_time() - spent

    def _note(self, one: FoundGroup) -> None:
        inodes = [member.inode for member in one.group.members]
        # Sockets come and go; as long as one of them was there before, it is the same group. Those
        # that are being closed have no inode.
        there = [inode for inode in inodes if inode]
        known = (self._numbers[inode] for inode in there if inode in self._numbers)
        key = next(known, len(self.groups))
        self._numbers.update(dict.fromkeys(there, key))
        self.groups[key] = UdpGroup(
            netns=one.netns,
            address=one.address,
            port=one.port,
            size=len(inodes),
            order_known=one.group.order_known,
            program=_program(one),
        )
        for index, inode in enumerate(inodes):
            if inode and (self.held is None or inode in self.held):
                self.places[inode] = Place(key, index if one.group.order_known else -1)

    def endpoint(self, group: int) -> tuple[int, int, bytes]:
        """Network namespace, address family and 16 bytes of address of a group."""
        one = self.groups[group]
        address = ipaddress.ip_address(one.address.partition("%")[0].strip("[]"))
        family = socket.AF_INET6 if isinstance(address, ipaddress.IPv6Address) else socket.AF_INET
        return one.netns or 0, int(family), address.packed.ljust(16, b"\0")


def _program(one: FoundGroup) -> str | None:
    if one.group.attached is None:
        return None
    if not one.group.attached:
        return ""
    return describe(one.group.program) if one.group.program else str(one.group.ebpf or "eBPF")


def _processes(wanted: Wanted) -> set[int]:
    """The processes that are wanted by their pids and by their cgroup."""
    pids = {*wanted.pids}
    if wanted.cgroup is not None:
        inside = processes_in(wanted.cgroup)
        pids = pids & inside if pids else inside
    return pids


def _held(pids: set[int], comm: str | None) -> set[int]:
    """The sockets that processes with these pids, and threads of this name, hold."""
    if comm is not None:
        named = pids_with_thread_named(comm)
        pids = pids & named if pids else named
    return descriptors().holders.held_by(pids)
