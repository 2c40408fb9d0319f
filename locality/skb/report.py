"""What the report says of packets: sentences, tables, figures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from locality.reporting import figures as draw
from locality.reporting.blocks import Measure, picture
from locality.reporting.page import Table
from locality.reporting.sections import counted, distance_blocks, lost_runs
from locality.skb import numbers
from locality.text import percent, share

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from locality.machine.distance import Counts
    from locality.recording.frames import Recording
    from locality.reporting.blocks import Block, Named
    from locality.reporting.over_time import OverTime
    from locality.reporting.page import Section
    from locality.skb.numbers import Direction


DIRECTIONS: tuple[tuple[Direction, str], ...] = (("rx", "received"), ("tx", "sent"))


def _share(recording: Recording, direction: Direction, part: str = "local") -> float | None:
    series = numbers.skb_over_time(recording.skb_totals, direction, part).series
    return None if series is None else series.share


def events(recording: Recording) -> int:
    """Packets in both directions."""
    return int(recording.skb_totals["packets"].sum())


def headline(recording: Recording) -> str:
    """How many packets, and how local in each direction."""
    number = events(recording)
    what = counted(number, "packet")
    if not number:
        return what
    shares = (f"{word} {percent(_share(recording, name), 2)}" for name, word in DIRECTIONS)
    return f"{what}; consumed on the CPU that allocated them: {', '.join(shares)}"


def cautions(recording: Recording) -> Iterator[str]:
    """What was lost, and what the filter could not decide."""
    yield from lost_runs(recording, "packet")
    if untold := int(recording.skb_totals["not_told"].sum()):
        yield (
            f"The filter could not be decided for {counted(untold, 'packet')}. They are not "
            "counted here."
        )


def blocks(prefix: str, recording: Recording) -> Iterator[Block]:
    """Figures and tables of a recording of packets."""
    totals, meta = recording.skb_totals, recording.meta
    curves: dict[str, OverTime] = {}
    for direction, word in DIRECTIONS:
        for part, name in (("local", "consumed-local"), ("freed_local", "freed-local")):
            run = numbers.skb_over_time(totals, direction, part)
            if run.series is not None:
                curves[f"{word}, {name}"] = run
        # Without any share of this direction its packets are still to be seen.
        if not any(name.startswith(word) for name in curves):
            curves[word] = numbers.skb_over_time(totals, direction)
    yield _totals_table(recording)
    yield picture(
        f"{prefix}local-over-time",
        "Packets whose CPUs are the same, and packets a second, over time.",
        draw.local_over_time(curves, "packets/s"),
    )
    for direction, word in DIRECTIONS:
        matrix = numbers.skb_matrix(recording.skb, direction, meta.possible)
        if not matrix.any():
            yield f"No packets {word} of which both CPUs are known by number."
            continue
        yield picture(
            f"{prefix}matrix-{direction}",
            f"Packets {word}, by alloc CPU and consume CPU; the diagonal is local.",
            draw.heat_map(matrix, "alloc CPU", "consume CPU"),
        )
        yield picture(
            f"{prefix}per-cpu-{direction}",
            f"Packets {word}, by alloc CPU (left) and by consume CPU (right).",
            draw.per_cpu(matrix, "alloc CPU", "consume CPU"),
        )
    classes = {word: packets_by_distance(recording, direction) for direction, word in DIRECTIONS}
    yield from distance_blocks(prefix, recording, classes, "alloc and consume")


def packets_by_distance(recording: Recording, direction: Direction) -> Counts | None:
    """Packets of one direction by how far alloc CPU and consume CPU are apart."""
    return numbers.skb_distances(
        recording.skb, recording.skb_totals, direction, recording.meta.distances
    )


def _totals_table(recording: Recording) -> Table:
    rows = []
    for direction, word in DIRECTIONS:
        of = recording.skb_totals[recording.skb_totals["direction"] == direction]
        packets, seconds = int(of["packets"].sum()), float(of["seconds"].sum())
        deferred = None if of["deferred"].isna().any() else int(of["deferred"].sum())
        rows.append(
            (
                word,
                f"{packets:,}",
                f"{packets / seconds / 1000:,.1f}" if seconds else "-",
                percent(_share(recording, direction), 2),
                percent(_share(recording, direction, "freed_local"), 2),
                percent(share(deferred, packets), 2),
                percent(_share(recording, direction, "delivered_local"), 2),
                f"{int(of['unknown'].sum()):,}",
            )
        )
    heading = (
        "packets",
        "count",
        "kpps",
        "consumed-local",
        "freed-local",
        "deferred",
        "of those delivered to readers, local",
        "CPU unknown",
    )
    return Table(heading, tuple(rows))


MEASURES = (
    Measure(
        "received packets, consumed-local",
        "rx",
        lambda recording: numbers.skb_over_time(recording.skb_totals, "rx"),
        lambda recording: packets_by_distance(recording, "rx"),
    ),
    Measure(
        "packets delivered to readers, consumed-local",
        "delivered",
        lambda recording: numbers.skb_over_time(recording.skb_totals, "rx", "delivered_local"),
    ),
    Measure(
        "sent packets, consumed-local",
        "tx",
        lambda recording: numbers.skb_over_time(recording.skb_totals, "tx"),
        lambda recording: packets_by_distance(recording, "tx"),
    ),
)


def change_sections(_before: Sequence[Named], _after: Sequence[Named]) -> Iterator[Section]:
    """Nothing beside `MEASURES`."""
    yield from ()
