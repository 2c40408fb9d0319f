"""What the report says of reads: who reads, and how far from the CPU that received."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from locality.machine.distance import distance_text
from locality.reads.outputs import DEFAULT
from locality.reporting import figures as draw
from locality.reporting.blocks import Measure, picture
from locality.reporting.over_time import OverTime
from locality.reporting.page import Table
from locality.reporting.sections import lost_runs
from locality.reporting.statistics import Series
from locality.text import counted, percent, share
from locality.top.grouping import GROUPINGS, ranked
from locality.top.interval import DISTANCES, known, remote
from locality.top.text import distances_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from locality.machine.distance import Counts
    from locality.recording.recording import Recording
    from locality.reporting.blocks import Block, Named
    from locality.reporting.page import Section

MOST_ROWS = 30


def reads_over(recording: Recording) -> OverTime:
    """Reads, and those on the CPU that received, interval by interval."""
    intervals, readers = recording.top.intervals, recording.top.readers
    seconds = intervals["seconds"].to_numpy(np.float64)
    names = ["reads", *(f"reads_{name}" for name in DISTANCES)]
    sums = readers.groupby("time", observed=True)[names].sum()
    sums = sums.reindex(intervals["time"], fill_value=0).astype(np.int64)
    told = sums[names[1:]].sum(axis=1).to_numpy(np.int64)
    local = sums["reads_cpu"].to_numpy(np.int64)
    at = np.cumsum(seconds) - seconds / 2
    return OverTime(at, seconds, sums["reads"].to_numpy(np.int64), Series(local, told))


def events(recording: Recording) -> int:
    """Reads."""
    total = recording.top.total
    return 0 if total is None else int(total.readers["reads"].sum())


def headline(recording: Recording) -> str:
    """How many reads, and how many of them where it was received."""
    number = events(recording)
    what = counted(number, "read")
    if not number:
        return what
    rows = recording.top.total.readers
    here = share(int(rows["cpu"].sum()), int(known(rows).sum()))
    return f"{what}, {percent(here, 2)} on the CPU that received"


def cautions(recording: Recording) -> Iterator[str]:
    """What was lost, and of what the CPU that received is not known."""
    yield from lost_runs(recording, "read")
    total = recording.top.total
    if total is not None and (hidden := events(recording) - int(known(total.readers).sum())):
        yield f"of {hidden:,} of {events(recording):,} reads the CPU that received is not known"


def blocks(prefix: str, recording: Recording) -> Iterator[Block]:
    """Figures and tables of a recording of reads."""
    total = recording.top.total
    if total is None or not events(recording):
        return
    machine = recording.meta.machine
    yield f"Reads by distance: {distance_text(distances_of(total), machine)}."
    yield picture(
        f"{prefix}local-over-time",
        "Reads on the CPU that received, and reads a second, over time.",
        draw.local_over_time({"reads": reads_over(recording)}, "reads/s"),
    )
    rows = ranked(total, DEFAULT)
    cells = [
        (
            GROUPINGS[DEFAULT].name(row, total.cgroups),
            f"{int(row['reads']):,}",
            percent(share(int(row["cpu"]), int(told))),
            f"{int(away):,}",
            f"CPU {row['sources'][0]}" if row["sources"][0] >= 0 else "-",
        )
        for row, told, away in zip(
            rows[:MOST_ROWS], known(rows).tolist(), remote(rows).tolist(), strict=False
        )
    ]
    heading = ("port and reader", "reads", "local", "remote reads", "most of them from")
    yield Table(heading, tuple(cells))
    if len(rows) > MOST_ROWS:
        yield f"The {MOST_ROWS} ports with the most remote reads are shown, of {len(rows)}."


def _by_distance(recording: Recording) -> Counts | None:
    total = recording.top.total
    return None if total is None else distances_of(total)


MEASURES = (Measure("reads on the CPU that received", "reads", reads_over, _by_distance),)


def change_sections(_before: Sequence[Named], _after: Sequence[Named]) -> Iterator[Section]:
    """Nothing beside `MEASURES`."""
    yield from ()
