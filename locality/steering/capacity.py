"""How many CPUs a server's threads can use: what a change must not reduce."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def at_work(allowed: Sequence[frozenset[int]]) -> int:
    """On how many CPUs at once threads can run that may each run on some.

    The size of a maximum matching of threads and CPUs, by augmenting paths.
    """
    runner: dict[int, int] = {}

    def finds_one(thread: int, tried: set[int]) -> bool:
        for cpu in allowed[thread]:
            if cpu not in tried:
                tried.add(cpu)
                if cpu not in runner or finds_one(runner[cpu], tried):
                    runner[cpu] = thread
                    return True
        return False

    return sum(finds_one(thread, set()) for thread in range(len(allowed)))
