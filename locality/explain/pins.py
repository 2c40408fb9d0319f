"""Which thread to pin to which CPU."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from locality.explain.causes import Share
    from locality.reuseport.evidence import Worker
    from locality.reuseport.group import Group


def thread_of_each(share: Share) -> list[Worker] | None:
    """The thread of each socket; None unless each has one, known and its own."""
    threads = [member.workers for member in share.found.group.members]
    known = [workers[0] for workers in threads if len(workers) == 1]
    tids = {worker.tid for worker in known}
    accepted = {tid for accepting in share.threads.values() for tid in accepting}
    if len(known) < len(threads) or len(tids) < len(known) or not accepted <= tids:
        return None
    return known


def homes_for(
    share: Share, threads: Sequence[Worker], receiving: Iterable[int], online: Iterable[int]
) -> list[int]:
    """A CPU for each thread, of those it may run on.

    Who is pinned to one stays there: somebody wanted that. The others get the RX CPUs that are
    left, the busiest first, and then other CPUs that are free.
    """
    received = share.received
    cpus = sorted(receiving, key=lambda cpu: (-received[cpu], cpu))
    cpus += sorted(set(online).difference(cpus))
    homes = {place: min(one.cpus) for place, one in enumerate(threads) if len(one.cpus) == 1}
    for cpu in cpus:
        if cpu in homes.values():
            continue
        free = [i for i, one in enumerate(threads) if i not in homes and cpu in one.cpus]
        if free:
            homes[min(free, key=lambda place: (len(threads[place].cpus), place))] = cpu
    for place, one in enumerate(threads):  # more threads than CPUs: they share
        uses = Counter(homes.values())
        choice = [cpu for cpu in cpus if cpu in one.cpus] or sorted(one.cpus)
        homes.setdefault(place, min(choice, key=lambda cpu: uses[cpu]))
    return [homes[place] for place in range(len(threads))]


def pinned_to(group: Group, homes: Sequence[int]) -> Group:
    """The group with the one worker of each socket on its CPU."""
    members = (
        replace(member, workers=(replace(member.workers[0], cpus=frozenset({home})),))
        for member, home in zip(group.members, homes, strict=True)
    )
    return replace(group, members=tuple(members))
