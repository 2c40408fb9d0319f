"""Text that people read: numbers with their units, lines of 80 columns, and names from outside.

A process may call itself anything of 15 bytes, escape sequences included. What goes to
a terminal or a file is made printable first, and nothing is ever taken for markup.
"""

from __future__ import annotations

import math
import textwrap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from locality.arrays import Array

#: Columns of a line.
WIDTH = 80
#: Intervals between two headings.
PAGE = 20
#: Matrices of more CPUs do not fit a terminal; JSON has them whole.
WIDEST_MATRIX = 8

#: Of a long word, and of a long line, so many characters are kept at its beginning and its end.
_WORD, _LINE = (160, 40), (1500, 500)

#: Below the first, in ns, a time is given in that unit, which has so many ns: where rounding makes
#: it 1000, it is 1 of the next.
TIME_UNITS = (
    (999.5, 1, "ns"),
    (999_950.0, 1_000, "us"),
    (999_950_000.0, 1_000_000, "ms"),
    (float("inf"), 1_000_000_000, "s"),
)
_UP_TO_NS, _UP_TO_US, _UP_TO_MS = (up_to for up_to, _, _ in TIME_UNITS[:-1])


def printable(raw: bytes | str) -> str:
    r"""Every character that is not printable becomes an escape such as ``\x1b``."""
    text = raw.decode(errors="backslashreplace") if isinstance(raw, bytes) else raw
    if text.isprintable():
        return text
    return "".join(
        character
        if character.isprintable()
        else character.encode("unicode_escape", "backslashreplace").decode()
        for character in text
    )


def shortened(text: str) -> str:
    """A line with what is overlong in it cut: a message repeats what it is about, not all of it."""
    return _cut(" ".join(_cut(word, *_WORD) for word in text.split(" ")), *_LINE)


def _cut(text: str, first: int, last: int) -> str:
    """The first and the last characters of a text that has more than those."""
    left_out = len(text) - first - last
    return text if left_out <= 0 else f"{text[:first]}[... {left_out} more ...]{text[-last:]}"


def clipped(text: str, width: int) -> str:
    """A text of at most so many characters, with a mark where it was cut."""
    return text if len(text) <= width else f"{text[: width - 1]}…"


def spreadsheet_text(raw: bytes | str) -> str:
    """Printable text that no spreadsheet takes for a formula: an apostrophe goes before one."""
    text = printable(raw)
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text


def share(part: int | None, whole: int | None) -> float | None:
    """A percentage, or None where a figure is missing or nothing was counted."""
    return None if part is None or not whole else 100 * part / whole


def percent(value: float | None, digits: int = 1) -> str:
    """``98.7%``, or ``?`` for a figure that could not be seen.

    Cut, not rounded: 99.996 is not yet 100.
    """
    if value is None:
        return "?"
    scale = 10**digits
    # 0.29 * 100 is a little less than 29 in binary; that is not what is to be cut.
    return f"{math.floor(round(value * scale, 6)) / scale:.{digits}f}%"


def duration(ns: float | None) -> str:
    """A time with the unit that suits it: ``870ns``, ``12.3us``, ``4.5ms``, ``1.2s``."""
    if ns is None:
        return "?"
    if ns < _UP_TO_NS:
        return f"{ns:.0f}ns"
    if ns < _UP_TO_US:
        return f"{ns / 1e3:.1f}us"
    if ns < _UP_TO_MS:
        return f"{ns / 1e6:.1f}ms"
    return f"{ns / 1e9:.1f}s"


def counted(number: int, noun: str) -> str:
    """A number of things: ``1 packet``, ``2,000 packets``, ``3 batches``."""
    many = "es" if noun.endswith(("ch", "s")) else "s"
    return f"{number:,} {noun}{'' if number == 1 else many}"


def kilo_rate(count: int, seconds: float) -> str:
    """Thousands a second, with one digit after the point: ``12.3``."""
    return f"{count / seconds / 1000:.1f}"


def size(count: int) -> str:
    """A number of bytes: ``870 kB``, ``12.3 MB``, ``4.5 GB``."""
    for unit, power in (("GB", 9), ("MB", 6)):
        if count >= 10**power:
            return f"{count / 10**power:.1f} {unit}"
    return f"{count / 1000:.0f} kB"


def wrap(text: str, following: str = "", *, first: str = "", width: int = WIDTH) -> list[str]:
    """Printable lines of at most `width` columns, broken at blanks only.

    Args:
        text: What to say.
        following: What every line but the first begins with.
        first: What the first line begins with.
        width: A word that is longer stays whole.
    """
    return textwrap.TextWrapper(
        width,
        initial_indent=first,
        subsequent_indent=following,
        break_long_words=False,
        break_on_hyphens=False,
        replace_whitespace=False,
    ).wrap(printable(text))


def wrap_command(command: str, indent: int) -> Iterator[str]:
    """A command, broken with backslashes where it must be: it stays a command.

    A comment, which begins with ``#``, stays a comment on each of its lines.
    """
    margin = " " * indent
    if command.startswith("# "):
        yield from wrap(command, f"{margin}# ", first=margin)
        return
    parts = wrap(command, margin, first=margin, width=WIDTH - 2)
    for place, part in enumerate(parts):
        yield part if place == len(parts) - 1 else f"{part} \\"


def matrix_lines(matrix: Array, row_name: str, column_name: str) -> Iterator[str]:
    """A matrix with its CPU numbers; a row more than columns is headed ``?`` if it is used."""
    size = matrix.shape[1]
    names = [f"#{cpu}" for cpu in range(size)]
    if len(matrix) > size and not matrix[size:].any():
        matrix = matrix[:size]
    width = max(5, len(str(matrix.max())), *map(len, names)) + 1
    label = f"{row_name}\\{column_name}"
    yield label + "".join(f"{name:>{width}}" for name in names)
    for cpu, row in enumerate(matrix.tolist()):
        name = f"#{cpu}" if cpu < size else "?"
        yield f"{name:>{len(label)}}" + "".join(f"{value:>{width}}" for value in row)
