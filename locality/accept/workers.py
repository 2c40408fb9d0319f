"""Who accepted how much, and whose connections it missed: counted batch by batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from locality.recording.arrow import numbers, values_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from locality.arrays import Array

#: Bits of the CPU and of the RX CPU in a key: there are no more than 2^14 CPUs.
_CPU_BITS, _RXCPU_BITS = 14, 15
_WORKER_SHIFT = _RXCPU_BITS
_RXCPU_MASK, _CPU_MASK = (1 << _RXCPU_BITS) - 1, (1 << _CPU_BITS) - 1
#: So many pairs of a worker and an RX CPU are kept: as many as a thousand CPUs with a worker each
#: have. Of a server that forks for each connection, the busiest are kept and the others summed up.
MOST_KEPT = 1 << 20
#: There are no misses; there are some, but the stack noted no RX CPU for them.
NO_MISSES, NO_RX_CPU = -2, -1


class Workers(NamedTuple):
    """Each process on each CPU that it accepted on, the busiest first.

    Attributes:
        pid: (workers,)
        cpu: (workers,)
        comm: The thread's name at its first accept, as the kernel gave it.
        accepts: (workers,)
        local: (workers,) those on their RX CPU.
        missed_from: (workers,) the RX CPU of most of the others, or `NO_MISSES` or `NO_RX_CPU`.
        others: Accepts of workers that were left out: there were too many.
    """

    pid: Array
    cpu: Array
    comm: Sequence[bytes]
    accepts: Array
    local: Array
    missed_from: Array
    others: int


class WorkerCounts:
    """Counts the accepts of each worker, in bounded memory."""

    def __init__(self) -> None:
        self._keys = np.zeros(0, np.int64)
        self._counts = np.zeros(0, np.int64)
        self._new: list[tuple[Array, Array]] = []
        self._new_rows = 0
        self._others = 0
        #: Workers, ascending, and each one's name as an index of the names.
        self._workers = np.zeros(0, np.int64)
        self._worker_names = np.zeros(0, np.int32)
        self._names: dict[bytes, int] = {}

    def add(
        self, pid: Array, cpu: Array, rxcpu: Array, comm: Array, names: Sequence[bytes]
    ) -> None:
        """Count connections.

        Args:
            pid: (rows,)
            cpu: (rows,)
            rxcpu: (rows,) -1 for none.
            comm: (rows,) indices of names.
            names: Distinct names of threads.
        """
        if not len(pid):
            return
        keys = pid.astype(np.int64) << (_CPU_BITS + _RXCPU_BITS)
        keys |= cpu.astype(np.int64) << _RXCPU_BITS | (rxcpu.astype(np.int64) + 1)
        encoded = numbers(keys).dictionary_encode()
        codes, distinct = values_of(encoded.indices), values_of(encoded.dictionary)
        # Codes are given in the order in which values come first.
        first = np.flatnonzero(np.diff(np.maximum.accumulate(codes), prepend=-1))
        self._new.append((distinct, np.bincount(codes)))
        self._new_rows += len(distinct)
        self._name(distinct >> _WORKER_SHIFT, comm[first], names)
        if self._new_rows > MOST_KEPT:
            self._fold()

    def _name(self, workers: Array, comm: Array, names: Sequence[bytes]) -> None:
        """Note the names of workers that are new."""
        at = np.searchsorted(self._workers, workers)
        known = np.zeros(len(workers), np.bool_)
        inside = at < len(self._workers)
        known[inside] = self._workers[at[inside]] == workers[inside]
        if known.all():
            return
        new, place = np.unique(workers[~known], return_index=True)
        codes = [
            self._names.setdefault(names[code], len(self._names))
            for code in comm[~known][place].tolist()
        ]
        merged = np.concatenate([self._workers, new])
        order = np.argsort(merged, kind="stable")
        self._workers = merged[order]
        self._worker_names = np.concatenate([self._worker_names, np.array(codes, np.int32)])[order]

    def _fold(self) -> None:
        """Add what came since to the counts; keep the largest ones if they are too many."""
        every = np.concatenate([self._keys, *(keys for keys, _ in self._new)])
        counts = np.concatenate([self._counts, *(counts for _, counts in self._new)])
        self._new.clear()
        self._new_rows = 0
        self._keys, place = np.unique(every, return_inverse=True)
        self._counts = np.bincount(place, counts, len(self._keys)).astype(np.int64)
        if len(self._keys) <= MOST_KEPT:
            return
        large = np.sort(np.argsort(self._counts, kind="stable")[-MOST_KEPT // 2 :])
        self._others += int(self._counts.sum() - self._counts[large].sum())
        self._keys, self._counts = self._keys[large], self._counts[large]
        kept = np.isin(self._workers, self._keys >> _WORKER_SHIFT)
        self._workers, self._worker_names = self._workers[kept], self._worker_names[kept]

    def table(self) -> Workers:
        """All that were counted."""
        self._fold()
        keys, counts = self._keys, self._counts
        cpu, rxcpu = keys >> _RXCPU_BITS & _CPU_MASK, (keys & _RXCPU_MASK) - 1
        workers, worker = np.unique(keys >> _WORKER_SHIFT, return_inverse=True)
        here = np.where(cpu == rxcpu, counts, 0)
        accepts, local = (
            np.bincount(worker, some, len(workers)).astype(np.int64) for some in (counts, here)
        )
        missed = np.full(len(workers), NO_MISSES)
        # In ascending order, the last that is written is the largest.
        away = np.flatnonzero(cpu != rxcpu)
        away = away[np.argsort(counts[away], kind="stable")]
        missed[worker[away]] = rxcpu[away]
        names = [*self._names]
        comm = self._worker_names[np.searchsorted(self._workers, workers)].tolist()
        order = np.argsort(-accepts, kind="stable")
        return Workers(
            pid=workers[order] >> _CPU_BITS,
            cpu=workers[order] & _CPU_MASK,
            comm=[names[comm[place]] for place in order.tolist()],
            accepts=accepts[order],
            local=local[order],
            missed_from=missed[order],
            others=self._others,
        )
