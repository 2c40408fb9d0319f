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
    return {cpu: served[column] for cpu, column in zip(cpus, chosen, strict=True)}


def farthest(
    cpus: Sequence[int], workers: Sequence[Collection[int]], machine: Topology
) -> Distances:
    """(CPUs, workers): the distance to the farthest CPU that a worker may run on.

    The farthest, for the scheduler may choose it: a worker pinned to the RX CPU is nearer
    than one that may run there among others. Of a worker that is not known: unknown.
    """
    here = np.array(cpus, np.int64)
    apart = np.full((len(cpus), len(workers)), int(Distance.UNKNOWN), np.uint8)
    for column, worker in enumerate(workers):
        if worker:
            each = [machine.distance(here, np.full_like(here, cpu)) for cpu in sorted(worker)]
            apart[:, column] = np.max(each, axis=0)
    return apart


def _nearest(apart: Distances) -> list[int]:
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
    return [int(column) for column in chosen]


def _feed_the_starved(apart: Distances, chosen: list[int]) -> None:
    """Give each worker without a CPU the one whose move costs least distance."""
    for column in range(apart.shape[1]):
        if column in chosen:
            continue
        load = np.bincount(chosen, minlength=apart.shape[1])
        costs = {
            row: (int(apart[row, column]) - int(apart[row, owner]), -int(load[owner]))
            for row, owner in enumerate(chosen)
            if load[owner] > 1
        }
        chosen[min(costs, key=lambda row: costs[row])] = column
