"""What the report says of two sides, before and after: sentences, tables, figures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from locality.reporting import figures as draw
from locality.reporting import over_time as numbers
from locality.reporting.blocks import picture
from locality.reporting.page import Section, Table
from locality.reporting.sections import packets_by_distance, share_columns
from locality.reporting.statistics import compare
from locality.text import percent
from locality.udp.report import udp_over
from locality.udp.report_change import udp_change_sections

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from locality.machine.distance import Counts
    from locality.recording.frames import Recording
    from locality.reporting.blocks import Named
    from locality.reporting.over_time import OverTime


def change_sections(before: Sequence[Named], after: Sequence[Named]) -> Iterator[Section]:
    """Before and after, for every share that both sides have; each begins with the result."""
    kind = before[0][1].meta.kind
    if kind == "udp":
        yield from udp_change_sections(before, after)
    for measure, name, of, far in _MEASURES[kind]:
        sides = [[of(recording) for _, recording in side] for side in (before, after)]
        series = [[run.series for run in side if run.series is not None] for side in sides]
        if any(len(seen) < len(side) for seen, side in zip(series, sides, strict=True)):
            continue
        found = compare(*series)
        if found is None:
            continue
        named = [("before", *one) for one in before] + [("after", *one) for one in after]
        heading, apart = share_columns([(one, far(one)) for *_, one in named] if far else [])
        rows = tuple(
            (side, file, percent(run.share, 2), f"{int(run.total.sum()):,}", *shares_of_it)
            for (side, file, _), run, shares_of_it in zip(
                named, [*series[0], *series[1]], apart or [[]] * len(named), strict=True
            )
        )
        yield Section(
            f"Before and after: {measure}",
            (
                f"{measure}: {found.sentence}.",
                f"How the interval was found: {found.method}.",
                picture(
                    f"change-{name}",
                    f"{measure} of both sides over time, and the difference with its interval.",
                    draw.change(sides[0], sides[1], found),
                ),
                Table(("side", "file", "local", "of", *heading), rows),
            ),
        )


#: By kind: a share in words, in a name, over time, and by distance if that is known.
_MEASURES: dict[
    str,
    tuple[
        tuple[
            str, str, Callable[[Recording], OverTime], Callable[[Recording], Counts | None] | None
        ],
        ...,
    ],
] = {
    "accept": (
        (
            "accept-local",
            "accept",
            lambda one: numbers.accept_over_time(one.accepts),
            lambda one: numbers.accept_distances(one.accepts),
        ),
    ),
    "skb": (
        (
            "received packets, consumed-local",
            "rx",
            lambda one: numbers.skb_over_time(one.skb_totals, "rx"),
            lambda one: packets_by_distance(one, "rx"),
        ),
        (
            "packets delivered to readers, consumed-local",
            "delivered",
            lambda one: numbers.skb_over_time(one.skb_totals, "rx", "delivered_local"),
            None,
        ),
        (
            "sent packets, consumed-local",
            "tx",
            lambda one: numbers.skb_over_time(one.skb_totals, "tx"),
            lambda one: packets_by_distance(one, "tx"),
        ),
    ),
    "udp": (("datagrams, read on their alloc CPU", "udp", udp_over, None),),
}
