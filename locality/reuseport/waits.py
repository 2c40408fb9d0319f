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
from collections.abc import Mapping
from contextlib import suppress
from functools import cache, cached_property, partial
from typing import TYPE_CHECKING

from locality.machine import syscalls
from locality.machine.limits import PassingOver
from locality.machine.processes import is_32bit, threads
from locality.reuseport.descriptors import Holder, socket_behind, watched_by
from locality.reuseport.evidence import Evidence, Seen, Thread

if TYPE_CHECKING:
    from collections.abc import Collection

    from locality.reuseport.descriptors import Descriptors

LOOKS = 8
PAUSE_S = 0.003


def watch(
    inodes: Collection[int], held: Descriptors, looks: int = LOOKS, sets: EpollSets | None = None
) -> Seen:
    """See which threads wait for sockets.

    Args:
        inodes: The sockets.
        held: Who holds them.
        looks: How often to look, if it takes so many: it is over when a thread was seen to wait
            for each socket, and for each epoll set that watches one, and no thread of their
            processes ran whenever it was looked at. One that ran may serve a socket too.
        sets: What epoll sets watch of the sockets, where that was read already.

    Returns:
        Who waits for what, and which processes have threads that always ran.
    """
    wanted = frozenset(inodes)
    pids = sorted(held.holders.pids(wanted))
    sets = sets or EpollSets(wanted, held)
    seen, watching = Seen(), sets.watching
    look = _Look(wanted, sets)
    for number in range(looks):
        if number:
            time.sleep(PAUSE_S)
        awake = {pid for pid in pids if look.at(pid, seen)}
        known = wanted <= {*seen} and not any(unwaited(inode, watching, seen) for inode in wanted)
        if known and not awake:
            break
    seen.awake = frozenset(awake) if pids else frozenset()
    return seen


#: By inode and process: how many epoll sets of the process watch the socket.
Watching = Mapping[int, Counter[int]]


class EpollSets:
    """What epoll sets watch of some sockets. Each set is read once: it may watch thousands.

    Args:
        inodes: The sockets.
        held: Who holds them, and the epoll sets.
    """

    def __init__(self, inodes: Collection[int], held: Descriptors) -> None:
        self._wanted = frozenset(inodes)
        self._held = held
        self._of: dict[Holder, frozenset[int]] = {}

    def of(self, pid: int, tid: int, epoll: int) -> frozenset[int]:
        """Those of the sockets that a set watches which is a descriptor of a thread."""
        table = tid if tid == pid else self._held.tables(pid).get(tid, tid)
        which = Holder(pid, table, epoll)
        if which not in self._of:
            self._of[which] = watched_by(pid, tid, epoll) & self._wanted
        return self._of[which]

    @cached_property
    def watching(self) -> Watching:
        """The epoll sets that watch the sockets."""
        sets: dict[int, Counter[int]] = defaultdict(Counter)
        for pid in self._held.holders.pids(self._wanted):
            for epoll in self._held.epolls.get(pid, ()):
                for inode in self.of(*epoll):
                    sets[inode][pid] += 1
        return sets


def unwaited(inode: int, watching: Watching, seen: Seen) -> bool:
    """Whether more epoll sets watch a socket than threads were seen to serve it, in any process.

    Threads that share a set are not told apart from threads that have one each.
    """
    serving = Counter(thread.pid for thread in seen.of(inode))
    return any(serving[pid] < number for pid, number in watching.get(inode, {}).items())


def unseen(
    inodes: Collection[int], held: Descriptors, seen: Seen, sets: EpollSets | None = None
) -> list[int]:
    """The sockets of which some server may not have been seen.

    Those without any, and those that more epoll sets watch than threads were seen to serve.
    """
    watching = (sets or EpollSets(inodes, held)).watching
    return [inode for inode in inodes if not seen.of(inode) or unwaited(inode, watching, seen)]


def runs(pid: int) -> bool:
    """Whether a thread of a process runs, or waits for a CPU to run on."""
    return any(_blocked_in(pid, tid).startswith("running") for tid in threads(pid))


class _Look:
    """Looks at processes; what descriptors are is asked once."""

    def __init__(self, wanted: frozenset[int], sets: EpollSets) -> None:
        self._wanted = wanted
        self._sets = sets
        self._calls = syscalls.numbers()
        self._blocked: set[int] = set()
        self._socket_behind = cache(socket_behind)

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
                inodes |= self._sets.of(pid, tid, epoll)
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
