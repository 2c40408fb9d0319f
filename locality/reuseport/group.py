"""The reuseport group of a socket: its sockets in order, its program, its workers.

A program answers with an index into the group's order: the order of joining, TCP at
listen(), UDP at bind(). When a socket leaves, the last one moves into its place
(reuseport_detach_sock of net/core/sock_reuseport.c). No socket option shows any of
this. BPF does: `probes/reuseport_group.bpf.c` is run once, attached to nothing. Where
BPF is refused, sockets bound to the same address are counted and the order is unknown.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache, partial
from itertools import repeat
from typing import TYPE_CHECKING

from locality.cbpf import Program
from locality.errors import LocalityError
from locality.machine.capabilities import missing_for_probes
from locality.reuseport import ebpf, workers
from locality.reuseport.borrow import borrowed_socket
from locality.reuseport.bound import bound_sockets, same_address

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    import numpy as np

    from locality.bpf.object import Object
    from locality.reuseport.descriptors import Descriptors
    from locality.reuseport.ebpf import EbpfProgram
    from locality.reuseport.evidence import Seen, Worker
    from locality.spill.attached import Spill

Reader = Callable[[int], "Group"]
"""Reads the group of a descriptor of this process."""


@dataclass(frozen=True, slots=True)
class Member:
    """One socket of a group.

    Attributes:
        inode: The socket's inode, as in ``socket:[12345]``; 0 for one being closed.
        workers: The threads that serve it; none if they are not known.
        incoming_cpu: SO_INCOMING_CPU set on the socket, or None.
        backlog: Connections that wait for accept(); None for UDP, or if it is unknown.
        backlog_limit: How many may wait; None in the same cases.
        known: Whether the socket itself was asked: if not, an `incoming_cpu` of None says
            nothing.
        cookie: SO_COOKIE; 0 if it has none yet, or if it is unknown.
    """

    inode: int
    workers: tuple[Worker, ...] = ()
    incoming_cpu: int | None = None
    backlog: int | None = None
    backlog_limit: int | None = None
    known: bool = True
    cookie: int = 0

    @property
    def cpus(self) -> frozenset[int]:
        """The CPUs its workers may run on; none if they are not known."""
        return frozenset().union(*(worker.cpus for worker in self.workers))


@dataclass(frozen=True, slots=True)
class Group:
    """The sockets that share one port.

    Attributes:
        members: In the group's order where `order_known`, else by inode. Empty for a
            socket that has not joined a group yet.
        order_known: Whether position i is the socket that answer i selects.
        attached: Whether the group has a program; None where that could not be asked.
        program: The attached program, if it is a classic one.
        how: How this was read, in words.
        ebpf: The attached program, if it is an eBPF program.
        spill: What that has been told and has counted, if `attach-cbpf --spill` made it.
        incoming_doubt: Why it is not known whether this kernel selects by the `incoming_cpu` of
            its members; empty where it is known, or was not asked.
        state: What the kernel says of its sockets, as `changes` compares it with what it says
            later. It tells nothing else; empty where the kernel was not asked.
    """

    members: tuple[Member, ...]
    order_known: bool
    attached: bool | None
    program: Program | None
    how: str
    ebpf: EbpfProgram | None = None
    spill: Spill | None = None
    incoming_doubt: str = ""
    state: bytes = field(default=b"", compare=False, repr=False)

    @property
    def inodes(self) -> list[int]:
        """Its sockets in order."""
        return [member.inode for member in self.members]

    @property
    def by_cpu(self) -> Program | None:
        """The classic program that is attached, or that a spill program equals.

        A spill program answers the same while queues are short.
        """
        if self.spill is not None and self.spill.table is not None:
            return self.spill.table.as_map(self.inodes)
        return self.program

    @property
    def is_opaque(self) -> bool:
        """Whether the group has a program of which nothing but its name is known."""
        spill = self.spill is not None and self.spill.table is not None
        return bool(self.attached) and self.program is None and not spill

    @property
    def is_foreign(self) -> bool:
        """Whether the group has an eBPF program of another owner: nobody could put it back.

        One that spills is ours, also where its table may not be read: it can be made again.
        """
        return self.is_opaque and self.spill is None


def read_group(pid: int, fd: int) -> Group:
    """Read the group of a socket of another process, with its workers; see `read_sockets`."""
    # In this order: while we held a duplicate we would have been found as a holder ourselves.
    return with_workers([read_sockets(pid, fd)])[0]


def read_sockets(pid: int, fd: int, among: Collection[int] = ()) -> Group:
    """Read the group of a socket of another process; `with_workers` adds who serves it.

    Args:
        pid: The process.
        fd: The socket's number there.
        among: The inodes of the sockets that it may be; any if empty.

    Raises:
        LocalityError: The socket cannot be reached. A kernel that refuses BPF is no
            error: `Group.how` says so and `order_known` is false.
    """
    read = reader_of_borrowed()
    with borrowed_socket(pid, fd, among) as borrowed:
        return read(borrowed, pid)


def reader_of_borrowed() -> Callable[[socket.socket, int], Group]:
    """What reads the group of a borrowed socket, of which a process is given that holds it.

    Make it before the socket is borrowed: that must not last longer than a reading.
    """
    try:
        from_kernel = kernel_reader()
    except LocalityError as refused:
        return partial(_counted, refused)

    def read(borrowed: socket.socket, pid: int) -> Group:
        try:
            return from_kernel(borrowed.fileno())
        except LocalityError as refusal:
            return _counted(refusal, borrowed, pid)

    return read


def with_workers(
    groups: Sequence[Group],
    held: Descriptors | None = None,
    known: Seen | None = None,
    look: float = 0,
) -> list[Group]:
    """The groups with the threads that serve their sockets; see `workers.find`."""
    inodes = {member.inode for group in groups for member in group.members if member.inode}
    found = workers.find(inodes, held, known, look) if inodes else {}
    return [
        replace(
            group,
            members=tuple(
                replace(member, workers=found.get(member.inode, ())) for member in group.members
            ),
        )
        for group in groups
    ]


def read_from_kernel(fd: int) -> Group:
    """Read the group of a socket of this process with BPF; workers are left out.

    Raises:
        LocalityError: No libbpf here, or the kernel refuses the program.
    """
    return kernel_reader()(fd)


@cache
def kernel_reader() -> Reader:
    """`read_from_kernel` with the probe loaded.

    Raises:
        LocalityError: As there; what is returned raises it too, for it runs the program.
    """
    probe = kernel_probe()
    return partial(_read, probe, probe.bss)


@cache
def kernel_probe() -> Object:
    """The probe of groups, loaded: once in a process, and kept until its end.

    Loading takes longer than all the rest of a look at a machine's groups.

    Raises:
        LocalityError: No libbpf here, or the kernel refuses the programs.
    """
    # libbpf is not needed to attach a program, so its absence must not stop the import.
    from locality.bpf.object import Object  # noqa: PLC0415

    probe = Object.open("reuseport_group")
    try:
        probe.load()
    except LocalityError:
        probe.close()
        if missing := missing_for_probes():  # libbpf complains of memory then
            raise LocalityError(f"this process has no {' and no '.join(missing)}") from None
        raise
    return probe


def _read(probe: Object, seen: np.ndarray[tuple[()], np.dtype[np.void]], fd: int) -> Group:
    members, size, state = list[Member](), 1, b""
    seen["target_fd"] = fd
    while len(members) < size:
        seen["first"] = len(members)
        if probe.test_run("read_group"):
            raise LocalityError(f"the reuseport probe found no socket behind fd {fd}")
        size = int(seen["num_socks"])
        here = slice(max(size - len(members), 0))  # what lies behind it is from other groups
        cpus, backlogs, limits = (
            [number if number >= 0 else None for number in seen[name][here].tolist()]
            for name in ("incoming_cpus", "backlogs", "backlog_limits")
        )
        inodes, cookies = (seen[name][here].tolist() for name in ("inodes", "cookies"))
        state += seen["states"][here].tobytes()
        members += map(Member, inodes, repeat(()), cpus, backlogs, limits, repeat(True), cookies)
    filters = seen["instructions"][: int(seen["num_instructions"])].tobytes()
    program = ebpf.named(int(seen["program_id"]), bytes(seen["program_name"]))
    return Group(
        members=tuple(members[:size]),
        order_known=True,
        attached=bool(seen["attached"]),
        program=Program.from_bytes(filters) if filters else None,
        how="read from the kernel",
        ebpf=program,
        spill=ebpf.spill_of(program, {one.inode: one.cookie for one in members[:size]}),
        state=state,
    )


def _counted(refusal: LocalityError, borrowed: socket.socket, pid: int) -> Group:
    """The group by what /proc shows, when BPF is refused."""
    protocol = "tcp" if borrowed.type == socket.SOCK_STREAM else "udp"
    version = "6" if borrowed.family == socket.AF_INET6 else ""
    sockets = bound_sockets(pid, protocol + version)
    same = same_address(sockets, os.fstat(borrowed.fileno()).st_ino)
    return Group(
        tuple(Member(inode) for inode in sorted(same)),
        order_known=False,
        attached=None,
        program=None,
        how=f"counted in /proc/{pid}/net, because BPF was refused: {refusal}",
    )
