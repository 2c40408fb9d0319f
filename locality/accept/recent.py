"""Accepted connections of the last seconds, ready to be shown.

Connections are counted by the second in which they were accepted, as the records say, so
that a recording played back shows what the run showed. What is shown is whole seconds,
made anew when one is over.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from locality.accept.batch import WAIT_KNOWN
from locality.accept.histogram import LogHistogram
from locality.dashboard.sparkline import Minute

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from locality.accept.batch import AcceptBatch, Records
    from locality.arrays import Array

#: Seconds that workers, heat map and queue wait look back.
WINDOW = 10
_NS = 10**9


@dataclass(frozen=True)
class Cells:
    """Connections by process, accept CPU and RX CPU; as many as there are such triples.

    Attributes:
        keys: (n,) uint64, ascending: pid, CPU, RX CPU + 1, in 32, 16 and 16 bits.
        counts: (n,) int64.
    """

    keys: Array
    counts: Array

    @classmethod
    def of(cls, records: Records) -> Cells:
        """Count records."""
        keys = records["pid"].astype(np.uint64) << np.uint64(32)
        keys |= records["cpu"].astype(np.uint64) << np.uint64(16)
        keys |= (records["rxcpu"] + 1).astype(np.uint64) & np.uint64(0xFFFF)
        return cls(*np.unique(keys, return_counts=True))

    @classmethod
    def sum(cls, pieces: Sequence[Cells]) -> Cells:
        """All of them together."""
        if not pieces:
            return cls(np.zeros(0, np.uint64), np.zeros(0, np.int64))
        keys, index = np.unique(
            np.concatenate([piece.keys for piece in pieces]), return_inverse=True
        )
        counts = np.zeros(len(keys), np.int64)
        np.add.at(counts, index, np.concatenate([piece.counts for piece in pieces]))
        return cls(keys, counts)

    @property
    def pid(self) -> Array:
        """Process ids, int64."""
        return (self.keys >> np.uint64(32)).astype(np.int64)

    @property
    def cpu(self) -> Array:
        """CPUs that accepted, int64."""
        return (self.keys >> np.uint64(16)).astype(np.int64) & 0xFFFF

    @property
    def rxcpu(self) -> Array:
        """RX CPUs, int64; -1 for none."""
        return (self.keys.astype(np.int64) & 0xFFFF) - 1

    @property
    def local(self) -> int:
        """How many were accepted on their RX CPU."""
        return int(self.counts[self.cpu == self.rxcpu].sum())


@dataclass
class _Second:
    number: int
    pieces: list[Cells] = field(default_factory=list)
    waits: LogHistogram = field(default_factory=LogHistogram)

    def merge(self) -> None:
        if len(self.pieces) > 1:
            self.pieces = [Cells.sum(self.pieces)]


@dataclass(frozen=True)
class View:
    """What is shown; does not change any more.

    Attributes:
        elapsed: Seconds since the start.
        lost: As of `AcceptBatch`, since the start.
        total: Connections since the start.
        total_local: Local connections since the start.
        rate: Connections/s in the last whole second.
        local: Percent of the connections of that second that were local; None without any.
        minute: This percentage for each of the last 60 seconds, oldest first.
        seconds: How many seconds `cells` and `waits` look back; 0 at the very start.
        cells: Connections by process and CPUs.
        names: Of the processes in `cells`, as the kernel gave them.
        waits: Times in the accept queue, ns.
    """

    elapsed: float = 0
    lost: int = 0
    total: int = 0
    total_local: int = 0
    rate: float = 0
    local: float | None = None
    minute: Sequence[float | None] = ()
    seconds: float = 0
    cells: Cells = field(default_factory=lambda: Cells.sum([]))
    names: dict[int, bytes] = field(default_factory=dict)
    waits: LogHistogram = field(default_factory=LogHistogram)


class RecentAccepts:
    """Counts batches, second by second.

    Args:
        clock: Nanoseconds; tells how time goes on where no connection does.
    """

    def __init__(self, clock: Callable[[], int] = time.monotonic_ns) -> None:
        self._clock = clock
        self._read_at = clock()
        #: Since the start, ns; and what to subtract from a record's time to get there.
        self._elapsed = 0
        self._start: int | None = None
        self._seconds: deque[_Second] = deque()
        self._minute = Minute()
        self._names: dict[int, bytes] = {}
        self._shown = -1
        self._total = 0
        self._total_local = 0
        self._lost = 0
        self.view = View()

    def write(self, batch: AcceptBatch) -> bool:
        """Count a batch; tell whether there is a new view."""
        self._lost = batch.lost
        records = batch.records
        since = self._times(records)
        numbers = since // _NS
        different = np.unique(numbers).tolist()
        for number in different:
            # Nearly always all of one second; selecting would copy every record.
            alone = len(different) == 1
            self._count(number, records if alone else records[numbers == number])
        now = self._elapsed // _NS
        # A second that has just begun may still get records; the ones before are whole.
        if now == self._shown and now > 0:
            return False
        self._shown = now
        self.view = self._look(now)
        return True

    def _times(self, records: Records) -> np.ndarray[tuple[int], np.dtype[Any]]:
        """When the records' connections were accepted, ns since the start; time goes on."""
        read_at = self._clock()
        passed, self._read_at = read_at - self._read_at, read_at
        times = records["time"].astype(np.int64)
        if not len(times):
            self._elapsed += passed
            return times
        newest = int(times.max())
        if self._start is None:
            self._start = newest - self._elapsed - passed
        self._elapsed = max(self._elapsed, newest - self._start)
        return np.maximum(times - self._start, 0)

    def _count(self, number: int, records: Records) -> None:
        cells = Cells.of(records)
        self._total += len(records)
        self._total_local += cells.local
        self._minute.add(number, cells.local, len(records))
        second = next((one for one in self._seconds if one.number == number), None)
        if second is None:
            second = _Second(number)
            self._seconds.append(second)
        second.pieces.append(cells)
        second.waits.add(records["wait"][(records["flags"] & WAIT_KNOWN) != 0])
        for pid in set(cells.pid.tolist()) - self._names.keys():
            self._names[pid] = bytes(records["comm"][np.argmax(records["pid"] == pid)])

    def _look(self, now: int) -> View:
        while self._seconds and self._seconds[0].number < now - WINDOW:
            self._seconds.popleft()
        # In the very first second the running one is all there is.
        whole = [one for one in self._seconds if one.number < max(now, 1)]
        for second in whole:
            second.merge()
        cells = Cells.sum([piece for second in whole for piece in second.pieces])
        # Processes come and go; names are kept of those that are shown or still running up.
        alive = set(cells.pid.tolist())
        shown = {pid: self._names[pid] for pid in alive}
        if now:
            for second in self._seconds:
                alive.update(*(piece.pid.tolist() for piece in second.pieces))
            self._names = {pid: self._names[pid] for pid in alive}
        waits = sum((second.waits for second in whole), LogHistogram())
        last = max(now - 1, 0)
        local, accepts = self._minute.at(last)
        seconds = min(float(now), WINDOW) or self._elapsed / _NS
        return View(
            elapsed=self._elapsed / _NS,
            lost=self._lost,
            total=self._total,
            total_local=self._total_local,
            rate=accepts / min(seconds, 1) if seconds else 0,
            local=100 * local / accepts if accepts else None,
            minute=self._minute.percents(last),
            seconds=seconds,
            cells=cells,
            names=shown,
            waits=waits,
        )
