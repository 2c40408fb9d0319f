r"""What all figures of a report share: their size and margins, legends, colours and files.

Margins are given in inches and not computed by matplotlib's layout engines, which draw a figure
once more to see what fits.

Names from a recording are shown as ASCII and never parsed as mathematics: a process may call itself
``$\frac`` or use letters the font does not have.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np

import locality.reporting.settings  # noqa: F401 - before matplotlib: see there

# isort: split
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from locality.text import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

LOCAL, REMOTE, GREY = "#2a7f62", "#d1603d", "#6b7280"
COLOURS = ("#1f5fa8", "#d1603d", "#2a7f62", "#8a5fb0", "#b08a1f", "#6b7280")
#: Where colours are not seen, remote parts are told by their hatching.
HATCH = "///"

WIDTH = 8.0
#: Inches: room for tick labels such as 100k and a label beside them, and for both below an axis.
LEFT, RIGHT, TOP, BOTTOM = 0.8, 0.2, 0.15, 0.5
#: Inches on both sides of a name that stands beside an axis.
_BESIDE = 0.25
#: Inches of a line of a legend, of its handle and of a letter in it, at most and on average.
_LEGEND_LINE, _HANDLE, _LETTER = 0.22, 0.6, 0.075
_MOST_COLUMNS = 4


def plain(name: str) -> str:
    """A name from outside as printable ASCII, which every font has."""
    return printable(name).encode("ascii", "backslashreplace").decode()


def svg(figure: Figure) -> str:
    """The figure as SVG without date, author or any address but its namespaces."""
    out = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(out, format="svg", metadata=nothing)
    text = out.getvalue()
    return text[text.index("<svg") :]


def png(figure: Figure) -> bytes:
    """The figure as a picture of 110 dots an inch."""
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=110)
    return out.getvalue()


def figure_of(
    rows: int = 1,
    columns: int = 1,
    *,
    height: float = 3.2,
    left: float = LEFT,
    bottom: float = BOTTOM,
    between: tuple[float, float] = (0.2, 0.2),
    **more: Any,  # noqa: ANN401 - as of subplots
) -> tuple[Figure, Any]:
    """A figure of 8 inches' width, and its axes: one, or an array of them.

    Args:
        rows: Of axes.
        columns: Of axes.
        height: Inches.
        left: Inches left of the axes.
        bottom: Inches below the axes.
        between: Inches between rows of axes, and between columns of them.
        more: As of `Figure.subplots`.
    """
    figure = Figure(figsize=(WIDTH, height))
    FigureCanvasAgg(figure)
    row = (height - TOP - bottom - (rows - 1) * between[0]) / rows
    column = (WIDTH - left - RIGHT - (columns - 1) * between[1]) / columns
    figure.subplots_adjust(
        left=left / WIDTH,
        right=1 - RIGHT / WIDTH,
        top=1 - TOP / height,
        bottom=bottom / height,
        hspace=between[0] / row,
        wspace=between[1] / column,
    )
    axes = figure.subplots(rows, columns, **more)
    for axis in np.ravel(axes):
        axis.spines[["top", "right"]].set_visible(False)
    return figure, axes


def room_for_names(figure: Figure) -> None:
    """Make the margin at the left as wide as the longest name beside an axis needs."""
    renderer = FigureCanvasAgg(figure).get_renderer()  # type: ignore[no-untyped-call]
    names = [name for axis in figure.axes for name in axis.get_yticklabels()]
    widest = max((name.get_window_extent(renderer).width for name in names), default=0)
    figure.subplots_adjust(left=(widest / figure.dpi + _BESIDE) / WIDTH)


def percent_axis(axis: Axes, label: str) -> None:
    """Name an axis that shows percentages, and show all of them."""
    axis.set_ylim(-3, 103)
    axis.set_ylabel(label)
    axis.grid(axis="y", alpha=0.3)


def legend(figure: Figure, axis: Axes) -> None:
    """Above the axes, where it covers nothing: they leave it room."""
    handles, labels = axis.get_legend_handles_labels()
    columns = _columns(labels)
    height = figure.get_figheight()
    lines = -(-len(labels) // columns)
    figure.subplots_adjust(top=1 - (TOP + lines * _LEGEND_LINE) / height)
    figure.legend(
        handles,
        labels,
        loc="upper left",
        bbox_to_anchor=(0.01, 1.0),
        borderaxespad=0.2,
        ncols=columns,
        frameon=False,
        fontsize="small",
    )


def _columns(labels: Sequence[str]) -> int:
    """How many entries of a legend fit beside each other."""
    widest = _HANDLE + _LETTER * max(map(len, labels), default=0)
    return max(1, min(_MOST_COLUMNS, len(labels), int(WIDTH / widest)))
