"""Every reuseport group of the machine, in every network namespace that has a process.

/proc/PID/net tells which sockets listen or take datagrams, `descriptors` who holds them.
A holder's socket is borrowed for the moment it takes to read its group (`reuseport`); that
covers all the group's sockets. A socket that cannot be borrowed, and all of them where BPF is
refused, are put together by their address. Each file is read once, however many groups
there are. Not found: sockets in a namespace in which no process lives, and UDP groups
whose sockets are all connected.
"""

from __future__ import annotations

import os
from collections import defaultdict
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from locality.errors import LocalityError
from locality.machine.processes import pids_with_thread_named, require_own_proc
from locality.reuseport import descriptors
from locality.reuseport.borrow import borrowed_socket
from locality.reuseport.bound import BoundSocket
from locality.reuseport.group import Group, Member, Reader, kernel_reader, with_workers
from locality.reuseport.places import open_now, places
from locality.reuseport.socket_facts import as_member, interface_of, is_mptcp, shares_port

if TYPE_CHECKING:
    import socket
    from collections.abc import Collection

    from locality.reuseport.alone import Alone
    from locality.reuseport.descriptors import Descriptors
    from locality.reuseport.evidence import Seen
    from locality.reuseport.places import Place


ELSEWHERE = "it may be in another PID namespace"
"""Why a process that holds a socket is not in /proc, though nobody is hidden from us there."""


@dataclass(frozen=True, slots=True)
class FoundGroup:
    """A group, and where it is.

    Attributes:
        protocol: ``tcp``, ``udp``, or ``mptcp`` where every borrowed socket is MPTCP: the
            group is that of the TCP listeners behind them, and takes no program through them.
        address: ``127.0.0.1`` or ``[::]``; with ``%eth0`` if bound to an interface.
        port: The port.
        netns: Inode of the network namespace, or None if it may not be seen.
        pid: A process that holds a socket of the group and can be reached, or None if there is
            none. A thread of it where that alone has the descriptor.
        fd: The socket's number there, or None.
        group: Its sockets, program and workers.
        shares: Whether it is a group at all: false for a socket without SO_REUSEPORT, which is
            alone on its port.
        pids: The processes that hold one of its sockets.
    """

    protocol: str
    address: str
    port: int
    netns: int | None
    pid: int | None
    fd: int | None
    group: Group
    shares: bool = True
    pids: frozenset[int] = frozenset()

    def __str__(self) -> str:
        return f"{self.protocol} {self.address}:{self.port}"

    @property
    def inodes(self) -> frozenset[int]:
        """Its sockets."""
        return frozenset(member.inode for member in self.group.members)

    @property
    def holder(self) -> tuple[int, int]:
        """A process and its descriptor of one of the sockets.

        Raises:
            LocalityError: No process that holds one can be reached.
        """
        if self.pid is None or self.fd is None:
            raise LocalityError(
                f"{self}: no process that holds a socket of this group can be reached "
                f"({self.group.how}): run as root, in the PID namespace of the server"
            )
        return self.pid, self.fd


class Survey(NamedTuple):
    """What was found, and what could not be asked.

    Attributes:
        groups: By namespace, protocol, port and address.
        unasked: Sockets alone on their address that cannot be borrowed, as ``tcp 127.0.0.1:80``:
            whether they have SO_REUSEPORT is not known.
        unheld: Those that no process holds that can be seen here, of a process that would see the
            processes of all users.
    """

    groups: list[FoundGroup]
    unasked: tuple[str, ...] = ()
    unheld: tuple[str, ...] = ()


class _Asked(NamedTuple):
    """A socket that was looked at."""

    member: Member
    shares: bool | None = None
    group: Group | None = None
    holder: tuple[int, int] | None = None
    interface: str = ""
    mptcp: bool = False


def find(
    *,
    ports: Collection[int] = (),
    pids: Collection[int] = (),
    comm: str | None = None,
    known: Seen | None = None,
    look: float = 0,
    alone: bool = False,
    netns: int | None = None,
    served: bool = True,
    lone: Alone | None = None,
) -> list[FoundGroup]:
    """The groups of this machine, sorted by namespace, protocol, port and address.

    Processes that end and sockets that are closed meanwhile are passed over.

    Args:
        ports: Only on these ports; all if empty.
        pids: Only groups of which one of these processes holds a socket; all if empty.
        comm: Only groups of which a process with a thread of this name holds a socket.
        known: What was seen before of the threads that serve sockets; it is added to.
        look: Seconds to look by probe for servers that /proc does not show.
        alone: Also sockets without SO_REUSEPORT, each as a group of one that takes no program.
        netns: Only in the network namespace of this inode; in all if None.
        served: Look who serves the sockets; else no member has a worker.
        lone: Sockets that an earlier look found in no group; it is added to.

    Raises:
        LocalityError: /proc is that of another pid namespace.
    """
    asked = survey(
        ports=ports,
        pids=pids,
        comm=comm,
        known=known,
        look=look,
        alone=alone,
        netns=netns,
        served=served,
        lone=lone,
    )
    return asked.groups


def survey(
    *,
    ports: Collection[int] = (),
    pids: Collection[int] = (),
    comm: str | None = None,
    known: Seen | None = None,
    look: float = 0,
    alone: bool = False,
    netns: int | None = None,
    served: bool = True,
    lone: Alone | None = None,
) -> Survey:
    """What `find` finds, with the sockets that could not be asked."""
    require_own_proc()
    found_at = places(ports, netns)
    if lone is not None:
        found_at = lone.others(found_at)
    wanted = {one.inode for sockets in found_at.values() for one in sockets}
    if not wanted:
        return Survey([])
    held = descriptors.descriptors(wanted)
    if pids:
        wanted &= held.holders.held_by(pids)
    if comm is not None:
        wanted &= held.holders.held_by(pids_with_thread_named(comm))
    candidates = {
        place: sockets
        for place, sockets in found_at.items()
        if any(one.inode in wanted for one in sockets)
    }
    found: list[FoundGroup] = []
    unasked: list[str] = []
    unheld: list[str] = []
    search = _Search(held, frozenset(pids), alone=alone)
    for place, sockets in candidates.items():
        here, not_asked = search.groups_at(place, sockets)
        if lone is not None and not here and not not_asked:
            lone.note(sockets)
        found += (one for one in here if wanted & {m.inode for m in one.group.members})
        for asked in not_asked:
            (unheld if search.is_unheld([asked]) else unasked).append(place.name)
    same: dict[frozenset[int], frozenset[int]] = {}  # the processes of a server hold all of it
    for number, one in enumerate(found):
        pids_of = held.holders.pids(one.inodes)
        found[number] = replace(one, pids=same.setdefault(pids_of, pids_of))
    if served:
        told = with_workers([one.group for one in found], held, known, look)
        found = [replace(one, group=group) for one, group in zip(found, told, strict=True)]
    return Survey(sorted(found, key=_order), tuple(unasked), tuple(unheld))


class _Search:
    """Looks at sockets."""

    def __init__(self, held: Descriptors, preferred: frozenset[int], *, alone: bool) -> None:
        self._held = held
        self._alone = alone
        self._preferred = preferred
        self._read: Reader | None = None
        self._refusal: LocalityError | None = None
        self._open_now = cache(open_now)
        try:
            self._read = kernel_reader()
        except LocalityError as refusal:
            self._refusal = refusal

    def groups_at(
        self, place: Place, sockets: list[BoundSocket]
    ) -> tuple[list[FoundGroup], list[_Asked]]:
        """The groups on one address, and the sockets that could not be asked."""
        groups: dict[int, _Asked] = {}
        counted: dict[str, list[_Asked]] = defaultdict(list)
        alone: list[_Asked] = []
        read = set[int]()
        for one in sorted(sockets, key=lambda one: one.inode):
            if one.inode in read:
                continue
            asked = self._look_at(one)
            if asked.group and asked.group.members:
                groups[asked.group.members[0].inode] = asked
                # Through an MPTCP socket no program can be attached: look for another member.
                members = {member.inode for member in asked.group.members}
                read |= {one.inode} if asked.mptcp else members
            elif asked.shares is not False:
                counted[asked.interface].append(asked)
            elif asked.holder and self._alone:
                alone.append(asked)
        found = [_found(place, asked, asked.group) for asked in groups.values() if asked.group]
        read |= {member.inode for one in found for member in one.group.members}
        unasked: list[_Asked] = []
        for interface in counted.values():
            rest = [
                one for one in interface if one.member.inode not in read and self._open(place, one)
            ]
            if len(rest) > 1 or any(asked.shares for asked in rest):
                found.append(self._counted(place, rest))
            else:
                unasked += rest
        found += [_without_reuseport(place, asked) for asked in alone]
        return found, unasked

    def is_unheld(self, sockets: list[_Asked]) -> bool:
        """Whether no process holds one of these sockets, of all that are in /proc."""
        inodes = (asked.member.inode for asked in sockets)
        return descriptors.sees_everybody() and not any(map(self._held.holders.get, inodes))

    def _open(self, place: Place, asked: _Asked) -> bool:
        """Whether a socket that cannot be borrowed was not closed after it was seen in /proc."""
        return bool(asked.holder) or asked.member.inode in self._open_now(
            place.namespace, place.table
        )

    def _look_at(self, one: BoundSocket) -> _Asked:
        """Whether a socket shares its port, and its group if it can be read."""
        holders = self._held.holders.get(one.inode, ())
        refused = False
        for holder in sorted(holders, key=lambda holder: holder.pid not in self._preferred):
            try:
                with borrowed_socket(holder.tid, holder.fd) as borrowed:
                    if os.fstat(borrowed.fileno()).st_ino == one.inode:
                        return self._examine(borrowed, (holder.tid, holder.fd))
            except LocalityError:
                refused |= descriptors.socket_behind(*holder) == one.inode
        waiting = one.waiting if one.listens else None
        unknown = Member(one.inode, backlog=waiting, known=False)
        # Held a moment ago and not now: it was closed, and is of no group any more.
        return _Asked(unknown, shares=False if holders and not refused else None)

    def _examine(self, borrowed: socket.socket, holder: tuple[int, int]) -> _Asked:
        asked = _Asked(
            as_member(borrowed),
            shares=shares_port(borrowed),
            holder=holder,
            interface=interface_of(borrowed),
            mptcp=is_mptcp(borrowed),
        )
        if self._read is None:
            return asked
        try:
            group = self._read(borrowed.fileno())
            if asked.shares and not group.members:
                group = self._read(borrowed.fileno())  # it may be joining one, or changing it
        except LocalityError as refusal:
            self._refusal, self._read = refusal, None
            return asked
        # The kernel knows better: the option can be set after bind(), without effect.
        return asked._replace(group=group, shares=bool(group.members))

    def _counted(self, place: Place, sockets: list[_Asked]) -> FoundGroup:
        """A group put together by its address."""
        held = next((asked for asked in sockets if asked.holder), sockets[0])
        reason = (
            "the sockets cannot be duplicated (pidfd_getfd), so whether they have SO_REUSEPORT is "
            "not known"
        )
        if held.holder:
            reason = f"BPF was refused: {self._refusal}"
        elif self.is_unheld(sockets):
            reason = f"no process that can be seen here holds the sockets ({ELSEWHERE})"
        members = sorted((asked.member for asked in sockets), key=lambda member: member.inode)
        how = f"counted in /proc, because {reason}"
        return _found(place, held, Group(tuple(members), False, None, None, how))


def _without_reuseport(place: Place, asked: _Asked) -> FoundGroup:
    group = Group((asked.member,), True, attached=False, program=None, how="without SO_REUSEPORT")
    return replace(_found(place, asked, group), shares=False)


def _found(place: Place, asked: _Asked, group: Group) -> FoundGroup:
    bound = BoundSocket(place.local, 0, 0, 0)
    pid, fd = asked.holder or (None, None)
    return FoundGroup(
        protocol="mptcp" if asked.mptcp else place.protocol,
        address=bound.host + (f"%{asked.interface}" if asked.interface else ""),
        port=bound.port,
        netns=place.namespace.netns,
        pid=pid,
        fd=fd,
        group=group,
    )


def _order(one: FoundGroup) -> tuple[int, str, int, str, tuple[int, ...]]:
    inodes = tuple(member.inode for member in one.group.members)
    return (one.netns or 0, one.protocol, one.port, one.address, inodes)
