"""Who holds which sockets and epoll sets: the descriptors of every process, read once.

Descriptors belong to a table, which the threads of a process usually share. A thread may
have one of its own (unshare(CLONE_FILES)), and when the main thread has ended, its table is
gone while the others live on. So the threads are asked which share a table (kcmp), and every
table is read once, through a thread that has it.
"""

from __future__ import annotations

import ctypes
import os
import re
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from locality.machine.limits import PassingOver
from locality.machine.processes import processes, threads
from locality.machine.syscalls import number

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

_EPOLL = "anon_inode:[eventpoll]"
_IO_URING = "anon_inode:[io_uring]"
_SOCKET = re.compile(r"socket:\[(\d+)\]")
_TARGET = re.compile(r"^tfd:.*\bino:([0-9a-f]+)", re.MULTILINE)
_KCMP_FILES = 2  # include/uapi/linux/kcmp.h


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


@dataclass(frozen=True, slots=True)
class Descriptors:
    """Who holds what, of the processes that we may look into.

    Attributes:
        holders: By socket inode.
        epolls: Epoll sets, by process.
        tables: By process: for each thread, a thread that has the same descriptors.
        io_uring: The processes that have an io_uring.
    """

    holders: Mapping[int, Sequence[Holder]]
    epolls: Mapping[int, Sequence[Holder]]
    tables: Mapping[int, Mapping[int, int]] = field(default_factory=dict)
    io_uring: frozenset[int] = frozenset()

    def held_by(self, pids: Iterable[int]) -> set[int]:
        """The sockets that one of these processes holds."""
        wanted = frozenset(pids)
        return {
            inode
            for inode, holders in self.holders.items()
            if any(holder.pid in wanted for holder in holders)
        }


def descriptors() -> Descriptors:
    """Read the descriptors of every process once: about 5 microseconds each."""
    holders: dict[int, list[Holder]] = defaultdict(list)
    epolls: dict[int, list[Holder]] = defaultdict(list)
    shared: dict[int, dict[int, int]] = {}
    io_uring = set[int]()
    for pid in processes():
        shared[pid] = tables(pid)
        for tid in sorted(set(shared[pid].values()), key=lambda tid: (tid != pid, tid)):
            for fd, link in links(pid, tid):
                if link == _EPOLL:
                    epolls[pid].append(Holder(pid, tid, fd))
                elif link == _IO_URING:
                    io_uring.add(pid)
                elif match := _SOCKET.fullmatch(link):
                    holders[int(match[1])].append(Holder(pid, tid, fd))
    return Descriptors(holders, epolls, shared, frozenset(io_uring))


def tables(pid: int) -> dict[int, int]:
    """For each thread of a process, the first thread that has the same descriptors."""
    found: dict[int, int] = {}
    for tid in threads(pid):
        # Most have those of the main thread: it comes first.
        others = dict.fromkeys(found.values())
        found[tid] = next((other for other in others if _same_table(pid, other, tid)), tid)
    return found


def held_sockets(pid: int) -> dict[int, int]:
    """The sockets a process holds: fd to inode; those of its main thread where they differ."""
    found: dict[int, int] = {}
    for tid in dict.fromkeys(tables(pid).values()):
        for fd, link in links(pid, tid):
            if match := _SOCKET.fullmatch(link):
                found.setdefault(fd, int(match[1]))
    return found


def socket_behind(pid: int, tid: int, fd: int) -> int | None:
    """The inode of a thread's socket; None if the descriptor is no socket now."""
    with suppress(OSError):
        match = _SOCKET.fullmatch(os.readlink(f"/proc/{pid}/task/{tid}/fd/{fd}"))  # noqa: PTH115
        return int(match[1]) if match else None
    return None


def watched_by(pid: int, tid: int, epoll: int) -> frozenset[int]:
    """The inodes that an epoll set of a thread watches; none if it is gone."""
    with PassingOver(), open(f"/proc/{pid}/task/{tid}/fdinfo/{epoll}") as info:  # noqa: PTH123
        return parse_epoll_targets(info.read())
    return frozenset()


def parse_epoll_targets(fdinfo: str) -> frozenset[int]:
    """The inodes in an epoll set, from its fdinfo (``ep_show_fdinfo`` of fs/eventpoll.c)."""
    return frozenset(int(inode, 16) for inode in _TARGET.findall(fdinfo))


def links(pid: int, tid: int) -> Iterator[tuple[int, str]]:
    """A thread's descriptors, and what each is a link to."""
    directory = f"/proc/{pid}/task/{tid}/fd"
    with PassingOver():  # ended, or not ours to see
        for fd in os.listdir(directory):  # noqa: PTH208 - ten thousand Paths take longer to make
            with suppress(OSError):  # closed since it was listed
                yield int(fd), os.readlink(f"{directory}/{fd}")  # noqa: PTH115


_libc = ctypes.CDLL(None, use_errno=True)


def _same_table(pid: int, one: int, other: int) -> bool:
    """Whether two threads of a process have the same descriptors; yes if we may not know."""
    kcmp = number("kcmp")
    if kcmp is not None:
        answer: int = _libc.syscall(
            *map(ctypes.c_long, (kcmp, one, other, _KCMP_FILES, 0, 0)),
        )
        if answer >= 0:
            return answer == 0
    # A kernel without kcmp (CONFIG_KCMP), or a process that is not ours to look into.
    try:
        numbers = [{*os.listdir(f"/proc/{pid}/task/{tid}/fd")} for tid in (one, other)]  # noqa: PTH208
    except OSError:
        return True
    return numbers[0] == numbers[1]
