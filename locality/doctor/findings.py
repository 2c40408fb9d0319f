"""What a check says."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from locality.machine.topology import format_cpu_list

if TYPE_CHECKING:
    from collections.abc import Iterable

    from locality.changes.protocol import Change
    from locality.doctor.values import Value


class Level(Enum):
    """How bad it is, worst first."""

    COSTS = "costs locality"
    MAY = "may cost locality"
    OK = "ok"


@dataclass(frozen=True, slots=True)
class Finding:
    """The answer to one question of the checklist.

    Attributes:
        level: How bad it is.
        subject: What was looked at: a device and a part of it, a group, a setting.
        what: What was found, in one sentence.
        why: Why that costs locality; empty if it does not.
        read: What was read to find it.
        changes: What `--fix` changes.
        by_hand: Commands that fix it and that `--fix` does not run.
        by_hand_undo: The commands that undo those.
        not_applied: Why `--fix` leaves `by_hand` to the user.
        code: Which check it is the answer of: one of `locality.doctor.checklist.CODES`.
    """

    level: Level
    subject: str
    what: str
    why: str = ""
    read: tuple[Value, ...] = ()
    changes: tuple[Change, ...] = ()
    by_hand: tuple[str, ...] = ()
    by_hand_undo: tuple[str, ...] = ()
    not_applied: str = ""
    code: str = ""

    @property
    def fix(self) -> tuple[str, ...]:
        """The commands that fix it."""
        return (*(change.command for change in self.changes), *self.by_hand)

    @property
    def undo(self) -> tuple[str, ...]:
        """The commands that undo them, last first."""
        return (*self.by_hand_undo, *(change.undo_command for change in reversed(self.changes)))


def numbered(noun: str, numbers: Iterable[int]) -> str:
    """Things by their numbers: ``queue 0``, ``CPUs 1-3,7``."""
    listed = sorted(numbers)
    return f"{noun}{'s' * (len(listed) != 1)} {format_cpu_list(listed)}"
