"""What the report says of times of reads: how long packets waited, local and remote ones."""

from __future__ import annotations

from functools import reduce
from operator import add
from typing import TYPE_CHECKING

import numpy as np

from locality.cost.grouping import CAUTION, LOCAL, REMOTE, rows_of
from locality.cost.histogram import BUCKETS, MIDDLES, percentile
from locality.cost.interval import DISTANCES, WAIT, WAKE_UP, reads_of
from locality.cost.text import bill_lines, left_out_text
from locality.machine.distance import distance_text
from locality.machine.topology import Distance
from locality.reads.outputs import DEFAULT
from locality.reporting import figures as draw
from locality.reporting.blocks import Measure, picture
from locality.reporting.over_time import OverTime
from locality.reporting.page import Section, Table
from locality.reporting.sections import lost_runs
from locality.reporting.statistics import Series
from locality.text import counted, duration, percent, share

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from locality.arrays import Array
    from locality.cost.interval import CostInterval
    from locality.machine.distance import Counts
    from locality.recording.recording import Recording
    from locality.reporting.blocks import Block, Named

MOST_ROWS = 30
#: So many points draw a curve.
_POINTS = 1000


def _total(recording: Recording) -> CostInterval | None:
    total: CostInterval | None = recording.cost.total
    return total


def _reads(recording: Recording) -> Array:
    """(distances,) all reads."""
    total = _total(recording)
    if total is None:
        return np.zeros(len(DISTANCES), "i8")
    return np.asarray(reads_of(total.readers, total.times).sum(axis=0))


def events(recording: Recording) -> int:
    """Reads."""
    return int(_reads(recording).sum())


def headline(recording: Recording) -> str:
    """How many reads, how many of them remote, and how much later those came."""
    reads = _reads(recording)
    what = counted(int(reads.sum()), "read")
    known = int(reads.sum() - reads[Distance.UNKNOWN])
    if not known:
        return what
    medians = [
        f"p50 {duration(percentile(_times(recording, side), 50))} {name}"
        for name, side in (("local", LOCAL), ("remote", REMOTE))
        if _times(recording, side).any()
    ]
    away = percent(share(int(reads[[*REMOTE]].sum()), known), 2)
    return f"{what}, {away} remote; from receipt to read {', '.join(medians) or '?'}"


def cautions(recording: Recording) -> Iterator[str]:
    """What was lost or left out, and how far the times are to be believed."""
    yield from lost_runs(recording, "read")
    total = _total(recording)
    if total is None:
        return
    if total.clock_steps:
        yield f"the clock was set {counted(total.clock_steps, 'time')}: reads around have no time"
    if left_out := int(total.readers["left_out"].sum()):
        yield f"of {left_out:,} of {events(recording):,} reads there is no time; the table says why"
    if events(recording):
        yield CAUTION.removesuffix(".")


def _times(recording: Recording, side: Sequence[Distance]) -> Array:
    """(buckets,) the times from receipt to read over some distances."""
    counts = np.zeros(BUCKETS, "i8")
    total = _total(recording)
    if total is not None:
        times = total.times
        own = times[(times["measure"] == WAIT) & np.isin(times["distance"], [*side])]
        np.add.at(counts, own["bucket"], own["count"].astype("i8"))
    return counts


def _curve(counts: Array) -> Array:
    """(points,) times in ascending order that stand for a histogram, ns."""
    rank = np.linspace(1, counts.sum(), min(_POINTS, int(counts.sum())))
    return np.asarray(MIDDLES[np.searchsorted(np.cumsum(counts), rank)])


def blocks(prefix: str, recording: Recording) -> Iterator[Block]:
    """Figures and tables of a recording of times."""
    total = _total(recording)
    if total is None or not events(recording):
        return
    yield f"Reads by distance: {distance_text(_by_distance(recording), recording.meta.machine)}."
    sides = {"local": _times(recording, LOCAL), "remote": _times(recording, REMOTE)}
    curves = {name: _curve(counts) for name, counts in sides.items() if counts.any()}
    if curves:
        yield picture(
            f"{prefix}times",
            "Time from the receipt of a packet to its read, of local and of remote reads; the "
            "dotted lines are median and p99.",
            draw.time_distribution(curves, "% of reads", "from receipt to read"),
        )
    yield picture(
        f"{prefix}local-over-time",
        "Reads on the CPU that received, and reads a second, over time.",
        draw.local_over_time({"reads": reads_over(recording)}, "reads/s"),
    )
    yield from _row_blocks(total)
    yield " ".join(line.strip() for line in bill_lines(total)) + "."


def _row_blocks(total: CostInterval) -> Iterator[Block]:
    rows = rows_of(total, DEFAULT)
    cells = []
    for row in rows[:MOST_ROWS]:
        for distance in Distance:
            if not row.reads[distance]:
                continue
            waits = [row.percentile(WAIT, (distance,), of) for of in (50, 90, 99)]
            wakes = [row.percentile(WAKE_UP, (distance,), of) for of in (50, 99)]
            reads = int(row.reads[distance])
            cells.append(
                (
                    row.name,
                    distance.phrase,
                    f"{reads:,}",
                    percent(share(reads, int(row.reads.sum()))),
                    *map(duration, (*waits, *wakes)),
                )
            )
    heading = ("port and reader", "distance", "reads", "share", "p50", "p90", "p99")
    yield Table((*heading, "wake-up p50", "wake-up p99"), tuple(cells))
    if len(rows) > MOST_ROWS:
        yield f"The {MOST_ROWS} ports with the most remote reads are shown, of {len(rows)}."
    said = tuple(
        (row.name, row.sentence(total.seconds), left_out_text(row) or "nothing")
        for row in rows[:MOST_ROWS]
    )
    yield Table(("port and reader", "what was observed", "left out of the times"), said)


def _by_distance(recording: Recording) -> Counts | None:
    if _total(recording) is None:
        return None
    return {
        distance: int(count) for distance, count in zip(Distance, _reads(recording), strict=True)
    }


def reads_over(recording: Recording) -> OverTime:
    """Reads, and those on the CPU that received, interval by interval."""
    frames = recording.cost
    intervals, times, left_out = frames.intervals, frames.times, frames.left_out
    seconds = intervals["seconds"].to_numpy(np.float64)
    waits = times[times["measure"] == "wait"]
    sums = []
    for distances in ({*DISTANCES}, {*DISTANCES} - {Distance.UNKNOWN.word}, {Distance.CPU.word}):
        parts = [
            frame[frame["distance"].isin(distances)]
            .groupby("time", observed=True)["count"]
            .sum()
            .reindex(intervals["time"], fill_value=0)
            .to_numpy(np.int64)
            for frame in (waits, left_out)
        ]
        sums.append(reduce(add, parts))
    total, known, local = sums
    at = np.cumsum(seconds) - seconds / 2
    return OverTime(at, seconds, total, Series(local, known))


MEASURES = (Measure("reads on the CPU that received", "reads", reads_over, _by_distance),)


def change_sections(before: Sequence[Named], after: Sequence[Named]) -> Iterator[Section]:
    """The times before and after, beside each other."""
    sums = [
        {
            name: reduce(add, (_times(recording, side) for _, recording in runs))
            for name, side in (
                ("all", (*LOCAL, *REMOTE)),
                ("local", LOCAL),
                ("remote", REMOTE),
            )
        }
        for runs in (before, after)
    ]
    if not all(side["all"].any() for side in sums):
        return
    one, other = (duration(percentile(side["all"], 50)) for side in sums)
    rows = tuple(
        (
            f"{when}, {name}",
            f"{int(counts.sum()):,}",
            *(duration(percentile(counts, of)) for of in (50, 90, 99)),
        )
        for when, side in zip(("before", "after"), sums, strict=True)
        for name, counts in side.items()
        if counts.any()
    )
    yield Section(
        "Time from receipt to read",
        (
            f"Time from receipt to read (p50): {one} before, {other} after, without an interval.",
            Table(("reads", "timed", "p50", "p90", "p99"), rows),
        ),
    )
