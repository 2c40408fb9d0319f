"""`locality fleet`: what the recordings of many hosts say. No logic, imports on use."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import click

from locality.commands.lines import show
from locality.commands.options import FormatOption, ShortForm, force_option
from locality.commands.values import AT_LEAST_ONE, OUTPUT
from locality.text import printable

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import date
    from pathlib import Path

    from locality.fleet.study import Fleet

MEASURES = ("reads", "accepts", "datagrams", "packets received", "packets sent")


@click.command()
@click.argument("dataset")
@click.option(
    "--day",
    type=click.DateTime(["%Y-%m-%d"]),
    metavar="YYYY-MM-DD",
    help="Name the last day to look at (UTC).  [default: the newest in DATASET]",
)
@click.option(
    "--days",
    type=AT_LEAST_ONE,
    metavar="N",
    default=1,
    show_default=True,
    help="Look at N days, up to the one of --day.",
)
@click.option(
    "--since",
    type=AT_LEAST_ONE,
    metavar="N",
    default=7,
    show_default=True,
    help="Compare with as many days, N days earlier.",
)
@click.option(
    "--measure",
    type=click.Choice(MEASURES),
    help="Rank hosts by the local share of this.  [default: what most hosts have]",
)
@click.option(
    "--by",
    type=click.Choice(["back", "local"]),
    default="back",
    show_default=True,
    help="Rank hosts by the waiting that they could save (back), or by their local share.",
)
@click.option(
    "--top",
    type=AT_LEAST_ONE,
    metavar="N",
    default=20,
    show_default=True,
    help="Show the first N rows of each table.",
)
@click.option(
    "--engine",
    metavar="ENGINE",
    default="duckdb",
    show_default=True,
    help="Choose what computes: duckdb, spark://HOST:PORT, spark:MASTER, or "
    "clickhouse://USER@HOST/DATABASE?table=TABLE.",
)
@click.option(
    "-o", "--output", "out", type=OUTPUT, metavar="FILE", help="Write to FILE; .html is a page."
)
@click.option(
    "--format",
    "format_",
    cls=FormatOption,
    type=click.Choice(["text", "json", "html"]),
    help="Choose the output format.  [default: from FILE's suffix, else text]",
)
@click.option(
    "--json", "format_", cls=ShortForm, flag_value="json", help="Short for --format json."
)
@force_option(help="Replace FILE if it exists.")
def fleet(
    *,
    dataset: str,
    day: datetime | None,
    days: int,
    since: int,
    measure: str | None,
    by: str,
    top: int,
    engine: str,
    out: Path | None,
    format_: str | None,
    force: bool,
) -> None:
    """Show which of many hosts are least local, and why.

    DATASET is a directory or a URI that locality export --dataset wrote to.
    """
    from locality.fleet.engine import days_of, opened
    from locality.fleet.study import Asked, before, study

    suffix = out.suffix[1:] if out else ""
    shape = format_ or (suffix if suffix in {"json", "html"} else "text")
    there = days_of(dataset)
    last = there[-1] if day is None else day.replace(tzinfo=UTC).date()
    wanted: tuple[date, ...]
    try:
        wanted = tuple(last - timedelta(days=ago) for ago in reversed(range(days)))
        asked = Asked(wanted, before(wanted, since), measure, by)
    except OverflowError:
        raise click.UsageError(
            "--days and --since lead to days before the year 1: give smaller numbers"
        ) from None
    with opened(dataset, engine) as answering:
        found = study(answering, asked, there)
    made = "\n".join(_lines(found, shape, top))
    if out is None or str(out) == "-":
        show([made])
        return
    from locality.files import new_file

    with new_file(out, force=force) as file:
        file.write(made.encode() + b"\n")
    show([f"report written to {printable(str(out))}"])


def _lines(found: Fleet, shape: str, top: int) -> Iterable[str]:
    """The report in one of the formats."""
    if shape == "json":
        from locality.fleet.records import text

        return [text(found)]
    if shape == "html":
        from locality.fleet.page import page

        return [page(found, top)]
    from locality.fleet.text import lines

    return lines(found, top)
