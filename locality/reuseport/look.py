"""See for a moment, by probe, which threads serve sockets: those that /proc does not show.

`probes/calls.bpf.c` reports the calls that name the sockets, or epoll sets that watch them.
It shows threads that poll, and those that are always busy. What io_uring accepts is seen by
the probe of accepts (`locality.accept`).
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Self

import numpy as np

from locality.accept.source import AcceptSource, Filter
from locality.bpf.btf import check_layout
from locality.bpf.object import Object
from locality.bpf.ring import Ring
from locality.filter import MAX_CHOICES
from locality.machine import pid_namespace, syscalls
from locality.machine.syscalls import Call, Names
from locality.reuseport import waits
from locality.reuseport.descriptors import socket_behind, watched_by
from locality.reuseport.evidence import LOOK_S, Evidence, Seen, Thread

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from locality.accept.batch import Records
    from locality.arrays import Array
    from locality.reuseport.descriptors import Descriptors

MOST_LOOKS = 8
_REMAINDERS = 65536
_COPIED = 128
#: `struct call_event` of the probe.
CALL = np.dtype(
    [
        ("pid", "u4"),
        ("tid", "u4"),
        ("number", "u4"),
        ("pad", "u4"),
        ("first", "u8"),
        ("second", "u8"),
        ("copied", "u1", (_COPIED,)),
    ]
)
_KERNEL_NAMES = {Names.SOCKET: 0, Names.EPOLL: 0, Names.POLL: 1, Names.SELECT: 2}


def look(inodes: Collection[int], held: Descriptors, seen: Seen, seconds: float = LOOK_S) -> None:
    """See who serves sockets.

    Args:
        inodes: The sockets.
        held: Who holds them.
        seen: What was seen of them before; what is seen now is added to it.
        seconds: How long to look. It is done up to `MOST_LOOKS` times as long as some server is
            not seen and a thread that could be it is kept waiting for a CPU.

    Raises:
        LocalityError: This kernel allows no such probe.
    """
    holders = [holder for inode in inodes for holder in held.holders.get(inode, ())]
    pids = held.holders.pids(inodes)
    epolls = [epoll for pid in pids for epoll in held.epolls.get(pid, ())]
    by_io_uring = sorted(pids & held.io_uring)[:MAX_CHOICES]
    with ExitStack() as stack:
        calls = stack.enter_context(Calls(pids, {one.fd for one in (*holders, *epolls)}))
        accepts = None
        if by_io_uring:
            accepts = stack.enter_context(AcceptSource(Filter(pids=tuple(by_io_uring))))
        for _ in range(MOST_LOOKS):
            time.sleep(seconds)
            seen.add(served_by(calls.read(), inodes))
            if accepts is not None:
                seen.add(accepted_by(accepts.read().records, inodes))
            # One that was kept from running till just before the look waits now.
            sets = waits.EpollSets(inodes, held)
            seen.add(waits.watch(inodes, held, sets=sets))
            hidden = waits.unseen(inodes, held, seen, sets)
            if not any(waits.runs(holder.pid) for one in hidden for holder in held.holders[one]):
                break


class Calls:
    """The calls that processes make on descriptors, from the moment it is made.

    Args:
        pids: The processes.
        fds: The descriptors; others may be reported, too.

    Raises:
        LocalityError: This kernel does not allow it.
    """

    def __init__(self, pids: Iterable[int], fds: Iterable[int]) -> None:
        known = syscalls.numbers()
        constants = {
            **pid_namespace.rodata(),
            "call_count": len(known),
            "call_numbers": [*known],
            "call_names": [_KERNEL_NAMES[names] for names in known.values()],
            "wanted_pids": _bits(pids),
            "wanted_fds": _bits(fds),
        }
        self._object = Object.open("calls", constants)
        try:
            check_layout(CALL, self._object.btf.struct("call_event"), "call_event")
            self._object.select(["calls"])
            self._object.load()
            self._object.attach(["calls"])
            size = self._object.map_entries("events")
            self._ring = Ring.map(self._object.map_fd("events"), size, CALL)
        except BaseException:
            self._object.close()
            raise

    def read(self) -> Array:
        """What was called since the last reading: dtype `CALL`."""
        return self._ring.read()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._object.close()


def served_by(calls: Array, inodes: Collection[int]) -> Seen:
    """Who serves these sockets, by calls that were seen."""
    wanted, known, seen = frozenset(inodes), syscalls.numbers(), Seen()
    for pid, tid, number, _, first, second, copied in calls.tolist():
        names = known[number]
        named = syscalls.waits(Call(names, first, second), partial(_beginning, bytes(copied)))
        direct = names is Names.SOCKET
        for fd in named.sockets:
            if (inode := socket_behind(pid, tid, fd)) in wanted and inode is not None:
                rank = Evidence.SERVES if direct else Evidence.WAITS
                seen.note(inode, Thread(pid, tid), rank)
        for epoll in named.epolls:
            for inode in watched_by(pid, tid, epoll) & wanted:
                seen.note(inode, Thread(pid, tid), Evidence.WAITS)
    return seen


def accepted_by(records: Records, inodes: Collection[int] = ()) -> Seen:
    """Who accepted on sockets, by records of accepts that the holders are still there for.

    Args:
        records: dtype `locality.accept.batch.ACCEPT`.
        inodes: Only on these; on all if empty.
    """
    wanted, seen = frozenset(inodes), Seen()
    for pid, tid, fd in np.unique(records[["pid", "tid", "listen_fd"]]).tolist():
        inode = socket_behind(pid, tid, fd)
        if inode is not None and (not wanted or inode in wanted):
            seen.note(inode, Thread(pid, tid), Evidence.SERVES)
    return seen


def _beginning(memory: bytes, _at: int, size: int) -> bytes:
    return memory[:size]


def _bits(numbers: Iterable[int]) -> Array:
    """One bit for each remainder, as the probe asks for them."""
    chosen = np.zeros(_REMAINDERS, np.uint8)
    chosen[[number % _REMAINDERS for number in numbers]] = 1
    return np.packbits(chosen, bitorder="little")
