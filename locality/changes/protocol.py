"""What every change can do: be saved, be made, and be described; and what a saved state can do.

A new kind of change is a class for each, and an entry in `undo_file.SAVED`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Protocol

from locality.errors import LocalityError

if TYPE_CHECKING:
    from typing import Self

    from locality.changes.entry import Entry
    from locality.changes.system import System


class LeftAlone(LocalityError):  # noqa: N818 - reads as the state it names
    """Somebody else changed it since, so it stays; of our change nothing is left to take back."""


class Change(Protocol):
    """One change of the running system that can be taken back exactly."""

    @property
    def command(self) -> str:
        """What makes the change by hand: a line for a shell."""

    @property
    def undo_command(self) -> str:
        """What takes it back by hand."""

    def save(self, system: System, /) -> Saved:
        """What is there now, which the change will replace.

        Raises:
            OSError: It cannot be read.
            LocalityError: It has gone, or it could not be put back.
        """

    def make(self, system: System, /) -> None:
        """Make the change.

        Raises:
            OSError: The kernel refused.
            LocalityError: What is to change has gone, or the kernel refused.
        """


class Saved(Protocol):
    """What was there before a change. As a string: its name in messages.

    Attributes:
        KEY: The member of its JSON form that no other kind has.
    """

    KEY: ClassVar[str]

    def restore(self, system: System, /) -> bool:
        """Put it back, and say whether something else was there.

        Raises:
            OSError: The kernel refused.
            LeftAlone: What is there now is somebody else's, and nothing was there before.
            LocalityError: What it belonged to has gone, it does not read as it was, or what is
                there now is somebody else's, and the earlier can be put back after it.
        """

    def to_json(self) -> Entry:
        """What an undo file has of it."""

    @classmethod
    def from_json(cls, entry: Entry, /) -> Self:
        """Read what `to_json` gave, with every type checked; see `entry` for the errors."""
