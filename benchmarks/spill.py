"""Nanoseconds a SYN of the program that spills, by the size of the group and the queues it meets.

SYNs come from addresses where nobody is, so the kernel resets each of them and no queue grows;
the queues are made before, of connections that nobody accepts. The kernel measures each run
(BPF_ENABLE_STATS); what it reads for a program that returns at once is its own share. Everything is
in the caches, as in any such measurement.
"""

from __future__ import annotations

import ctypes
import os
import socket
import struct
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.measure import Figure, Goal
from benchmarks.program_stats import counted, programs
from locality import attach_cbpf, cbpf
from locality.bpf import btf
from locality.bpf.libbpf import lib
from locality.errors import LocalityError
from locality.lab.namespaces import namespace
from locality.machine.topology import Distance, Topology
from locality.reuseport.group import read_from_kernel
from locality.spill import program, table
from locality.spill.program import SO_ATTACH_REUSEPORT_EBPF
from locality.steering import attachment

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from locality.spill.table import Table

ROUNDS, SYNS = 11, 4000
SIZES = (2, 64, 1000)
MOST_FILLED = 64
"""Filling the queues of more sockets takes minutes."""
BOUND = 1
#: Workers on the same core and behind the same cache; half of the others are on the same node.
SAME_CORE, SAME_LLC = 1, 8
GOAL = Goal(high=300.0)

_SK_REUSEPORT = 21  # include/uapi/linux/bpf.h: enum bpf_prog_type
_RETURN_PASS = bytes((0xB7, 0, 0, 0, 1, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0))  # r0 = 1; exit
_SYN = 2


def run(_scratch: Path) -> Iterator[Figure]:
    allowed = os.sched_getaffinity(0)
    cpu = min(allowed)
    os.sched_setaffinity(0, {cpu})
    try:
        with namespace() as alone, alone.joined():
            for size in SIZES:
                yield from _of_group(size, cpu)
    finally:
        os.sched_setaffinity(0, allowed)


def _of_group(size: int, cpu: int) -> Iterator[Figure]:
    with ExitStack() as stack:
        group = _Group(stack, size, cpu)
        states: dict[str, Sequence[int]] = {
            "own queue short": (),
            "the next worker's is shorter": (0,),
            "all are long": range(1, size),
        }
        if size > MOST_FILLED:
            states.popitem()
        for name, more in states.items():
            group.fill(more)
            empty, ours = [], []
            for _ in range(ROUNDS):
                with group.empty() as number:
                    empty.append(group.cost(number))
                with group.spilling() as number:
                    ours.append(group.cost(number))
            net = [one - other for one, other in zip(ours, empty, strict=True)]
            goal = GOAL if size == 64 else None
            yield Figure(f"{size} sockets, {name}", net, "ns/SYN", goal)
        yield Figure(f"{size} sockets, a program that returns at once", empty, "ns/SYN")


class _Group:
    """Listeners of this process, and SYNs to them."""

    def __init__(self, stack: ExitStack, size: int, cpu: int) -> None:
        self._stack, self._cpu = stack, cpu
        address = ("127.0.0.1", 0)
        self._listeners: list[socket.socket] = []
        for _ in range(size):
            one = socket.create_server(address, reuse_port=True, backlog=64)
            self._listeners.append(stack.enter_context(one))
            address = one.getsockname()
        self._address = address
        self._raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
        stack.enter_context(self._raw)
        self._packets = [syn(number, address[1]) for number in range(SYNS)]

    @property
    def _fd(self) -> int:
        return self._listeners[0].fileno()

    def fill(self, indexes: Sequence[int]) -> None:
        """Let more connections wait for each of these than the bound allows."""
        for index in indexes:
            attach_cbpf.attach(os.getpid(), self._fd, cbpf.table({self._cpu: index}))
            for _ in range(BOUND + 1):
                self._stack.enter_context(socket.create_connection(self._address))

    def table(self) -> Table:
        """Worker i runs on a CPU i that is made up; the first is the own one."""
        inodes = [os.fstat(one.fileno()).st_ino for one in self._listeners]
        size = max(len(inodes), self._cpu + 1)
        apart = np.full((size + 1, size + 1), Distance.REMOTE, np.uint8)
        near = (SAME_CORE, SAME_CORE + SAME_LLC, max(size // 2, SAME_CORE + SAME_LLC))
        for distance, first, end in zip(
            (Distance.CORE, Distance.LLC, Distance.NODE),
            (1, *[one + 1 for one in near]),
            near,
            strict=False,
        ):
            apart[:, first : end + 1] = distance
        apart[:, 0] = Distance.CPU
        machine = Topology(size, tuple(range(size)), apart)
        workers = {inode: {number} for number, inode in enumerate(inodes)}
        return table.make(BOUND, {self._cpu: inodes[0]}, workers, machine)

    @contextmanager
    def spilling(self) -> Iterator[int]:
        """The program that spills, attached; its id."""
        given = program.give(os.getpid(), self._fd, self.table())
        yield given.number
        attachment.detach(os.getpid(), self._fd)

    @contextmanager
    def empty(self) -> Iterator[int]:
        """A program that returns at once, attached; its id."""
        number = _load_empty()
        try:
            option = struct.pack("@i", number)
            self._listeners[0].setsockopt(socket.SOL_SOCKET, SO_ATTACH_REUSEPORT_EBPF, option)
        finally:
            os.close(number)
        attached = read_from_kernel(self._fd).ebpf
        if attached is None:
            raise LocalityError("the empty program is not attached")
        yield attached.number
        attach_cbpf.detach(os.getpid(), self._fd)

    def cost(self, number: int) -> float:
        """Nanoseconds a run of the attached program, while SYNs come."""
        with counted():
            before = programs()[number]
            for packet in self._packets:
                self._raw.sendto(packet, self._address)
            after = programs()[number]
        runs = after.count - before.count
        if runs < SYNS:
            raise LocalityError(f"{runs} runs for {SYNS} SYNs")
        return (after.ns - before.ns) / runs


def _load_empty() -> int:
    # libbpf wants to be asked for the kernel's types before anything else is loaded.
    btf.require_kernel_types()
    fd: int = lib.bpf_prog_load(_SK_REUSEPORT, b"empty", b"GPL", _RETURN_PASS, 2, None)
    if fd < 0:
        raise LocalityError(f"an empty program: {os.strerror(ctypes.get_errno())}")
    return fd


def syn(number: int, port: int, network: tuple[int, int] = (127, 77)) -> bytes:
    """An IPv4 packet with a SYN to 127.0.0.1 from an address that nobody has.

    Args:
        number: Another one for another connection.
        port: The listener's.
        network: The first two bytes of the source address.
    """
    source = struct.pack("!BBH", *network, number % 50_000 + 1)
    target = socket.inet_aton("127.0.0.1")
    tcp = struct.pack("!HHIIBBHHH", 10_000 + number, port, number, 0, 5 << 4, _SYN, 64_000, 0, 0)
    pseudo = source + target + struct.pack("!BBH", 0, socket.IPPROTO_TCP, len(tcp))
    checked = tcp[:16] + struct.pack("!H", _checksum(pseudo + tcp)) + tcp[18:]
    ip = struct.pack(
        "!BBHHHBBH4s4s", 0x45, 0, 20 + len(tcp), 0, 0, 64, socket.IPPROTO_TCP, 0, source, target
    )
    return ip + checked


def _checksum(text: bytes) -> int:
    total: int = sum(struct.unpack(f"!{len(text) // 2}H", text))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
