"""Compare three definitions of "local" on Debian's kernels, for docs/generated/definitions.md.

    python -m validation.definitions_page            # make definitions: measure in guests
    python -m validation.definitions_page --redraw   # measure nothing, read the CSV file

Writes definitions.csv and definitions.svg, and the table in definitions.md.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import click
import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from locality.errors import LocalityError
from locality.reporting.figures import GREY, LOCAL, REMOTE, svg
from tests.checkout import commit
from tests.vm.guest import run
from tests.vm.kernel_images import USUAL, CannotBoot, kernel_image
from validation.definitions import Row, read_csv, table, write_csv
from validation.marked_page import filled

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from matplotlib.axes import Axes

DOCS = Path(__file__).parent.parent / "docs/generated"
#: What says on which commit the table was measured; data and figure do not.
MADE_ON = re.compile(r"^Measured on commit (.*)\.$", re.MULTILINE)
TIMEOUT_S = 1800  # on a busy machine the oldest kernel took eight minutes

#: What is drawn: protocol, CPUs, and between which kernels the frees of that began to be deferred.
PANELS = (("TCP", 1, None), ("TCP", 2, "5.19"), ("UDP", 2, "6.18"))
BARS = (
    ("ported_share", "2017's count, ported", GREY, "//"),
    ("freed_share", "freed-local", REMOTE, None),
    ("consumed_share", "consumed-local", LOCAL, None),
)


def measure(kernel: str) -> list[Row]:
    """Measure on another kernel.

    Raises:
        LocalityError: The guest did not get to the end; with what it said.
    """
    with TemporaryDirectory() as share:
        file = Path(share, "rows.csv")
        command = f"python -m validation.definitions --csv /run/share/{file.name}"
        ended = run(kernel_image(kernel), command, share=Path(share), timeout=TIMEOUT_S)
        if ended.status != 0:
            raise LocalityError(f"{kernel}: {ended.output.strip() or ended.console[-2000:]}")
        return read_csv(file)


def label(share: float | None) -> str:
    """A bar's number, cut and not rounded; what was not seen is a question mark."""
    if share is None:
        return "?"
    return "100" if share == 100 else f"{np.floor(share * 10) / 10:.1f}"


def draw(rows: Sequence[Row]) -> Figure:
    """What each definition says of the same packets, by kernel."""
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    FigureCanvasAgg(figure)
    panels: Sequence[Axes] = figure.subplots(1, len(PANELS), sharey=True)
    for axis, (protocol, cpus, since) in zip(panels, PANELS, strict=True):
        shown = [row for row in rows if (row.protocol, row.cpus) == (protocol, cpus)]
        releases = [row.release for row in shown]
        _bars(axis, shown)
        axis.set_xticks(range(len(shown)), releases)
        axis.set_xlabel("Linux")
        axis.set_title(f"{protocol}, read on {('the same CPU', 'another CPU')[cpus - 1]}", size=10)
        axis.spines[["top", "right"]].set_visible(False)
        if since:
            _mark(axis, releases, since)
    panels[0].set_ylim(0, 120)
    panels[0].set_yticks(range(0, 101, 25))
    panels[0].set_ylabel("local, %")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper left", ncols=3, frameon=False)
    return figure


def _bars(axis: Axes, rows: Sequence[Row]) -> None:
    thick = 0.3
    for number, (name, legend, colour, hatch) in enumerate(BARS):
        shares = [getattr(row, name) for row in rows]
        places = np.arange(len(rows)) + (number - 1) * thick
        bars = axis.bar(
            places,
            [share or 0 for share in shares],
            thick,
            color=colour,
            hatch=hatch,
            edgecolor="white",
            linewidth=0.5,
            label=legend,
        )
        axis.bar_label(bars, list(map(label, shares)), fontsize=6.5, padding=1)


def _mark(axis: Axes, releases: Sequence[str], since: str) -> None:
    """A line between the kernels before this one and the others."""
    place = sum(_number(release) < _number(since) for release in releases) - 0.5
    axis.axvline(place, color="black", lw=0.8, ls=":")
    # The text stands on that side of it which has more room.
    side, away = ("left", 4) if place < len(releases) / 2 - 0.5 else ("right", -4)
    axis.annotate(
        f"{since}: frees are deferred",
        (place, 113),
        xytext=(away, 0),
        textcoords="offset points",
        size=8,
        ha=side,
    )


def _number(release: str) -> tuple[int, ...]:
    return tuple(map(int, release.split(".")))


def picture(rows: Sequence[Row]) -> str:
    """The figure as SVG: the same rows give the same bytes, and text stays text."""
    with mpl.rc_context({"svg.hashsalt": "locality", "svg.fonttype": "none"}):
        return svg(draw(rows))


def with_table(page: str, rows: Sequence[Row], made_on: str | None = None) -> str:
    """A page, with this table between its marks.

    Args:
        page: The whole page as it was.
        rows: Of the table.
        made_on: The commit that was measured; without it, the one that the page names stays.
    """
    name = made_on or (known[1] if (known := MADE_ON.search(page)) else "?")
    return filled(page, "definitions", [f"Measured on commit {name}.", "", table(rows)])


def _measure_all() -> Iterator[Row]:
    for kernel in USUAL:
        print(f"booting {kernel}", file=sys.stderr, flush=True)
        yield from measure(kernel)


@click.command()
@click.option("--redraw", is_flag=True, help="Measure nothing: read definitions.csv.")
def main(*, redraw: bool) -> None:
    """Write data, figure and table of docs/generated/definitions.md."""
    data, page = DOCS / "definitions.csv", DOCS / "definitions.md"
    made_on = None if redraw else commit()
    if not redraw:
        write_csv(list(_measure_all()), data)
    rows = read_csv(data)
    (DOCS / "definitions.svg").write_text(picture(rows), encoding="utf-8")
    page.write_text(with_table(page.read_text(encoding="utf-8"), rows, made_on), encoding="utf-8")
    print(table(rows))


if __name__ == "__main__":
    try:
        main.main(standalone_mode=False)
    except (LocalityError, CannotBoot, click.ClickException) as error:
        sys.exit(f"validation.definitions_page: {error}")
