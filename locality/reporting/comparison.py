"""What the report says of two sides, before and after: sentences, tables, figures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from locality.reporting import figures as draw
from locality.reporting.blocks import picture
from locality.reporting.page import Section, Table
from locality.reporting.sections import report_of, share_columns
from locality.reporting.statistics import compare
from locality.text import percent

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from locality.reporting.blocks import Named


def change_sections(before: Sequence[Named], after: Sequence[Named]) -> Iterator[Section]:
    """Before and after, for every share that both sides have; each begins with the result."""
    report = report_of(before[0][1])
    yield from report.change_sections(before, after)
    for measure, name, over_time, by_distance in report.MEASURES:
        sides = [[over_time(recording) for _, recording in side] for side in (before, after)]
        series = [[run.series for run in side if run.series is not None] for side in sides]
        if any(len(seen) < len(side) for seen, side in zip(series, sides, strict=True)):
            continue
        found = compare(*series)
        if found is None:
            continue
        named = [("before", *one) for one in before] + [("after", *one) for one in after]
        heading, apart = share_columns(
            [(one, by_distance(one)) for *_, one in named] if by_distance else []
        )
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
