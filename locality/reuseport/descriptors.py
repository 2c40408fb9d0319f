"""Who holds which sockets and epoll sets: the descriptors of every process, read once.

Descriptors belong to a table, which the threads of a process usually share. A thread may
have one of its own (unshare(CLONE_FILES)), and when the main thread has ended, its table is
gone while the others live on. So the threads are asked which share a table (kcmp), and every
table is read once, through a thread that has it. Where there are many tables, an iterator of the
kernel lists them (`bpf.tasks`).
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import sys
from array import array
from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from locality.errors import LocalityError
from locality.machine.capabilities import held
from locality.machine.limits import PassingOver
from locality.machine.processes import processes, threads
from locality.machine.syscalls import number

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

    from locality.arrays import Array

_EPOLL = "anon_inode:[eventpoll]"
_IO_URING = "anon_inode:[io_uring]"
_TARGET = re.compile(r"^tfd:.*\bino:([0-9a-f]+)", re.MULTILINE)
_KCMP_FILES = 2  # include/uapi/linux/kcmp.h
_ENDED_OR_HIDDEN = frozenset({errno.ENOENT, errno.ESRCH, errno.EACCES, errno.EPERM})
#: To load the probe takes as long as to read so many in /proc.
_MANY_FILES, _MANY_PROCESSES = 4000, 400


class Holder(NamedTuple):
    """A descriptor.

    Attributes:
        pid: The process.
        tid: A thread that has it: the main one, unless that has ended or has other descriptors.
        fd: The number.
    """

    pid: int
    tid: int
    fd: int


class Holders(Mapping[int, "Sequence[Holder]"]):
    """The descriptors of sockets, by the socket's inode.

    Where a server's processes inherit its listeners there are as many descriptors as sockets times
    processes. Each takes 16 bytes here, and is a `Holder` only when it is asked for.

    Args:
        inodes: Of each descriptor the socket.
        fds: Its number.
        owners: Whose it is, as an index of `tables`.
        tables: Processes and their threads that have the descriptors.
    """

    def __init__(
        self, inodes: Array, fds: Array, owners: Array, tables: Sequence[tuple[int, int]]
    ) -> None:
        order = np.argsort(inodes, kind="stable")
        self._fds, self._owners = fds[order], owners[order]
        self._tables = tables
        sockets, first = np.unique(inodes[order], return_index=True)
        ends = [*first[1:].tolist(), len(order)]
        self._rows = dict(zip(sockets.tolist(), map(slice, first.tolist(), ends), strict=True))

    def __getitem__(self, inode: int) -> Sequence[Holder]:
        """The descriptors of a socket, by process, the main thread's first."""
        rows = self._rows[inode]
        fds = self._fds[rows].tolist()
        return [Holder(*owner, fd) for owner, fd in zip(self._owners_of(inode), fds, strict=True)]

    def __iter__(self) -> Iterator[int]:
        """The sockets."""
        return iter(self._rows)

    def __len__(self) -> int:
        """How many sockets there are."""
        return len(self._rows)

    def _owners_of(self, inode: int) -> list[tuple[int, int]]:
        """The process and the thread of each descriptor of a socket."""
        return [self._tables[owner] for owner in self._owners[self._rows[inode]].tolist()]

    def pids(self, inodes: Iterable[int]) -> frozenset[int]:
        """The processes that hold one of these sockets."""
        held = (inode for inode in inodes if inode in self._rows)
        return frozenset(pid for inode in held for pid, _ in self._owners_of(inode))

    def held_by(self, pids: Iterable[int]) -> set[int]:
        """The sockets that one of these processes holds."""
        wanted = frozenset(pids)
        ours = np.array([pid in wanted for pid, _ in self._tables], bool)
        return {inode for inode, rows in self._rows.items() if ours[self._owners[rows]].any()}


@dataclass(frozen=True, slots=True)
class Descriptors:
    """Who holds what, of the processes that we may look into.

    Attributes:
        holders: By socket inode.
        epolls: Epoll sets, by process.
        io_uring: The processes that have an io_uring.
    """

    holders: Holders
    epolls: Mapping[int, Sequence[Holder]]
    io_uring: frozenset[int] = frozenset()
    _tables: dict[int, Mapping[int, int]] = field(default_factory=dict)

    def tables(self, pid: int) -> Mapping[int, int]:
        """For each thread of a process, a thread that has the same descriptors."""
        if pid not in self._tables:
            self._tables[pid] = tables(pid)
        return self._tables[pid]


def descriptors(among: Collection[int] | None = None) -> Descriptors:
    """Read the descriptors of every process once.

    By BPF, which takes a quarter of a microsecond each, where there are many and we may see them
    all; else in /proc, which takes about 5.

    Args:
        among: The sockets to tell the holders of; None for all.
    """
    if sees_everybody() and _are_many():
        with suppress(LocalityError):
            return _listed(among)
    return _read(among)


def _listed(among: Collection[int] | None) -> Descriptors:
    """Them by an iterator; LocalityError where the kernel has none."""
    # It loads libbpf, which is not needed without it.
    from locality.bpf import tasks  # noqa: PLC0415

    found = tasks.tasks().descriptors(among)
    sockets = found[found["kind"] == tasks.SOCKET]
    if among is not None:
        wanted = np.fromiter(among, np.uint64, len(among))
        sockets = sockets[np.isin(sockets["inode"], wanted)]
    by_main = sockets["tid"] != sockets["pid"]
    sockets = sockets[np.lexsort((sockets["tid"], by_main, sockets["pid"]))]
    owners, owner = np.unique(sockets[["pid", "tid"]], return_inverse=True)
    epolls: dict[int, list[Holder]] = defaultdict(list)
    for _, pid, tid, fd, _ in found[found["kind"] == tasks.EPOLL].tolist():
        epolls[pid].append(Holder(pid, tid, fd))
    return Descriptors(
        Holders(sockets["inode"], sockets["fd"], owner.astype(np.uint32), owners.tolist()),
        epolls,
        frozenset(found["pid"][found["kind"] == tasks.IO_URING].tolist()),
    )


@cache
def sees_everybody() -> bool:
    """Whether /proc hides no process of another user from us."""
    has = held()
    return all(has[name] for name in ("CAP_SYS_PTRACE", "CAP_DAC_READ_SEARCH"))


def _are_many() -> bool:
    """Whether there are so many descriptors that it pays to load a probe."""
    tasks = sys.modules.get("locality.bpf.tasks")
    if tasks is not None and tasks.loaded():
        return True
    with suppress(OSError, ValueError):
        allocated = int(Path("/proc/sys/fs/file-nr").read_text().split()[0])
        return allocated > _MANY_FILES or len(processes()) > _MANY_PROCESSES
    return False


def _read(among: Collection[int] | None) -> Descriptors:
    """Them in /proc."""
    inodes, fds, owners = array("Q"), array("I"), array("I")
    read: list[tuple[int, int]] = []
    epolls: dict[int, list[Holder]] = defaultdict(list)
    shared: dict[int, Mapping[int, int]] = {}
    io_uring = set[int]()
    for pid in processes():
        shared[pid] = tables(pid)
        for tid in dict.fromkeys(shared[pid].values()):
            for fd, link in links(pid, tid):
                if (inode := _socket(link)) is not None:
                    if among is None or inode in among:
                        inodes.append(inode)
                        fds.append(fd)
                        owners.append(len(read))
                elif link == _EPOLL:
                    epolls[pid].append(Holder(pid, tid, fd))
                elif link == _IO_URING:
                    io_uring.add(pid)
            read.append((pid, tid))
    holders = Holders(np.array(inodes), np.array(fds), np.array(owners), read)
    return Descriptors(holders, epolls, frozenset(io_uring), shared)


def tables(pid: int) -> dict[int, int]:
    """For each thread of a process, the first thread that has the same descriptors."""
    found: dict[int, int] = {}
    numbers = cache(partial(_numbers, pid))
    for tid in threads(pid):
        # Most have those of the main thread: it comes first.
        others = dict.fromkeys(found.values())
        same = partial(_same_table, numbers, tid)
        found[tid] = next((other for other in others if same(other)), tid)
    return found


def held_sockets(pid: int) -> dict[int, int]:
    """The sockets a process holds: fd to inode; those of its main thread where they differ."""
    found: dict[int, int] = {}
    for tid in dict.fromkeys(tables(pid).values()):
        for fd, link in links(pid, tid):
            if (inode := _socket(link)) is not None:
                found.setdefault(fd, inode)
    return found


def socket_behind(pid: int, tid: int, fd: int) -> int | None:
    """The inode of a thread's socket; None if the descriptor is no socket now."""
    with suppress(OSError):
        return _socket(os.readlink(f"/proc/{pid}/task/{tid}/fd/{fd}"))  # noqa: PTH115
    return None


def _socket(link: str) -> int | None:
    """The inode of the socket that a descriptor is a link to; None if it is no socket."""
    return int(link[8:-1]) if link.startswith("socket:[") else None


def watched_by(pid: int, tid: int, epoll: int) -> frozenset[int]:
    """The inodes that an epoll set of a thread watches; none if it is gone."""
    with PassingOver(), open(f"/proc/{pid}/task/{tid}/fdinfo/{epoll}") as info:  # noqa: PTH123
        return parse_epoll_targets(info.read())
    return frozenset()


def parse_epoll_targets(fdinfo: str) -> frozenset[int]:
    """The inodes in an epoll set, from its fdinfo (``ep_show_fdinfo`` of fs/eventpoll.c)."""
    return frozenset(int(inode, 16) for inode in _TARGET.findall(fdinfo))


def links(pid: int, tid: int) -> Iterator[tuple[int, str]]:
    """A thread's descriptors, and what each is a link to.

    Raises:
        OSError: They cannot be read, though the thread has not ended and is ours to look into.
    """
    try:
        directory = os.open(f"/proc/{pid}/task/{tid}/fd", os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        if error.errno in _ENDED_OR_HIDDEN:
            return
        raise
    try:
        for fd in _listdir(directory):
            try:
                yield int(fd), os.readlink(fd, dir_fd=directory)
            except OSError:  # closed since it was listed
                continue
    finally:
        os.close(directory)


def _listdir(directory: int) -> list[str]:
    try:
        return os.listdir(directory)
    except OSError as error:
        if error.errno in _ENDED_OR_HIDDEN:
            return []
        raise


_libc = ctypes.CDLL(None, use_errno=True)


def _same_table(numbers: Callable[[int], frozenset[str] | None], one: int, other: int) -> bool:
    """Whether two threads of a process have the same descriptors; yes if we may not know."""
    kcmp = number("kcmp")
    if kcmp is not None:
        answer: int = _libc.syscall(
            *map(ctypes.c_long, (kcmp, one, other, _KCMP_FILES, 0, 0)),
        )
        if answer >= 0:
            return answer == 0
    # A kernel without kcmp (CONFIG_KCMP), or a process that is not ours to look into.
    ours, theirs = numbers(one), numbers(other)
    return ours is None or theirs is None or ours == theirs


def _numbers(pid: int, tid: int) -> frozenset[str] | None:
    """The numbers of a thread's descriptors; None if they may not be seen."""
    try:
        return frozenset(os.listdir(f"/proc/{pid}/task/{tid}/fd"))  # noqa: PTH208
    except OSError:
        return None
