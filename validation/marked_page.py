"""The part of a page that a program writes, between marks: the rest is written by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

END = "<!-- end of it -->\n"


def filled(page: str, target: str, lines: Iterable[str]) -> str:
    """A page with these lines between its marks.

    Args:
        page: The whole page as it was.
        target: What `make` calls it.
        lines: What to put there.
    """
    begin = f"<!-- begin of what make {target} wrote -->\n"
    before, _, rest = page.partition(begin)
    _, _, after = rest.partition(END)
    return f"{before}{begin}\n" + "\n".join(lines) + f"\n\n{END}{after}"
