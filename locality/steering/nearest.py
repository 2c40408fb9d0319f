"""Which worker for which RX CPU: the map that keeps every packet as near as can be.

A worker on the RX CPU itself is best, then one on the same core, behind the same
last-level cache, on the same NUMA node. `A = cpu % group` gets that right only where
worker i runs on CPU i for every i; with fewer workers than RX CPUs, or in another
order, it sends packets across the machine and leaves workers without any.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from locality.machine.topology import Distance

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from locality.machine.topology import Topology

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
