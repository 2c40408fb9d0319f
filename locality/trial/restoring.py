"""Put everything back when a trial is over, however it ends.

The undo file is written before the first change. When the trial ends, by itself, by a signal or by
an error, what it says is put back, and the file is removed. Only kill -9 or a crash of the machine
leave it behind: `locality undo FILE` then does the same.
"""

from __future__ import annotations

import signal
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from locality.changes.system import this_system
from locality.changes.undo import prepare, undo
from locality.changes.undo_file import undo_command
from locality.errors import LocalityError
from locality.stream import ending_as

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from locality.changes.protocol import Change


@dataclass
class Restoration:
    """What is put back at the end.

    Attributes:
        undo_file: Where it is written; None where there is nothing that a file can take back.
        failed: What could not be put back, a line each.
        left: What somebody else put in the place of a change, and which stays, a line each.
        done: Whether nothing of the changes is left.
    """

    undo_file: Path | None
    failed: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    done: bool = False

    @property
    def is_as_before(self) -> bool:
        """Whether all is as it was before the changes."""
        return self.done and not self.left

    def lines(self) -> Iterator[str]:
        """What is not as it was, for people, and what to do."""
        for line in self.left:
            yield f"left as it is: {line}"
        for line in self.failed:
            yield f"not put back: {line}"
        if self.failed and self.undo_file is not None:
            yield f"to put it back: {undo_command(self.undo_file)}"

    def restore(self) -> None:
        """Put everything back now, once; the undo file goes when that is done."""
        if self.done:
            return
        if self.undo_file is not None:
            self.left.clear()
            try:
                _, self.failed = undo(self.undo_file, this_system(), self.left)
            except LocalityError as error:
                self.failed = [str(error)]
            if self.failed:
                return
            with suppress(OSError):  # somebody removed it
                self.undo_file.unlink()
        self.done = True


@contextmanager
def restoring(
    changes: Sequence[Change], undo_file: Path, say: Callable[[str], None]
) -> Iterator[Restoration]:
    """Write the undo file, and put everything back when the block ends.

    Args:
        changes: What the block will change, as far as an undo file can take it back.
        undo_file: Must not exist.
        say: Takes a line: what could not be put back.

    Raises:
        LocalityError: The undo file cannot be written; then nothing was changed.
    """
    if changes:
        prepare(changes, undo_file, this_system())
    restoration = Restoration(undo_file if changes else None)
    # Also while everything is put back: a shell that is closed with its terminal sends SIGHUP, too.
    with ending_as(signal.SIGTERM, signal.SIGHUP):
        try:
            yield restoration
        finally:
            restoration.restore()
            for line in restoration.lines():
                say(line)
