"""`locality fleet` in readable lines."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from locality.fleet import tables
from locality.text import counted, percent, printable, share, wrap

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import date

    from locality.fleet.changes import Changes
    from locality.fleet.effects import Outcome
    from locality.fleet.study import Fleet
    from locality.fleet.tables import Rows

MOST = 20


def lines(fleet: Fleet, most: int = MOST) -> Iterator[str]:
    """The whole report.

    Args:
        fleet: What the recordings say.
        most: So many rows of each table.
    """
    yield from wrap(summary(fleet))
    yield from wrap(tables.price_text(fleet.price)) if fleet.asked.measure == "reads" else ()
    yield ""
    yield "Hosts, " + order(fleet)
    yield from table(tables.host_rows(fleet, most))
    if fleet.shared:
        yield ""
        yield "Causes that hosts share"
        for one in fleet.shared[:most]:
            yield from wrap(
                f"{len(one.hosts)}: {one.cause.value} ({printable(one.server)}): "
                f"{tables.names(one.hosts)}",
                "    ",
                first="  ",
            )
            if command := one.cause.remedy(one.port):
                yield f"    {command}"
    causes = tables.cause_rows(fleet, most)
    if causes.rows:
        yield ""
        yield "Causes of these hosts"
        yield from table(causes)
    yield from _changes(fleet.changes, fleet, most)
    yield from _effects(fleet.outcomes)


def summary(fleet: Fleet) -> str:
    """What was looked at, in a sentence or two."""
    known = sum(host.known for host in fleet.hosts)
    local = sum(round((host.share or 0) * host.known) for host in fleet.hosts)
    total = known + sum(host.unknown for host in fleet.hosts)
    said = (
        f"{counted(len(fleet.hosts), 'host')}, {when(fleet.asked.days)}: "
        f"{total:,} {fleet.asked.measure}, "
        f"{percent(share(local, known))} local; of {percent(share(total - known, total))} the "
        f"distance is not known; {counted(fleet.lost, 'event')} lost."
    )
    if fleet.others:
        have = "more host has" if fleet.others == 1 else "more hosts have"
        said += f" {fleet.others} {have} no recordings of {fleet.asked.measure}."
    return said


def order(fleet: Fleet) -> str:
    """How the hosts are ranked."""
    if fleet.asked.by == "local":
        return "the least local ones first"
    if any(host.waiting is not None for host in fleet.hosts):
        return "those first that would give back the most waiting a second"
    return f"those first of which the most {fleet.asked.measure} a second could become local"


def when(days: Sequence[date]) -> str:
    """Some days."""
    return str(days[0]) if len(days) == 1 else f"{days[0]} to {days[-1]}"


def changes_text(found: Changes, fleet: Fleet) -> str:
    """What was compared."""
    return (
        f"Since {when(fleet.asked.before)}: of {counted(found.compared, 'host')} that could be "
        f"compared, {len(found.worse)} became less local and {len(found.better)} more; at most 5 % "
        f"of these are expected to be false. New: {counted(found.new, 'host')}; gone: "
        f"{found.gone}; with too few bins to tell: {found.not_told}."
    )


def _changes(found: Changes | None, fleet: Fleet, most: int) -> Iterator[str]:
    yield ""
    if found is None:
        yield "There are no files of the days before: no change can be told."
        return
    yield from wrap(changes_text(found, fleet))
    for members in (found.worse, found.better):
        if members:
            yield from table(tables.change_rows(members, most))


def _effects(found: Sequence[Outcome]) -> Iterator[str]:
    for arms, members in groupby(found, key=lambda one: one.arms):
        yield ""
        yield from wrap(f"Trials of {printable(arms[1])} against {printable(arms[0])}")
        yield from table(tables.effect_rows([*members]))


def table(rows: Rows) -> Iterator[str]:
    """A table with columns as wide as they must be; figures to the right."""
    cells = [rows.heading, *rows.rows]
    widths = [max(len(row[place]) for row in cells) for place in range(len(rows.heading))]
    for row in cells:
        padded = [
            text.ljust(width) if place == 0 or not _is_figure(rows, place) else text.rjust(width)
            for place, (text, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield ("  " + "  ".join(padded)).rstrip()
    if rows.more:
        yield f"  ... and {rows.more} more: --top, or --format json for all"


def _is_figure(rows: Rows, place: int) -> bool:
    """Whether a column has figures alone."""
    return all(row[place][:1] in "0123456789+-?" for row in rows.rows)
