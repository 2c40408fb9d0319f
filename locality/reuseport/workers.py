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
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

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


@dataclass(frozen=True, slots=True)
class Descriptors:
    """Who holds what, of the processes that we may look into.

    Attributes:
        holders: Socket inode to the processes that hold it and their descriptors for it.
        epolls: Process to the descriptors of its epoll sets.
    """

    holders: Mapping[int, Sequence[tuple[int, int]]]
    epolls: Mapping[int, Sequence[int]]


def descriptors() -> Descriptors:
    """Read the descriptors of every process once: about 5 microseconds each."""
    holders: dict[int, list[tuple[int, int]]] = defaultdict(list)
    epolls: dict[int, list[int]] = defaultdict(list)
    for pid in processes():
        for fd, link in _descriptors(pid):
            if link == _EPOLL:
                epolls[pid].append(fd)
            elif match := _SOCKET.fullmatch(link):
                holders[int(match[1])].append((pid, fd))
    return Descriptors(holders, epolls)


def processes() -> list[int]:
    """The processes of this machine, in order."""
    return sorted(int(entry.name) for entry in _PROC.iterdir() if entry.name.isdigit())


def find(inodes: Collection[int], held: Descriptors | None = None) -> dict[int, tuple[Worker, ...]]:
    """The workers of sockets, by socket inode, from what /proc shows of every process.

    Processes that may not be looked into are passed over: a socket without a worker in
    the answer has none, or none that we may see.

    Args:
        inodes: The sockets.
        held: What `descriptors` answered, to save reading it again.
    """
    held = held or descriptors()
    wanted = frozenset(inodes)
    pollers: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for pid in sorted({pid for inode in wanted for pid, _ in held.holders.get(inode, ())}):
        for fd in held.epolls.get(pid, ()):
            for inode in parse_epoll_targets(_read(_PROC / f"{pid}/fdinfo/{fd}")) & wanted:
                pollers[inode].append((pid, fd))
    # A server of many threads has as many sockets: what its threads wait for is read once.
    waits = cache(_waits)
    return {
        inode: tuple(dict.fromkeys(_workers(pollers[inode], held.holders.get(inode, ()), waits)))
        for inode in wanted
    }


def held_sockets(pid: int) -> dict[int, int]:
    """The sockets a process holds: fd to inode."""
    links = ((fd, _SOCKET.fullmatch(link)) for fd, link in _descriptors(pid))
    return {fd: int(match[1]) for fd, match in links if match}


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


def _workers(
    pollers: Sequence[tuple[int, int]],
    holders: Sequence[tuple[int, int]],
    waits: Callable[[int], Mapping[int, Sequence[int]]],
) -> Iterator[Worker]:
    """Turn (process, descriptor it waits on) into threads."""
    if not pollers:
        waiting = [(pid, fd) for pid, fd in holders if fd in waits(pid)]
        alone = len({pid for pid, _ in holders}) == 1
        pollers = waiting or (holders[:1] if alone else [])
    for pid, fd in pollers:
        # Threads share descriptors; which of them waits is seen in their system calls.
        waiting_threads = waits(pid).get(fd, ())
        for tid in waiting_threads:
            yield Worker(pid, tid, _name(pid, tid), _cpus([tid]))
        if not waiting_threads:
            yield Worker(pid, pid, _name(pid, pid), _cpus(_threads(pid)))


def _waits(pid: int) -> dict[int, list[int]]:
    """The threads of a process by the first argument of the call they are blocked in."""
    threads: dict[int, list[int]] = defaultdict(list)
    for tid in _threads(pid):
        if (fd := parse_waits_for(_read(_PROC / f"{pid}/task/{tid}/syscall"))) is not None:
            threads[fd].append(tid)
    return threads


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
    directory = f"{_PROC}/{pid}/fd"
    with suppress(OSError):  # ended, or not ours to see
        for fd in os.listdir(directory):  # noqa: PTH208 - ten thousand Paths take longer to make
            with suppress(OSError):  # closed since it was listed
                yield int(fd), os.readlink(f"{directory}/{fd}")  # noqa: PTH115


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
