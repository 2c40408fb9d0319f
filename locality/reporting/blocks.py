"""What a report is made of: named recordings in, blocks of a page out."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

from locality.reporting import figures
from locality.reporting.page import Picture, Section, Table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from matplotlib.figure import Figure

    from locality.machine.distance import Counts
    from locality.recording.recording import Recording
    from locality.reporting.over_time import OverTime

Named = tuple[str, "Recording"]
Block = str | Table | Picture


class Measure(NamedTuple):
    """A share that is compared before and after.

    Attributes:
        words: What it is, in a sentence.
        name: The same in the name of a file.
        over_time: It over a recording's time.
        by_distance: What it counts by distance, if that is known.
    """

    words: str
    name: str
    over_time: Callable[[Recording], OverTime]
    by_distance: Callable[[Recording], Counts | None] | None = None


class KindReport(Protocol):
    """What a kind of measurement has to say: its module `report`."""

    MEASURES: Sequence[Measure]

    @staticmethod
    def events(recording: Recording) -> int:
        """How much was counted, in the kind's own unit."""
        ...

    @staticmethod
    def headline(recording: Recording) -> str:
        """What was counted and how local it was, in a part of a sentence."""
        ...

    @staticmethod
    def cautions(recording: Recording) -> Iterator[str]:
        """What a reader must know before believing the figures."""
        ...

    @staticmethod
    def blocks(prefix: str, recording: Recording) -> Iterator[Block]:
        """Figures and tables; the names of the figures begin with the prefix."""
        ...

    @staticmethod
    def change_sections(before: Sequence[Named], after: Sequence[Named]) -> Iterator[Section]:
        """What else there is to say of two sides; each section begins with the result."""
        ...


def picture(name: str, caption: str, figure: Figure) -> Picture:
    """A figure with what stands below it."""
    return Picture(name, caption, figure, figures.svg)
