"""The threads that serve sockets, with their names and CPUs, from all that says who does.

`waits` sees in /proc who waits; `look` sees by probe who is called for; a probe that runs for
another purpose may have seen who accepts. A socket for which none of these knows anybody has
no worker here, which means that its workers are not known.
"""

from __future__ import annotations

from contextlib import suppress
from functools import cache, partial
from typing import TYPE_CHECKING

from locality.errors import LocalityError
from locality.machine.processes import allowed_cpus, thread_name, threads
from locality.machine.topology import online_cpus
from locality.reuseport import waits
from locality.reuseport.descriptors import descriptors, held_sockets
from locality.reuseport.evidence import Evidence, Seen, Thread, Worker
from locality.reuseport.servers import moves_between_threads

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from locality.reuseport.descriptors import Descriptors

__all__ = ["Worker", "find"]


def find(
    inodes: Collection[int],
    held: Descriptors | None = None,
    known: Seen | None = None,
    look: float = 0,
) -> dict[int, tuple[Worker, ...]]:
    """The workers of sockets, by socket inode.

    Processes that may not be looked into are passed over: a socket without a worker in
    the answer has none, or none that we may see.

    Args:
        inodes: The sockets.
        held: What `descriptors` answered, to save reading it again.
        known: What was seen before, perhaps by a probe; what is seen now is added to it.
        look: Seconds to look by probe for those that /proc does not show; 0 for not at all.
            A kernel that refuses the probe is no error: they stay unknown.
    """
    held = held or descriptors({*inodes})
    seen = known if known is not None else Seen()
    wanted = [inode for inode in inodes if inode in held.holders]
    for inode in {*inodes}.intersection(seen):
        seen.keep(inode, held.holders.pids([inode]))
    sets = waits.EpollSets(wanted, held)
    seen.add(waits.watch(wanted, held, sets=sets))
    awake = held.holders.held_by(seen.awake).intersection(wanted)
    hidden = {*waits.unseen(wanted, held, seen, sets), *awake}
    if look and hidden:
        with suppress(LocalityError):
            from locality.reuseport import look as by_probe  # noqa: PLC0415 - loads libbpf

            by_probe.look(hidden, held, seen, look)
    describe = cache(partial(_worker, frozenset(online_cpus())))
    moves = cache(moves_between_threads)
    found = {}
    for inode in inodes:
        serving = _with_all_that_may(seen.of(inode), moves) or only_holder(inode, held)
        workers = (describe(thread, rank) for thread, rank in serving.items())
        # A thread without CPUs has just ended.
        found[inode] = tuple(worker for worker in workers if worker.cpus)
    return found


def _with_all_that_may(
    serving: dict[Thread, Evidence], moves: Callable[[int], bool]
) -> dict[Thread, Evidence]:
    """The threads, and of a server whose work moves between threads all the others too.

    Which of them waits at the moment of a look, or accepted last, is chance.
    """
    moving = {thread.pid for thread in serving if moves(thread.pid)}
    others = (Thread(pid, tid) for pid in sorted(moving) for tid in threads(pid))
    return dict.fromkeys(others, Evidence.WAITS) | serving


def only_holder(inode: int, held: Descriptors) -> dict[Thread, Evidence]:
    """The thread that alone holds a socket, if it is one."""
    holders = {(pid, table) for pid, table, _ in held.holders.get(inode, ())}
    if len(holders) != 1:  # threads that have it in different tables are several
        return {}
    ((pid, table),) = holders
    sharing = [Thread(pid, tid) for tid, whose in held.tables(pid).items() if whose == table]
    return dict.fromkeys(sharing, Evidence.HOLDS) if len(sharing) == 1 else {}


def of_others(pid: int, fds: Collection[int]) -> list[int]:
    """The processes that serve sockets of a process which serves none of them itself.

    Args:
        pid: The process, such as the master of an nginx.
        fds: Its sockets.
    """
    if not fds:
        return []
    sockets = {inode for fd, inode in held_sockets(pid).items() if fd in fds}
    held = descriptors(sockets)
    serving = {worker.pid for workers in find(sockets, held).values() for worker in workers}
    return [] if pid in serving else sorted(serving)


def _worker(online: frozenset[int], thread: Thread, rank: Evidence) -> Worker:
    pid, tid = thread
    cpus = allowed_cpus(pid, tid, online=online)
    return Worker(pid, tid, thread_name(pid, tid), cpus, rank)
