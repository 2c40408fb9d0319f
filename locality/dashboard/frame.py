"""Frames: lines of styled text, from which the dashboard is put together.

Whatever comes into a frame goes through `line`, which makes it printable and never reads
it as markup: the name of a process is data.
"""

from __future__ import annotations

from itertools import zip_longest
from typing import TYPE_CHECKING, TypeAlias

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from rich.style import Style

from locality.text import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

#: A text, or a text and how it looks.
Part: TypeAlias = str | tuple[str, Style]
Line: TypeAlias = list[Segment]

PLAIN = Style()
DIM = Style(dim=True)
STRONG = Style(bold=True)
GOOD = Style(color="green", bold=True)
MIDDLING = Style(color="yellow", bold=True)
BAD = Style(color="red", bold=True)

#: What stands for a character that the terminal's encoding does not have.
_IN_ASCII = str.maketrans("▁▂▃▄▅▆▇█·…→", "_.-:=+*#.~>")


def line(*parts: Part) -> Line:
    """Texts one after the other."""
    return [
        Segment(printable(text), style)
        for text, style in ((part, PLAIN) if isinstance(part, str) else part for part in parts)
    ]


def shorten(text: str, width: int) -> str:
    """A text of at most so many cells, with a mark where it was cut."""
    text = printable(text)
    return text if cell_len(text) <= width else set_cell_size(text, max(0, width - 1)) + "…"


def column(text: str, width: int) -> str:
    """A text of exactly so many cells."""
    return set_cell_size(shorten(text, width), width)


def spread(left: Line, right: Line, width: int) -> Line:
    """One text at each edge; the left one gives way."""
    room = max(0, width - Segment.get_line_length(right) - 1)
    return [*Segment.adjust_line_length(left, room), Segment(" "), *right]


def beside(left: Sequence[Line], right: Sequence[Line], left_width: int) -> list[Line]:
    """Two blocks next to each other, with a gap of two cells."""
    rows: Iterator[tuple[Line, Line]] = zip_longest(left, right, fillvalue=[])
    return [
        [*Segment.adjust_line_length(one, left_width), Segment("  "), *other] for one, other in rows
    ]


def fit(lines: Iterable[Line], width: int, height: int) -> list[Line]:
    """The lines that a screen has room for, cut to its width."""
    return [
        Segment.adjust_line_length(one, min(width, Segment.get_line_length(one)))
        for one in list(lines)[:height]
    ]


def in_encoding(lines: Iterable[Line], encoding: str) -> Iterator[Line]:
    """Replace characters that the encoding of the terminal does not have."""
    if encoding.lower().startswith("utf"):
        yield from lines
        return
    for one in lines:
        yield [
            Segment(text.translate(_IN_ASCII).encode(encoding, "replace").decode(encoding), style)
            for text, style, _ in one
        ]


def grade(percent: float | None) -> Style:
    """How a locality percentage looks; the figure itself is always printed, too."""
    if percent is None:
        return PLAIN
    if percent >= 90:  # noqa: PLR2004 - as good as local
        return GOOD
    return MIDDLING if percent >= 50 else BAD  # noqa: PLR2004 - rather local than not


def amount(value: float) -> str:
    """A number in at most six cells: ``870``, ``98.2k``, ``1.5M``."""
    for limit, divisor, unit in (
        (9_999.5, 1, ""),
        (999_950, 1_000, "k"),
        (999_950_000, 10**6, "M"),
    ):
        if value < limit:
            return f"{value / divisor:.{1 if unit else 0}f}{unit}"
    return f"{value / 10**9:.1f}G"
