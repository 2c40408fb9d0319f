"""What the report says of packets: sentences, tables, figures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from locality.reporting import figures as draw
from locality.reporting.blocks import Measure, picture
from locality.reporting.page import Table
from locality.reporting.sections import distance_blocks, lost_runs
from locality.skb.interval import RX, TX
from locality.text import counted, percent, share

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from locality.recording.recording import Recording
    from locality.reporting.blocks import Block, Named
    from locality.reporting.over_time import OverTime
    from locality.reporting.page import Section
    from locality.skb.aggregate import SkbAggregate


DIRECTIONS = ((RX, "rx", "received"), (TX, "tx", "sent"))


def _sums(recording: Recording) -> SkbAggregate:
    sums: SkbAggregate = recording.aggregate
    return sums


def events(recording: Recording) -> int:
    """Packets in both directions."""
    return sum(_sums(recording).totals(direction).sum("packets") or 0 for direction in (RX, TX))


def headline(recording: Recording) -> str:
    """How many packets, and how local in each direction."""
    number = events(recording)
    what = counted(number, "packet")
    if not number:
        return what
    sums = _sums(recording)
    shares = (f"{word} {percent(sums.totals(one).share(), 2)}" for one, _, word in DIRECTIONS)
    return f"{what}; consumed on the CPU that allocated them: {', '.join(shares)}"


def cautions(recording: Recording) -> Iterator[str]:
    """What was lost, and what the filter could not decide."""
    yield from lost_runs(recording, "packet")
    sums = _sums(recording)
    if untold := sum(sums.totals(direction).sum("not_told") or 0 for direction in (RX, TX)):
        yield (
            f"The filter could not be decided for {counted(untold, 'packet')}. They are not "
            "counted here."
        )


def blocks(prefix: str, recording: Recording) -> Iterator[Block]:
    """Figures and tables of a recording of packets."""
    sums, machine = _sums(recording), recording.meta.machine
    first, second = draw.halves(machine)
    curves: dict[str, OverTime] = {}
    for direction, _, word in DIRECTIONS:
        totals = sums.totals(direction)
        for part, name in (("local", "consumed-local"), ("freed_local", "freed-local")):
            run = totals.over_time(part)
            if run.series is not None:
                curves[f"{word}, {name}"] = run
        # Without any share of this direction its packets are still to be seen.
        if not any(name.startswith(word) for name in curves):
            curves[word] = totals.over_time()
    yield _totals_table(sums)
    yield picture(
        f"{prefix}local-over-time",
        "Packets whose CPUs are the same, and packets a second, over time.",
        draw.local_over_time(curves, "packets/s"),
    )
    for direction, name, word in DIRECTIONS:
        matrix = sums.matrix[direction]
        if not matrix.any():
            yield f"No packets {word} of which both CPUs are known by number."
            continue
        yield picture(
            f"{prefix}matrix-{name}",
            f"Packets {word}, by alloc CPU and consume CPU; the diagonal is local."
            f"{draw.marks(machine)}",
            draw.heat_map(matrix, "alloc CPU", "consume CPU", machine),
        )
        yield picture(
            f"{prefix}per-cpu-{name}",
            f"Packets {word}, by alloc CPU ({first}) and by consume CPU ({second}).",
            draw.per_cpu(matrix, "alloc CPU", "consume CPU", machine),
        )
    classes = {word: sums.by_distance(direction) for direction, _, word in DIRECTIONS}
    yield from distance_blocks(prefix, recording, classes, "alloc and consume")


def _totals_table(sums: SkbAggregate) -> Table:
    rows = []
    for direction, _, word in DIRECTIONS:
        totals = sums.totals(direction)
        packets, seconds = totals.sum("packets") or 0, float(totals.seconds.sum())
        rows.append(
            (
                word,
                f"{packets:,}",
                f"{packets / seconds / 1000:,.1f}" if seconds else "-",
                percent(totals.share(), 2),
                percent(totals.share("freed_local"), 2),
                percent(share(totals.sum("deferred"), packets), 2),
                percent(totals.share("delivered_local"), 2),
                f"{int(totals.figures['unknown'].sum()):,}",
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
        lambda recording: _sums(recording).totals(RX).over_time(),
        lambda recording: _sums(recording).by_distance(RX),
    ),
    Measure(
        "packets delivered to readers, consumed-local",
        "delivered",
        lambda recording: _sums(recording).totals(RX).over_time("delivered_local"),
    ),
    Measure(
        "sent packets, consumed-local",
        "tx",
        lambda recording: _sums(recording).totals(TX).over_time(),
        lambda recording: _sums(recording).by_distance(TX),
    ),
)


def change_sections(_before: Sequence[Named], _after: Sequence[Named]) -> Iterator[Section]:
    """Nothing beside `MEASURES`."""
    yield from ()
