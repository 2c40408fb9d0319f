"""What a console printed, as a picture that needs nothing from the network."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from locality.files import new_file

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console


def save_svg(console: Console, path: Path, title: str) -> None:
    """Write what a recording console printed as an SVG picture.

    Raises:
        LocalityError: The file cannot be written.
    """
    picture = console.export_svg(title=title)
    # Rich would have the viewer fetch a font from the network; any monospaced one will do.
    picture = re.sub(r"@font-face \{.*?\}", "", picture, flags=re.DOTALL)
    # The last picture of a run is that of the last run: an older one is replaced.
    with new_file(path, force=True) as file:
        file.write(picture.encode())
