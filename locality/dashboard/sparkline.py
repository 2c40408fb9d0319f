"""A share over the last minute, one character a second."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

#: Eight heights from 0 to 100 %; a second without anything to share is a space.
HEIGHTS = "▁▂▃▄▅▆▇█"
SECONDS = 60


def sparkline(percents: Iterable[float | None]) -> str:
    """Percentages as characters, on a scale that never changes: 0 to 100."""
    return "".join(
        " " if percent is None else HEIGHTS[min(int(percent * len(HEIGHTS) / 100), 7)]
        for percent in percents
    )


class Minute:
    """Parts and wholes of each second of the last minute."""

    def __init__(self) -> None:
        self._seconds: dict[int, tuple[float, float]] = {}

    def add(self, second: int, part: float, whole: float) -> None:
        """Count towards a second, numbered from the start."""
        parts, wholes = self.at(second)
        self._seconds[second] = parts + part, wholes + whole
        for old in [one for one in self._seconds if one < second - SECONDS]:
            del self._seconds[old]

    def add_span(self, begin: float, end: float, part: float, whole: float) -> None:
        """Count towards every second that a time covers, by how much of it is covered."""
        length = end - begin
        for second in range(max(int(begin), int(end) - SECONDS), int(end) + 1):
            covered = min(end, second + 1) - max(begin, second)
            if covered > 0:
                self.add(second, part * covered / length, whole * covered / length)

    def at(self, second: int) -> tuple[float, float]:
        """Part and whole of a second; zeros if nothing was counted."""
        return self._seconds.get(second, (0, 0))

    def percents(self, last: int) -> list[float | None]:
        """The share in each of the 60 seconds up to and with the last, in percent."""
        found: list[float | None] = []
        for second in range(last - SECONDS + 1, last + 1):
            part, whole = self.at(second)
            found.append(100 * part / whole if whole else None)
        return found
