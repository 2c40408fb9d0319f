"""How many CPUs a server's threads can use: what a change must not reduce."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def at_work(allowed: Sequence[frozenset[int]]) -> int:
    """On how many CPUs at once threads can run that may each run on some.

    The size of a maximum matching of threads and CPUs, by shortest augmenting paths. A thousand
    threads may be allowed a thousand CPUs, so nothing here is recursive.
    """
    most = len(frozenset[int]().union(*allowed))
    runner: dict[int, int] = {}
    hopeless = set[frozenset[int]]()  # no later thread with these finds a CPU either
    for thread, cpus in enumerate(allowed):
        if len(runner) == most:
            break
        if cpus not in hopeless and not _runs(thread, allowed, runner):
            hopeless.add(cpus)
    return len(runner)


def _runs(thread: int, allowed: Sequence[frozenset[int]], runner: dict[int, int]) -> bool:
    """Find a CPU for one more thread, for which others may move to CPUs that are free.

    Args:
        thread: Its number in `allowed`.
        allowed: The CPUs that each thread may run on.
        runner: The thread of each CPU that has one; changed.
    """
    reached: dict[int, int] = {}  # CPUs, and the thread that wants to go there
    place = {one: cpu for cpu, one in runner.items()}
    waiting = deque([thread])
    while waiting:
        one = waiting.popleft()
        for cpu in allowed[one].difference(reached):
            reached[cpu] = one
            if cpu in runner:
                waiting.append(runner[cpu])
                continue
            free = cpu
            while (mover := reached[free]) != thread:
                runner[free], free = mover, place[mover]
            runner[free] = thread
            return True
    return False
