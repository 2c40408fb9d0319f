"""`locality fleet` as one HTML page: the same tables as in the text."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from locality.fleet import tables
from locality.fleet.text import changes_text, order, summary
from locality.reporting.page import Page, Section, Table, html
from locality.text import counted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from locality.fleet.study import Fleet
    from locality.fleet.tables import Rows


def page(fleet: Fleet, most: int) -> str:
    """The page, which needs nothing else.

    Args:
        fleet: What the recordings say.
        most: So many rows of each table.
    """
    title = f"Locality of {counted(len(fleet.hosts), 'host')}"
    return html(Page(title, tuple(_sections(fleet, most))))


def _sections(fleet: Fleet, most: int) -> Iterator[Section]:
    said: list[str | Table] = [summary(fleet)]
    if fleet.asked.measure == "reads":
        said.append(tables.price_text(fleet.price))
    yield Section("Summary", tuple(said))
    yield Section("Hosts, " + order(fleet), _table(tables.host_rows(fleet, most)))
    causes = tables.cause_rows(fleet, most)
    if causes.rows:
        yield Section("Causes of these hosts", _table(causes))
    if fleet.shared:
        yield Section("Causes that hosts share", _table(tables.shared_rows(fleet, most)))
    changes = fleet.changes
    if changes is None:
        yield Section("Changes", ("There are no files of the days before.",))
    else:
        blocks: list[str | Table] = [changes_text(changes, fleet)]
        for members in (changes.worse, changes.better):
            if members:
                blocks += _table(tables.change_rows(members, most))
        yield Section("Changes", tuple(blocks))
    for arms, outcomes in groupby(fleet.outcomes, key=lambda one: one.arms):
        title = f"Trials of {arms[1]} against {arms[0]}"
        note = (
            "The effect is a random-effects mean. I² is the share of the variance between trials "
            "that is no chance, and tau the standard deviation of the true effects."
        )
        yield Section(title, (note, *_table(tables.effect_rows([*outcomes]))))


def _table(rows: Rows) -> tuple[str | Table, ...]:
    table = Table(rows.heading, rows.rows)
    more = f"{counted(rows.more, 'row')} more: --top shows them."
    return (table, more) if rows.more else (table,)
