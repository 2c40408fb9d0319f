"""Who serves a socket: the thread that waits for it, and the CPUs it may run on.

Holding a listening socket says little: an nginx master and all its workers hold all of
them. Waiting for it says it: a server has the socket in an epoll set (the ``tfd:`` lines
of the set's fdinfo name it), or a thread blocked in accept() or recv() on it. Where
neither is seen, a process that alone holds the socket is taken.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

_PROC = Path("/proc")
_EPOLL = "anon_inode:[eventpoll]"
_SOCKET = re.compile(r"socket:\[(\d+)\]")
_TARGET = re.compile(r"^tfd:.*\bino:([0-9a-f]+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Worker:
    """A thread that serves a socket.

    Attributes:
        pid: Its process.
        tid: The thread; the process's first one where its threads cannot be told apart.
        comm: The thread's name.
        cpus: The CPUs it may run on; those of all threads where they cannot be told apart.
    """

    pid: int
    tid: int
    comm: str
    cpus: frozenset[int]


def find(inodes: Collection[int]) -> dict[int, tuple[Worker, ...]]:
    """The workers of sockets, by socket inode, from what /proc shows of every process.

    Processes that may not be looked into are passed over: a socket without a worker in
    the answer has none, or none that we may see.
    """
    wanted = frozenset(inodes)
    pollers: dict[int, list[tuple[int, int]]] = defaultdict(list)
    holders: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for pid in (int(entry.name) for entry in _PROC.iterdir() if entry.name.isdigit()):
        links = dict(_descriptors(pid))
        held = {fd: inode for fd, inode in _sockets(links) if inode in wanted}
        for fd, inode in held.items():
            holders[inode].append((pid, fd))
        for fd in (fd for fd, link in links.items() if held and link == _EPOLL):
            for inode in parse_epoll_targets(_read(_PROC / f"{pid}/fdinfo/{fd}")) & wanted:
                pollers[inode].append((pid, fd))
    return {inode: tuple(_workers(pollers[inode], holders[inode])) for inode in wanted}


def held_sockets(pid: int) -> dict[int, int]:
    """The sockets a process holds: fd to inode."""
    return dict(_sockets(dict(_descriptors(pid))))


def parse_epoll_targets(fdinfo: str) -> frozenset[int]:
    """The inodes in an epoll set, from its fdinfo (``ep_show_fdinfo`` of fs/eventpoll.c)."""
    return frozenset(int(inode, 16) for inode in _TARGET.findall(fdinfo))


def parse_waits_for(syscall: str) -> int | None:
    """The first argument of the system call a thread is blocked in.

    Args:
        syscall: What /proc/PID/task/TID/syscall holds: the call's number and arguments,
            or ``running``, or ``-1`` with two addresses when blocked elsewhere.
    """
    words = syscall.split()
    blocked = len(words) > 1 and words[0] != "-1"
    return int(words[1], 16) if blocked else None


def _workers(pollers: list[tuple[int, int]], holders: list[tuple[int, int]]) -> Iterator[Worker]:
    """Turn (process, descriptor it waits on) into threads."""
    if not pollers:
        waiting = [(pid, fd) for pid, fd in holders if _waiting_threads(pid, fd)]
        alone = len({pid for pid, _ in holders}) == 1
        pollers = waiting or (holders[:1] if alone else [])
    for pid, fd in pollers:
        # Threads share descriptors; which of them waits is seen in their system calls.
        waiting_threads = _waiting_threads(pid, fd)
        for tid in waiting_threads:
            yield Worker(pid, tid, _name(pid, tid), _cpus([tid]))
        if not waiting_threads:
            yield Worker(pid, pid, _name(pid, pid), _cpus(_threads(pid)))


def _waiting_threads(pid: int, fd: int) -> list[int]:
    return [
        tid
        for tid in _threads(pid)
        if parse_waits_for(_read(_PROC / f"{pid}/task/{tid}/syscall")) == fd
    ]


def _threads(pid: int) -> list[int]:
    return [int(task.name) for task in _listing(_PROC / f"{pid}/task")]


def _name(pid: int, tid: int) -> str:
    return _read(_PROC / f"{pid}/task/{tid}/comm").strip()


def _cpus(tids: Iterable[int]) -> frozenset[int]:
    """The CPUs that at least one of these threads may run on."""
    allowed: set[int] = set()
    for tid in tids:
        with suppress(ProcessLookupError):  # it has just ended
            allowed |= os.sched_getaffinity(tid)
    return frozenset(allowed)


def _descriptors(pid: int) -> Iterator[tuple[int, str]]:
    for fd in _listing(_PROC / f"{pid}/fd"):
        with suppress(OSError):  # closed since it was listed
            yield int(fd.name), fd.readlink().name


def _sockets(links: dict[int, str]) -> Iterator[tuple[int, int]]:
    for fd, link in links.items():
        if match := _SOCKET.fullmatch(link):
            yield fd, int(match[1])


def _listing(directory: Path) -> list[Path]:
    try:
        return list(directory.iterdir())
    except OSError:
        return []  # ended, or not ours to see


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="backslashreplace")
    except OSError:
        return ""
