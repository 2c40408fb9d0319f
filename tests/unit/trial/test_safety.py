"""What ends a trial at once, beside harm; on running servers it is in tests/live."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from locality.errors import LocalityError
from locality.reuseport.group import Group, Member
from locality.reuseport.survey import FoundGroup
from locality.trial import safety
from locality.trial.safety import Safety
from locality.trial.targets import Target

if TYPE_CHECKING:
    from locality.cbpf import Program


def listeners(*inodes: int) -> Target:
    members = tuple(map(Member, inodes))
    group = Group(members, order_known=True, attached=False, program=None, how="")
    return Target(80, 1, (FoundGroup("tcp", "127.0.0.1", 80, 1, 7, 3, group),))


# Bug: a server has opened its listeners anew under the same numbers, and nobody looks: the arms of
# the trial are those of sockets that are closed.
@pytest.mark.parametrize(("now", "ends"), [((1, 2), False), ((3, 4), True)])
def test_a_group_that_cannot_be_reached_is_looked_for(
    now: tuple[int, ...], monkeypatch: pytest.MonkeyPatch, *, ends: bool
) -> None:
    def another(*_given: object) -> Group:
        raise LocalityError("fd 3 of pid 7 is another socket now")

    planned = listeners(1, 2)
    expected: list[tuple[FoundGroup, Program | None]] = [(group, None) for group in planned.groups]
    monkeypatch.setattr(safety, "read_sockets", another)
    monkeypatch.setattr(Target, "again", lambda _target: listeners(*now))
    nothing: Any = None
    watching = Safety(nothing, nothing, planned, lambda: expected)
    reason = watching._replaced()  # noqa: SLF001
    assert (reason is not None and "changed" in reason) == ends
