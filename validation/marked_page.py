"""The part of a page that a program writes, between marks: the rest is written by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

from locality.errors import LocalityError

if TYPE_CHECKING:
    from collections.abc import Iterable

END = "<!-- end of it -->\n"


def filled(page: str, target: str, lines: Iterable[str]) -> str:
    """A page with these lines between its marks.

    Args:
        page: The whole page as it was.
        target: What `make` calls it.
        lines: What to put there.

    Raises:
        LocalityError: The page has lost a mark, so that it is not known what to keep.
    """
    begin = f"<!-- begin of what make {target} wrote -->\n"
    before, begun, rest = page.partition(begin)
    _, ended, after = rest.partition(END)
    if not (begun and ended):
        raise LocalityError(f"the page has no part that make {target} writes: a mark is missing")
    return f"{before}{begin}\n" + "\n".join(lines) + f"\n\n{END}{after}"
