"""The histograms and counts of probes/read_times.h, and what they grew by."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from locality.bpf.btf import check_layout
from locality.bpf.counters import Counters
from locality.cost.histogram import BUCKETS
from locality.cost.interval import DISTANCES, LEFT_OUT, MEASURES, TIME, reads_of, timed_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from locality.arrays import Array
    from locality.bpf.object import Object

#: Threads and ports of each probe, and histograms for them: one row has two or four as a rule.
MAX_ROWS = 2048
MAX_HISTOGRAMS = 4096

#: `struct read_times`. histograms: one more than the index, 0 for none; by measure and distance.
#: left_out: by reason and distance.
READ_TIMES = np.dtype(
    [
        ("histograms", "u4", (len(MEASURES) * len(DISTANCES),)),
        ("left_out", "u8", (len(LEFT_OUT) * len(DISTANCES),)),
    ]
)
#: `struct read_histogram`.
READ_HISTOGRAM = np.dtype([("counts", "u4", (BUCKETS,)), ("reserved", "u4", (14,))])

#: 1 << NOTE_BITS_OF_THREADS, 1 << NOTE_BITS_OF_SOCKETS.
_THREAD_NOTES, _SOCKET_NOTES = 1 << 14, 1 << 12

CONSTANTS: Mapping[str, Any] = {
    "counts_times": True,
    "max_histograms": MAX_HISTOGRAMS,
    "max_read_rows": MAX_ROWS,
}


def sized(obj: Object, *, own_notes: bool = True) -> Object:
    """An object with the tables of probes/read_times.h, checked and of the right size.

    Args:
        obj: Not loaded yet; it has `CONSTANTS`.
        own_notes: Whether it has a table of threads of its own, and not another object's.
    """
    check_layout(READ_TIMES, obj.btf.struct("read_times"), "read_times")
    check_layout(READ_HISTOGRAM, obj.btf.struct("read_histogram"), "read_histogram")
    obj.resize("read_times", MAX_ROWS)
    obj.resize("read_histograms", MAX_HISTOGRAMS)
    obj.resize("queue_notes", _SOCKET_NOTES)
    if own_notes:
        obj.resize("reader_notes", _THREAD_NOTES)
    return obj


class Times:
    """The times of one probe.

    Args:
        obj: Loaded, and `sized` before.
    """

    def __init__(self, obj: Object) -> None:
        self._variables = obj.bss
        self._times = Counters(obj, "read_times", READ_TIMES, (MAX_ROWS,))
        self._histograms = Counters(obj, "read_histograms", READ_HISTOGRAM, (MAX_HISTOGRAMS,))
        self._left_out = np.zeros((MAX_ROWS, len(LEFT_OUT), len(DISTANCES)), "u8")
        self._counts = np.zeros((MAX_HISTOGRAMS, BUCKETS), "u4")

    def set_clock(self, offset: int, first_stamp: int) -> None:
        """Tell the probe the time.

        Args:
            offset: CLOCK_REALTIME less CLOCK_MONOTONIC, ns.
            first_stamp: CLOCK_REALTIME, ns: stamps from before are of another setting of the clock.
        """
        self._variables["first_stamp"] = first_stamp
        self._variables["real_offset"] = offset

    def read(self, rows: int) -> tuple[Array, Array]:
        """What the first rows grew by since the last call.

        Returns:
            (rows, reasons, distances) reads without a time; and the others, dtype `TIME`, with
            the number of the row as reader.
        """
        now = self._times.read(rows)
        so_far = now["left_out"].reshape(rows, len(LEFT_OUT), len(DISTANCES))
        left_out = so_far - self._left_out[:rows]
        self._left_out[:rows] = so_far
        given = now["histograms"].reshape(rows, len(MEASURES), len(DISTANCES))
        # A number beyond the table was given when it was full.
        row, measure, distance = np.nonzero((given > 0) & (given <= MAX_HISTOGRAMS))
        histogram = given[row, measure, distance].astype("i8") - 1
        used = min(int(self._variables["used_histograms"]), MAX_HISTOGRAMS)
        counts = self._histograms.read(used)["counts"][histogram]
        # Counts of 32 bits may have wrapped around.
        grown = counts - self._counts[histogram]
        self._counts[histogram] = counts
        place, bucket = np.nonzero(grown)
        times = np.zeros(len(place), TIME)
        times["reader"], times["measure"] = row[place], measure[place]
        times["distance"], times["bucket"] = distance[place], bucket
        times["count"] = grown[place, bucket]
        return left_out, times


def some(readers: Array, times: Array) -> tuple[Array, Array]:
    """Readers that read anything, and their times: dtypes `READER` and `TIME`."""
    there = np.flatnonzero(reads_of(readers, times).any(axis=1))
    times["reader"] = np.searchsorted(there, times["reader"])
    return readers[there], times


def without_times(readers: Array, times: Array) -> tuple[Array, Array]:
    """The same, with all times left out: the clock was set."""
    readers["left_out"][:, LEFT_OUT.index("other_clock")] += timed_of(readers, times).astype("u8")
    return readers, times[:0]
