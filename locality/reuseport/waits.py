"""Which threads wait for which sockets, seen in /proc by several looks.

A look sees the system call that a thread is blocked in, and nothing of a thread that runs at
that moment. So there are several, a few milliseconds apart: a thread that waits now and then
is seen. One that never blocks, because it polls or is always busy, is not seen here at all;
`look` sees it.
"""

from __future__ import annotations

import os
import time
from collections import Counter, defaultdict
from contextlib import suppress
from functools import cache, partial
from typing import TYPE_CHECKING

from locality.machine import syscalls
from locality.machine.limits import PassingOver
from locality.machine.processes import is_32bit, threads
from locality.reuseport.descriptors import socket_behind, watched_by
from locality.reuseport.evidence import Evidence, Seen, Thread

if TYPE_CHECKING:
    from collections.abc import Collection

    from locality.reuseport.descriptors import Descriptors

LOOKS = 8
PAUSE_S = 0.003


def watch(inodes: Collection[int], held: Descriptors, looks: int = LOOKS) -> Seen:
    """See which threads wait for sockets.

    Args:
        inodes: The sockets.
        held: Who holds them.
        looks: How often to look, if it takes so many: it is over when a thread was seen to wait
            for each socket, and for each epoll set that watches one, and no thread of their
            processes ran whenever it was looked at. One that ran may serve a socket too.

    Returns:
        Who waits for what, and which processes have threads that always ran.
    """
    wanted = frozenset(inodes)
    pids = sorted({holder.pid for inode in wanted for holder in held.holders.get(inode, ())})
    seen, sets = Seen(), watching(wanted, held)
    look = _Look(wanted)
    for number in range(looks):
        if number:
            time.sleep(PAUSE_S)
        awake = {pid for pid in pids if look.at(pid, seen)}
        known = wanted <= {*seen} and not any(unwaited(inode, sets, seen) for inode in wanted)
        if known and not awake:
            break
    seen.awake = frozenset(awake) if pids else frozenset()
    return seen


#: By inode and process: how many epoll sets of the process watch the socket.
Sets = dict[int, Counter[int]]


def watching(inodes: Collection[int], held: Descriptors) -> Sets:
    """The epoll sets that watch these sockets."""
    wanted = frozenset(inodes)
    sets: Sets = defaultdict(Counter)
    for pid in {holder.pid for inode in wanted for holder in held.holders.get(inode, ())}:
        for epoll in held.epolls.get(pid, ()):
            for inode in watched_by(pid, epoll.tid, epoll.fd) & wanted:
                sets[inode][pid] += 1
    return sets


def unwaited(inode: int, sets: Sets, seen: Seen) -> bool:
    """Whether more epoll sets watch a socket than threads were seen to serve it, in any process.

    Threads that share a set are not told apart from threads that have one each.
    """
    serving = Counter(thread.pid for thread in seen.of(inode))
    return any(serving[pid] < number for pid, number in sets.get(inode, {}).items())


def unseen(inodes: Collection[int], held: Descriptors, seen: Seen) -> list[int]:
    """The sockets of which some server may not have been seen.

    Those without any, and those that more epoll sets watch than threads were seen to serve.
    """
    sets = watching(inodes, held)
    return [inode for inode in inodes if not seen.of(inode) or unwaited(inode, sets, seen)]


def runs(pid: int) -> bool:
    """Whether a thread of a process runs, or waits for a CPU to run on."""
    return any(_blocked_in(pid, tid).startswith("running") for tid in threads(pid))


class _Look:
    """Looks at processes; what descriptors are is asked once."""

    def __init__(self, wanted: frozenset[int]) -> None:
        self._wanted = wanted
        self._calls = syscalls.numbers()
        self._blocked: set[int] = set()
        self._socket_behind = cache(socket_behind)
        self._watched_by = cache(watched_by)

    def at(self, pid: int, seen: Seen) -> bool:
        """Note who of a process waits for what; whether a thread of it has run each time."""
        everybody = threads(pid)
        calls = {} if is_32bit(pid) else self._calls  # its numbers mean other calls
        for tid in everybody:
            line = _blocked_in(pid, tid)
            if not line.startswith("running"):  # or has ended, or may not be looked at
                self._blocked.add(tid)
            call = syscalls.parse_call(line, calls)
            if call is None:
                continue
            waits = syscalls.waits(call, partial(read_memory, pid, tid))
            inodes = {self._socket_behind(pid, tid, fd) for fd in waits.sockets}
            for epoll in waits.epolls:
                inodes |= self._watched_by(pid, tid, epoll)
            for inode in inodes & self._wanted:
                if inode is not None:
                    seen.note(inode, Thread(pid, tid), Evidence.WAITS)
        return not self._blocked.issuperset(everybody)


def read_memory(pid: int, tid: int, at: int, size: int) -> bytes:
    """Memory of a process: what is there, as far as it can be read."""
    # Through a thread: the main one has no memory any more when it has ended.
    path = f"/proc/{pid}/task/{tid}/mem"
    with suppress(OverflowError), PassingOver(), open(path, "rb") as memory:  # noqa: PTH123
        return os.pread(memory.fileno(), size, at)
    return b""


def _blocked_in(pid: int, tid: int) -> str:
    with PassingOver(), open(f"/proc/{pid}/task/{tid}/syscall") as line:  # noqa: PTH123
        return line.read()
    return ""
