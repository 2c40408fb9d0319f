"""Make changes so that they can be taken back, and take them back exactly."""

from __future__ import annotations

from typing import TYPE_CHECKING

from locality.changes import undo_file as file
from locality.changes.protocol import LeftAlone
from locality.errors import LocalityError, in_words
from locality.text import printable, shortened

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from locality.changes.protocol import Change, Saved
    from locality.changes.system import System


def apply(changes: Sequence[Change], undo_file: Path, system: System) -> list[str]:
    """Make changes, after writing the file that takes them back.

    Returns:
        What could not be changed, a line each; the rest was.

    Raises:
        LocalityError: The undo file is there already or cannot be written, or what is to
            change cannot be read: then nothing was changed.
    """
    prepare(changes, undo_file, system)
    return make(changes, system)


def prepare(changes: Sequence[Change], undo_file: Path, system: System) -> None:
    """Write the file that takes changes back, and make none of them.

    Raises:
        LocalityError: As `apply` does.
    """
    file.write(undo_file, [_save(change, system) for change in changes], system)


def make(changes: Sequence[Change], system: System) -> list[str]:
    """Make changes whose undo file is written; what could not be changed, a line each."""
    failed = []
    for change in changes:
        try:
            change.make(system)
        except (OSError, LocalityError) as error:
            failed.append(f"{change.command}: {in_words(error)}")
    return failed


def undo(undo_file: Path, system: System, left: list[str] | None = None) -> tuple[int, list[str]]:
    """Put everything back as an undo file says, last change first.

    Args:
        undo_file: The file.
        system: What is changed.
        left: Takes a line for each thing that stays, because what is there is somebody else's and
            nothing of the change is left. Without it they count as what could not be put back.

    Returns:
        How many things were put back (what is as it was already is not counted), and
        what could not be, a line each.

    Raises:
        LocalityError: It is no undo file, or one of another boot or network namespace.
    """
    restored, failed = 0, list[str]()
    for saved in reversed(file.read(undo_file, system)):
        try:
            restored += saved.restore(system)
        except Exception as error:  # noqa: BLE001 - whatever it is, the others are put back
            lines = failed if left is None or not isinstance(error, LeftAlone) else left
            lines.append(shortened(printable(f"{saved}: {in_words(error)}")))
    return restored, failed


def _save(change: Change, system: System) -> Saved:
    try:
        return change.save(system)
    except (OSError, LocalityError) as error:
        raise LocalityError(f"nothing changed: {change.command}: {in_words(error)}") from error
