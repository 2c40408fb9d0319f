"""What a console printed, as a picture that needs nothing from the network."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from locality.errors import LocalityError

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
    try:
        path.write_text(picture, encoding="utf-8")
    except OSError as error:
        raise LocalityError(f"cannot write {path}: {error.strerror}") from None
