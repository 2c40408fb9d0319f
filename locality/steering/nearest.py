"""Which worker for which RX CPU: the map that keeps every packet as near as can be.

A worker on the RX CPU itself is best, then one on the same core, behind the same
last-level cache, on the same NUMA node. `A = cpu % group` gets that right only where
worker i runs on CPU i for every i; with fewer workers than RX CPUs, or in another
order, it sends packets across the machine and leaves workers without any.
"""

from __future__ import annotations

from collections import defaultdict
from heapq import heapreplace
from typing import TYPE_CHECKING

import numpy as np

from locality.machine.topology import Distance

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from locality.machine.topology import Topology
    from locality.reuseport.group import Group

    Distances = np.ndarray[tuple[int, int], np.dtype[np.uint8]]
    #: The worker of each CPU, as a column of the distances.
    Chosen = np.ndarray[tuple[int], np.dtype[np.int64]]


def nearest_map(
    workers: Sequence[frozenset[int]], receiving: Collection[int], machine: Topology
) -> dict[int, int]:
    """Choose a worker for each CPU that receives packets.

    Workers equally near share the CPUs evenly. Where there are as many CPUs as workers, no
    worker is left without one, even if that takes a CPU from a nearer worker: a worker
    without an RX CPU gets no connections at all.

    Args:
        workers: The CPUs each worker may run on, by its index in the group; empty for one
            that nobody serves, which gets nothing.
        receiving: The CPUs that process packets.
        machine: The CPUs' distances.

    Returns:
        Index by CPU, for every CPU of `receiving`; empty if no worker can be told.
    """
    served = [index for index, cpus in enumerate(workers) if cpus]
    cpus = sorted(receiving)
    if not served:
        return {}
    apart = farthest(cpus, [workers[index] for index in served], machine)
    chosen = _nearest(apart)
    if len(cpus) >= len(served):
        _feed_the_starved(apart, chosen)
    return {cpu: served[column] for cpu, column in zip(cpus, chosen.tolist(), strict=True)}


def fitting_map(group: Group, cpus: Iterable[int]) -> dict[int, int]:
    """The CPU: index map that sends what a CPU processes to a worker on that CPU.

    A CPU with several workers gets the one that may run on the fewest CPUs, and then the
    one with the fewest CPUs mapped to it. A CPU without a worker is left to the hash.
    """
    # Hundreds of workers may be allowed the same CPUs. Of those it is the turn of the one with the
    # fewest uses, the lowest index first.
    turns: dict[frozenset[int], list[tuple[int, int]]] = defaultdict(list)
    for index, member in enumerate(group.members):
        turns[member.cpus].append((0, index))
    on: dict[int, list[frozenset[int]]] = defaultdict(list)
    for allowed in turns:
        for cpu in allowed:
            on[cpu].append(allowed)
    indexes: dict[int, int] = {}
    for cpu in sorted(cpus):
        if cpu in on:
            best = min(on[cpu], key=lambda allowed: (len(allowed), turns[allowed][0]))
            uses, index = turns[best][0]
            heapreplace(turns[best], (uses + 1, index))
            indexes[cpu] = index
    return indexes


def farthest(
    cpus: Sequence[int], workers: Sequence[Collection[int]], machine: Topology
) -> Distances:
    """(CPUs, workers): the distance to the farthest CPU that a worker may run on.

    The farthest, for the scheduler may choose it: a worker pinned to the RX CPU is nearer
    than one that may run there among others. Of a worker that is not known: unknown.
    """
    # A thousand workers may be allowed the CPUs of a few nodes: each set is looked at once.
    sets = [frozenset(worker) for worker in workers]
    distinct = {worker: column for column, worker in enumerate(dict.fromkeys(sets))}
    here = np.array(cpus, np.int64)
    apart = np.full((len(cpus), len(distinct)), int(Distance.UNKNOWN), np.uint8)
    for worker, column in distinct.items():
        if worker:
            there = np.array(sorted(worker), np.int64)
            apart[:, column] = machine.distance(here[:, None], there[None, :]).max(axis=1)
    return apart[:, [distinct[worker] for worker in sets]]


def _nearest(apart: Distances) -> Chosen:
    """For each CPU the nearest worker; among equals the one with the fewest CPUs so far.

    CPUs with the fewest choices choose first: who has one nearest worker takes it before
    those that can go elsewhere at the same distance.
    """
    nearest = apart == apart.min(axis=1, keepdims=True)
    chosen = np.full(len(apart), -1)
    load = np.zeros(apart.shape[1], np.int64)
    for cpu in np.argsort(nearest.sum(axis=1), kind="stable"):
        columns = np.flatnonzero(nearest[cpu])
        chosen[cpu] = columns[np.argmin(load[columns])]
        load[chosen[cpu]] += 1
    return chosen


def _feed_the_starved(apart: Distances, chosen: Chosen) -> None:
    """Give each worker without a CPU the one whose move costs least distance.

    Among those that cost the same, it takes one from the worker with the most CPUs.
    """
    rows = np.arange(len(chosen))
    load = np.bincount(chosen, minlength=apart.shape[1])
    for column in np.flatnonzero(load == 0):
        cost = apart[:, column].astype(np.int64) - apart[rows, chosen]
        # Distance first, then load, which is at most the number of CPUs; then the lowest CPU.
        cost = cost * (len(chosen) + 1) - load[chosen]
        row = np.argmin(np.where(load[chosen] > 1, cost, np.iinfo(np.int64).max))
        load[chosen[row]] -= 1
        load[column] += 1
        chosen[row] = column
