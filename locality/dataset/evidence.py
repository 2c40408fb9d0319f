"""What pairs of CPUs tell of the cause, in a few sums, so that the pairs need not be kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from locality import arrays

if TYPE_CHECKING:
    from locality.arrays import Array

#: So many events of one thread, CPU and RX CPU; a thread of -1 is not known.
CELL = np.dtype([("thread", "i8"), ("cpu", "i4"), ("rxcpu", "i4"), ("count", "i8")])
_KEY = ("thread", "cpu", "rxcpu")


def summed(cells: Array) -> Array:
    """The same cells, each key once: dtype `CELL`."""
    return arrays.summed(cells, _KEY)


def evidence(cells: Array) -> dict[str, float | int | None]:
    """The sums by their column in a data set (`locality.dataset.schema`).

    Args:
        cells: dtype `CELL`, with both CPUs known (0 and up); at least one.
    """
    cpus, cpu = np.unique(cells["cpu"], return_inverse=True)
    rxcpus, rxcpu = np.unique(cells["rxcpu"], return_inverse=True)
    pairs = np.zeros((len(rxcpus), len(cpus)), np.int64)
    np.add.at(pairs, (rxcpu, cpu), cells["count"])
    known = int(pairs.sum())
    received, served = pairs.sum(axis=1), pairs.sum(axis=0)
    same = rxcpus[:, None] == cpus[None, :]
    threads, thread = np.unique(cells["thread"], return_inverse=True)
    threads_seen = bool((threads >= 0).all())
    moved = None
    if threads_seen:
        ran = np.zeros((len(threads), len(cpus)), np.int64)
        np.add.at(ran, (thread, cpu), cells["count"])
        moved = known - int(ran.max(axis=1).sum())
    workers = len(threads) if threads_seen else len(cpus)
    return {
        "known": known,
        "local": int(pairs[same].sum()),
        "by_chance": float((received[:, None] * served[None, :])[same].sum() / known),
        "no_worker": int(received[~np.isin(rxcpus, cpus)].sum()),
        "reachable": int(np.sort(received)[::-1][:workers].sum()),
        "mapped": int(pairs.max(axis=1).sum()),
        "busiest": int(received.max()),
        "moved": moved,
        "rx_cpus": len(rxcpus),
        "worker_cpus": len(cpus),
        "threads": len(threads) if threads_seen else None,
    }
