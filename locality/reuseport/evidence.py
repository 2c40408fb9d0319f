"""Who serves a socket, and how that is known.

What says that a thread serves a socket has a rank. A probe that saw the thread call accept()
or recvmsg() on it is certain. A thread that waits for it, or for an epoll set that watches
it, will be woken by its connections. Merely holding it says nothing where several threads do:
an nginx master and all its workers hold every socket of the group. Only where one thread
alone holds a socket can no other serve it. Without any of this its servers are not known.

A socket may have several servers: any of the threads that wait for one listener may accept.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator


LOOK_S = 0.25
"""How long to look by probe for servers that /proc does not show, unless told."""


class Evidence(IntEnum):
    """What says that a thread serves a socket, the weakest first."""

    HOLDS = 1
    """It is the only thread that holds the socket, so no other can serve it."""
    WAITS = 2
    """It waits for the socket, or for an epoll set that watches it."""
    SERVES = 3
    """A probe saw it accept a connection, or ask for one; for UDP, read."""


@dataclass(frozen=True, slots=True)
class Worker:
    """A thread that serves a socket.

    Attributes:
        pid: Its process.
        tid: The thread.
        comm: The thread's name.
        cpus: The online CPUs it may run on.
        evidence: What says so.
    """

    pid: int
    tid: int
    comm: str
    cpus: frozenset[int]
    evidence: Evidence = Evidence.WAITS

    @property
    def task(self) -> str:
        """Its numbers in words; see `task`."""
        return task(self.pid, self.tid)


def task(pid: int, tid: int) -> str:
    """``pid 7``, or ``pid 7 tid 9`` for a thread that is not the process's main one."""
    return f"pid {pid}" + (f" tid {tid}" if tid != pid else "")


class Thread(NamedTuple):
    """A thread, as this machine's /proc numbers it."""

    pid: int
    tid: int


@dataclass
class Seen:
    """What was seen of the threads that serve sockets, by the sockets' inodes.

    Attributes:
        awake: Processes with threads that ran whenever /proc was looked at, so that what they
            wait for was not seen.
    """

    awake: frozenset[int] = frozenset()
    _of: dict[int, dict[Thread, Evidence]] = field(default_factory=lambda: defaultdict(dict))

    def note(self, inode: int, thread: Thread, evidence: Evidence) -> bool:
        """Note what was seen; the strongest counts. Whether that is more than was known."""
        threads = self._of[inode]
        before = threads.get(thread)
        threads[thread] = evidence if before is None else max(evidence, before)
        return threads[thread] != before

    def of(self, inode: int) -> dict[Thread, Evidence]:
        """The threads that serve a socket, in order of their numbers; none if not known."""
        return dict(sorted(self._of.get(inode, {}).items()))

    def add(self, other: Seen) -> bool:
        """Note all that another has; who was awake is what it says. Whether that is news."""
        self.awake = other.awake
        news = [
            self.note(inode, thread, evidence)
            for inode, threads in other._of.items()
            for thread, evidence in threads.items()
        ]
        return any(news)

    def keep(self, inode: int, pids: Collection[int]) -> None:
        """Forget the threads of processes that do not hold a socket any more."""
        if inode in self._of:
            threads = self._of[inode].items()
            self._of[inode] = {thread: rank for thread, rank in threads if thread.pid in pids}

    def __iter__(self) -> Iterator[int]:
        """The sockets of which a server is known."""
        return iter([inode for inode, threads in self._of.items() if threads])
