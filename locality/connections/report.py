"""What the report says of connections that have ended: sentences, tables, figures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from locality.connections.columns import ENDS
from locality.reporting import figures as draw
from locality.reporting.blocks import Measure, picture
from locality.reporting.over_time import binned
from locality.reporting.page import Table
from locality.reporting.sections import counted
from locality.text import duration, percent, share

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pandas as pd

    from locality.arrays import Array
    from locality.recording.recording import Recording
    from locality.reporting.blocks import Block, Named
    from locality.reporting.over_time import OverTime
    from locality.reporting.page import Section

#: Times of a connection, and what they are called.
TIMES = {
    "lifetime_ns": "accept to end",
    "read_after_ns": "accept to first read",
    "read_wait_ns": "last packet to first read",
}


def events(recording: Recording) -> int:
    """Connections."""
    return len(recording.connections)


def headline(recording: Recording) -> str:
    """How many ended, and how local their reads were."""
    connections = recording.connections
    what = f"{counted(len(connections), 'connection')} ended"
    reads = int(connections["reads"].sum())
    if not reads:
        return what
    local = percent(share(int(connections["local_reads"].sum()), reads), 2)
    return f"{what}; {local} of {reads:,} reads on the RX CPU"


def cautions(recording: Recording) -> Iterator[str]:
    """What was lost."""
    if recording.lost:
        lost = counted(recording.lost, "connection")
        yield f"{lost} lost beside {events(recording):,} seen; shares are of those seen"


def blocks(prefix: str, recording: Recording) -> Iterator[Block]:
    """Figures and tables of a recording of connections."""
    connections = recording.connections
    yield picture(
        f"{prefix}local-over-time",
        "Reads on the RX CPU, and reads a second, by the time at which their connection ended.",
        draw.local_over_time({"reads": reads_over(recording)}, "reads/s"),
    )
    times = {name: times_of(connections, name) for name in TIMES}
    known = {TIMES[name]: some for name, some in times.items() if len(some)}
    yield picture(
        f"{prefix}times",
        f"Times of {counted(len(connections), 'connection')}.",
        draw.time_distribution(known, "connections, %", "at most (dotted: median, p99)"),
    )
    yield Table(
        ("time", "connections", "median", "p99"),
        tuple(
            (name, f"{len(some):,}", *(duration(np.percentile(some, rank)) for rank in (50, 99)))
            for name, some in known.items()
        ),
    )
    ends = connections["end"].value_counts()
    rows = tuple((word, f"{int(ends.get(word, 0)):,}") for word in ENDS)
    yield Table(("closed first by", "connections"), rows)
    read = connections[connections["reader_tid"].notna()]
    if len(read):
        other = int((read["reader_tid"] != read["tid"]).sum())
        yield (
            f"Of {counted(len(read), 'connection')} that were read, another thread than the one "
            f"that accepted made the first read of {other:,} ({percent(share(other, len(read)))})."
        )


def times_of(connections: pd.DataFrame, name: str) -> Array:
    """A column of times: those that are known, ns, ascending."""
    return np.sort(connections[name].dropna().to_numpy(np.int64))


def reads_over(recording: Recording) -> OverTime:
    """Reads, and those that were local, by the time at which their connection ended."""
    connections = recording.connections
    times = connections["time"].to_numpy("datetime64[ns]").view(np.int64)
    reads, local = (connections[name].to_numpy(np.int64) for name in ("reads", "local_reads"))
    return binned(times + connections["lifetime_ns"].to_numpy(np.int64), reads, local)


MEASURES = (Measure("reads on the RX CPU", "reads", reads_over),)


def change_sections(_before: Sequence[Named], _after: Sequence[Named]) -> Iterator[Section]:
    """Nothing beside `MEASURES`."""
    yield from ()
