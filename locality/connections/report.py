"""What the report says of connections that have ended: sentences, tables, figures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from locality.reporting import figures as draw
from locality.reporting.blocks import Measure, picture
from locality.reporting.page import Table
from locality.reporting.sections import lost_events
from locality.text import counted, duration, percent, share

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from locality.connections.aggregate import ConnectionAggregate
    from locality.recording.recording import Recording
    from locality.reporting.blocks import Block, Named
    from locality.reporting.over_time import OverTime
    from locality.reporting.page import Section

#: What the times of a connection are called.
WORDS = {
    "lifetime_ns": "accept to end",
    "read_after_ns": "accept to first read",
    "read_wait_ns": "last packet to first read",
}


def _sums(recording: Recording) -> ConnectionAggregate:
    sums: ConnectionAggregate = recording.aggregate
    return sums


def events(recording: Recording) -> int:
    """Connections."""
    return _sums(recording).count


def headline(recording: Recording) -> str:
    """How many ended, and how local their reads were."""
    sums = _sums(recording)
    what = f"{counted(sums.count, 'connection')} ended"
    reads, local = sums.reads
    if not reads:
        return what
    return f"{what}; {percent(share(local, reads), 2)} of {reads:,} reads on the RX CPU"


def cautions(recording: Recording) -> Iterator[str]:
    """What was lost."""
    yield from lost_events(recording, "connection")


def blocks(prefix: str, recording: Recording) -> Iterator[Block]:
    """Figures and tables of a recording of connections."""
    sums = _sums(recording)
    yield picture(
        f"{prefix}local-over-time",
        "Reads on the RX CPU, and reads a second, by the time at which their connection ended.",
        draw.local_over_time({"reads": reads_over(recording)}, "reads/s"),
    )
    known = {WORDS[name]: some for name, some in sums.times.items() if some.total}
    curves = {name: some.ascending(draw.MOST_POINTS) for name, some in known.items()}
    yield picture(
        f"{prefix}times",
        f"Times of {counted(sums.count, 'connection')}.",
        draw.time_distribution(curves, "connections, %", "at most (dotted: median, p99)"),
    )
    yield Table(
        ("time", "connections", "median", "p99"),
        tuple(
            (name, f"{some.total:,}", *(duration(some.percentile(rank)) for rank in (50, 99)))
            for name, some in known.items()
        ),
    )
    rows = tuple((word, f"{count:,}") for word, count in sums.ends.items())
    yield Table(("closed first by", "connections"), rows)
    read, other = sums.read
    if read:
        yield (
            f"Of {counted(read, 'connection')} that were read, another thread than the one "
            f"that accepted made the first read of {other:,} ({percent(share(other, read))})."
        )


def reads_over(recording: Recording) -> OverTime:
    """Reads, and those that were local, by the time at which their connection ended."""
    return _sums(recording).over_time.over_time()


MEASURES = (Measure("reads on the RX CPU", "reads", reads_over),)


def change_sections(_before: Sequence[Named], _after: Sequence[Named]) -> Iterator[Section]:
    """Nothing beside `MEASURES`."""
    yield from ()
