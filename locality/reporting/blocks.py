"""What the parts of the report are made of: named recordings in, blocks of a page out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from locality.reporting import figures as report_figures
from locality.reporting.page import Picture, Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from locality.recording.frames import Recording

Named = tuple[str, "Recording"]
Block = str | Table | Picture


def picture(name: str, caption: str, figure: Figure) -> Picture:
    """A drawn figure with what stands below it."""
    return Picture(name, caption, figure, report_figures.svg(figure))
