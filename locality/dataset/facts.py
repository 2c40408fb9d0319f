"""Adds a recording up to the rows of a data set: sums for each bin of time and server.

A bin is at most five minutes, and shorter where a recording would have few of them: with 16 bins or
more it can still say how much a share varies. Bins begin at multiples of their length, UTC.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

import numpy as np

from locality.cost.grouping import FEWEST
from locality.cost.histogram import BUCKETS, percentile
from locality.dataset.evidence import CELL, evidence, summed
from locality.dataset.schema import COUNT, EFFECT, EVIDENCE, PERIOD, PRICE, SUMS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import pyarrow as pa

    from locality.arrays import Array
    from locality.recording.format import Meta

#: Lengths of bins, s. Each divides a day, and is at most twice the one before: where `MOST_BINS` of
#: the shorter ones would be too few, there are half as many of the longer ones.
LADDER = (1, 2, 4, 8, 15, 30, 60, 120, 240, 300)
MOST_BINS = 32
DAY = 86_400
_LONGEST = 366 * DAY
#: Of more servers the rest is put together: a host may have any number of ports and names.
MOST_SERVERS = 32

Row = dict[str, Any]
K = TypeVar("K")


class Server(NamedTuple):
    """What is counted apart.

    Attributes:
        measure: accepts, datagrams, reads, packets received or packets sent.
        protocol: tcp or udp; empty if not told apart.
        port: -1 for all.
        outgoing: Whether the host opened the connections; the port is then the peer's.
        name: Of the threads; empty for all.
    """

    measure: str
    protocol: str = ""
    port: int = -1
    outgoing: bool = False
    name: str = ""

    @property
    def rest(self) -> Server:
        """What a server becomes of which there are too many."""
        return Server(self.measure)


class Contents(Protocol):
    """What a kind puts into a data set: a class of its `dataset` module; made for its `Meta`."""

    def __init__(self, meta: Meta, facts: Facts) -> None: ...

    def add(self, rows: pa.RecordBatch) -> None:
        """Add a batch of the recording."""
        ...

    def end(self, lost: int, ended: float | None) -> None:
        """Nothing more comes.

        Args:
            lost: Events that were missed in all.
            ended: When the recorder ended, UTC, seconds since the epoch; None if it was cut.
        """
        ...


class Facts:
    """The sums of one recording, in memory that does not grow with its events."""

    def __init__(self) -> None:
        self._level = 0
        self._first = self._last = -1
        self._counts: dict[tuple[int, Server], Array] = {}
        self._waits: dict[tuple[int, Server], Array] = {}
        self._periods: dict[tuple[int, str], Array] = {}
        self._cells: dict[tuple[int, Server], Array] = {}
        self._programs: dict[tuple[int, Server], str | None] = {}
        self._effects: list[tuple[float, Row]] = []

    def count(self, time_s: float, server: Server, sums: Array) -> None:
        """Add events.

        Args:
            time_s: UTC, seconds since the epoch.
            server: Whose.
            sums: (7,) events in the order of `SUMS`.
        """
        # First the bin: with a longer step the sums are other ones.
        place = self._bin(time_s)
        _add(self._counts, (place, server), sums)

    def wait(self, time_s: float, server: Server, histograms: Array) -> None:
        """Add (2, buckets) times that local and remote reads waited."""
        place = self._bin(time_s)
        _add(self._waits, (place, server), histograms)

    def period(self, time_s: float, measure: str, seconds: float, lost: int = 0) -> None:
        """Add seconds that were measured, and events that were missed in them."""
        place = self._bin(time_s)
        _add(self._periods, (place, measure), np.array([seconds, lost]))

    def span(self, begin_s: float, end_s: float, measure: str, lost: int = 0) -> None:
        """Add all seconds from a time to another one; no more than a year."""
        # A damaged file may say that it ended in the year 9999.
        end_s = min(end_s, begin_s + _LONGEST)
        self._bin(begin_s)
        self._bin(end_s)
        step = LADDER[self._level]
        place = int(begin_s // step) * step
        while place < end_s:
            within = min(place + step, end_s) - max(place, begin_s)
            _add(self._periods, (place, measure), np.array([within, lost]))
            place, lost = place + step, 0

    def cells(self, time_s: float, server: Server, cells: Array) -> None:
        """Add events by thread, CPU and RX CPU: dtype `CELL`; those not known are left out."""
        known = cells[(cells["cpu"] >= 0) & (cells["rxcpu"] >= 0)]
        key = (int(time_s // DAY) * DAY, server)
        before = self._cells.get(key)
        self._cells[key] = summed(known if before is None else np.concatenate([before, known]))

    def program(self, time_s: float, server: Server, program: str | None) -> None:
        """Note the program of a server's group; None: not known."""
        self._programs[int(time_s // DAY) * DAY, server] = program

    def effect(self, time_s: float, row: Row) -> None:
        """Add what a trial shows of an outcome."""
        self._effects.append((time_s, row))

    def rows(self) -> Iterator[tuple[float, Row]]:
        """All of it: the time of each row, UTC, seconds since the epoch, and its values."""
        for (place, measure), (seconds, lost) in sorted(self._periods.items()):
            yield (
                place,
                {
                    "part": PERIOD,
                    "measure": measure,
                    "seconds": float(seconds),
                    "lost": int(lost),
                },
            )
        kept = self._kept()
        counts = _merged(self._counts, kept)
        for (place, server), sums in sorted(counts.items()):
            named = dict(zip(SUMS, sums.tolist(), strict=True))
            yield place, {"part": COUNT, **server._asdict(), **named}
        for (place, server), waits in sorted(_merged(self._waits, kept).items()):
            if (row := _price(waits)) is not None:
                yield place, {"part": PRICE, **server._asdict(), **row}
        for (day, server), cells in sorted(self._cells.items()):
            if server in kept and len(cells):
                program = {"program": self._programs.get((day, server))}
                found = evidence(cells) | program
                yield day, {"part": EVIDENCE, **server._asdict(), **found}
        for time_s, row in self._effects:
            yield time_s, {"part": EFFECT, **row}

    def _kept(self) -> set[Server]:
        """The servers that stay apart: the ones with the most events of each measure."""
        totals: Counter[Server] = Counter()
        for (_, server), sums in self._counts.items():
            totals[server] += int(sums.sum())
        kept: defaultdict[str, list[Server]] = defaultdict(list)
        for server, _ in totals.most_common():
            kept[server.measure].append(server)
        return {server for servers in kept.values() for server in servers[:MOST_SERVERS]}

    def _bin(self, time_s: float) -> int:
        """The beginning of the bin that holds a time; bins become longer as time goes on."""
        second = int(time_s)
        self._first = second if self._first < 0 else min(self._first, second)
        self._last = max(self._last, second)
        longer = self._level
        while longer < len(LADDER) - 1 and self._last - self._first >= MOST_BINS * LADDER[longer]:
            longer += 1
        if longer != self._level:
            self._level = longer
            step = LADDER[longer]
            self._counts = _lengthened(self._counts, step)
            self._waits = _lengthened(self._waits, step)
            self._periods = _lengthened(self._periods, step)
        return second // LADDER[self._level] * LADDER[self._level]


def _add(sums: dict[K, Array], key: K, more: Array) -> None:
    before = sums.get(key)
    sums[key] = more if before is None else before + more


def _lengthened(sums: Mapping[tuple[int, K], Array], step: int) -> dict[tuple[int, K], Array]:
    found: dict[tuple[int, K], Array] = {}
    for (place, key), values in sums.items():
        _add(found, (place // step * step, key), values)
    return found


def _merged(
    sums: Mapping[tuple[int, Server], Array], kept: set[Server]
) -> dict[tuple[int, Server], Array]:
    found: dict[tuple[int, Server], Array] = {}
    for (place, server), values in sums.items():
        _add(found, (place, server if server in kept else server.rest), values)
    return found


def _price(waits: Array) -> Row | None:
    """The medians of a bin; None where too few reads have a time."""
    timed = waits.sum(axis=1)
    if int(timed.min()) < FEWEST:
        return None
    local, remote = (percentile(waits[side], 50) for side in (0, 1))
    return {
        "timed_local": int(timed[0]),
        "timed_remote": int(timed[1]),
        "local_ns": local,
        "remote_ns": remote,
    }


def no_waits() -> Array:
    """(2, buckets) of nothing."""
    return np.zeros((2, BUCKETS), np.int64)


def cells_of(thread: Array, cpu: Array, rxcpu: Array, count: Array) -> Array:
    """Columns as dtype `CELL`."""
    cells = np.zeros(len(cpu), CELL)
    for name, values in zip(CELL.names or (), (thread, cpu, rxcpu, count), strict=True):
        cells[name] = values
    return cells
