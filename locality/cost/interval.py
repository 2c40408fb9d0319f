"""What one interval of `locality cost` showed: readers, their times, what the machine paid."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from locality import arrays
from locality.arrays import alike
from locality.cost.bill import Bill
from locality.machine.topology import Distance

if TYPE_CHECKING:
    from collections.abc import Mapping

    from locality.arrays import Array

#: What is timed: from the receipt of a packet to its read, and how long the reader took to run
#: after it was woken. The order is that of the probe (probes/read_times.h).
MEASURES = ("wait", "wake_up")
WAIT, WAKE_UP = range(len(MEASURES))

#: Why a read has no time, in the order of the probe. no_stamp: the packet had none, or it could not
#: be seen. other_clock: the clock was set after the packet was stamped. missing_segment: bytes
#: before it were missing, or may have been. long_queue: it was in a long queue when it was read.
#: no_room: there was no histogram left.
LEFT_OUT = ("no_stamp", "other_clock", "missing_segment", "long_queue", "no_room")

DISTANCES = tuple(distance.word for distance in Distance)

#: One process's reads on one port.
#: protocol: 6 for TCP, 17 for UDP. outgoing: the port is the peer's, of a connection that this
#: machine opened. netns: inode of the network namespace. cgroup: its id (v2), 0 if not known.
#: comm: of the thread with the most reads. left_out: reads without a time, by `LEFT_OUT` and by
#: distance.
READER = np.dtype(
    [
        ("netns", "u4"),
        ("port", "u2"),
        ("protocol", "u1"),
        ("outgoing", "u1"),
        ("pid", "u4"),
        ("cgroup", "u8"),
        ("comm", "S16"),
        ("left_out", "u8", (len(LEFT_OUT), len(DISTANCES))),
    ]
)
#: What tells one reader from another.
KEY = ("netns", "pid", "port", "protocol", "outgoing")

#: So many times fell into a bucket of a histogram (`locality.cost.histogram`).
#: reader: its place among the readers. measure: a place in `MEASURES`. distance: a `Distance`.
TIME = np.dtype(
    [
        ("reader", "u4"),
        ("measure", "u1"),
        ("distance", "u1"),
        ("bucket", "u2"),
        ("count", "u8"),
    ]
)
_CELL = ("reader", "measure", "distance", "bucket")


@dataclass(frozen=True)
class CostInterval:
    """How long packets waited in one interval.

    Attributes:
        time: Its end, UTC, seconds since the epoch.
        seconds: Its length.
        rung: The rung that saw it.
        lost: Since the start: reads for which the table had no room, and runs of the probe that
            the kernel skipped.
        clock_steps: How often the clock was set in it, as far as was seen.
        readers: dtype `READER`; none that read nothing.
        times: dtype `TIME`, each cell once.
        bill: What the machine paid in it.
        cgroups: Paths of the readers' cgroups, by id; of those that could be told.
    """

    time: float
    seconds: float
    rung: str
    lost: int
    clock_steps: int
    readers: Array
    times: Array
    bill: Bill = field(default_factory=Bill)
    cgroups: Mapping[int, str] = field(default_factory=dict)

    def __len__(self) -> int:
        """An interval is one event, however many reads it counted."""
        return 1

    def first(self, count: int) -> CostInterval:
        """Itself: an interval cannot be cut."""
        del count
        return self

    def __add__(self, later: CostInterval) -> CostInterval:
        """This interval and the one after it, as one."""
        moved = later.times.copy()
        moved["reader"] += len(self.readers)
        readers, times = together(
            np.concatenate([self.readers, later.readers]),
            np.concatenate([self.times, moved]),
            KEY,
        )
        return CostInterval(
            time=later.time,
            seconds=self.seconds + later.seconds,
            rung=later.rung,
            lost=later.lost,
            clock_steps=self.clock_steps + later.clock_steps,
            readers=readers,
            times=times,
            bill=self.bill + later.bill,
            cgroups={**self.cgroups, **later.cgroups},
        )


def together(readers: Array, times: Array, key: tuple[str, ...]) -> tuple[Array, Array]:
    """Readers that agree in some fields become one, with their sums, and so do their times.

    What is neither in the key nor a sum is that of the one with the most reads. The times are in
    the order of their readers.

    Args:
        readers: dtype `READER`.
        times: dtype `TIME`.
        key: The fields.
    """
    if not len(readers):
        return readers, times
    number = alike(readers, key)
    merged = readers[_busiest(number, reads_of(readers, times).sum(axis=1))]
    merged["left_out"] = 0
    np.add.at(merged["left_out"], number, readers["left_out"])
    moved = times.copy()
    moved["reader"] = number[times["reader"]]
    return merged, summed(moved)


def _busiest(number: Array, reads: Array) -> Array:
    """(groups,) the place of the one with the most reads in each group; the last of several."""
    order = np.lexsort((reads, number))
    last = np.append(np.flatnonzero(np.diff(number[order])), len(order) - 1)
    return np.asarray(order[last])


def summed(times: Array) -> Array:
    """The same with each cell once: dtype `TIME`."""
    cells = arrays.summed(times, _CELL)
    ordered: Array = cells[np.lexsort([cells[name] for name in reversed(_CELL)])]
    return ordered


def timed_of(readers: Array, times: Array) -> Array:
    """(readers, distances) reads that have a time."""
    found = np.zeros((len(readers), len(DISTANCES)), "i8")
    waits = times[times["measure"] == WAIT]
    np.add.at(found, (waits["reader"], waits["distance"]), waits["count"].astype("i8"))
    return found


def reads_of(readers: Array, times: Array) -> Array:
    """(readers, distances) all reads: those that have a time, and those that were left out."""
    left_out = readers["left_out"].reshape(len(readers), len(LEFT_OUT), len(DISTANCES))
    return np.asarray(timed_of(readers, times) + left_out.sum(axis=1).astype("i8"))
