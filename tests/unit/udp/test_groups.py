"""Which group a socket is in, look after look."""

from __future__ import annotations

from math import inf

import pytest

from locality.filter import Wanted
from locality.reuseport import survey
from locality.reuseport.group import Group, Member
from locality.reuseport.survey import FoundGroup
from locality.udp import groups
from locality.udp.groups import Membership

NETNS = 4026531833


def found(port: int, *inodes: int) -> FoundGroup:
    """A group on a port, whose sockets have these inodes."""
    members = tuple(map(Member, inodes))
    group = Group(members, order_known=True, attached=False, program=None, how="made up")
    return FoundGroup("udp", "0.0.0.0", port, NETNS, None, None, group)


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[FoundGroup]:
    """What the next look finds; no look is too soon after the one before."""
    next_look: list[FoundGroup] = []
    monkeypatch.setattr(survey, "find", lambda **_wanted: [*next_look])
    monkeypatch.setattr(groups, "SHARE_OF_TIME", inf)
    monkeypatch.setattr(groups, "SHARE_FOR_CHANGES", inf)
    return next_look


# Bug: two groups each have a socket that is just being closed, which has no inode, and become one.
def test_sockets_that_are_being_closed(looks: list[FoundGroup]) -> None:
    looks[:] = [found(53, 0, 11), found(5000, 0, 21)]
    members = Membership(Wanted())
    assert sorted(group.port for group in members.groups.values()) == [53, 5000]
    assert {inode: place.position for inode, place in members.places.items()} == {11: 1, 21: 1}
    looks.reverse()
    members.refresh()
    assert [members.groups[members.places[inode].group].port for inode in (11, 21)] == [53, 5000]
    assert len(members.groups) == 2


# Bugs: a group becomes another one when its sockets are replaced; in days of sockets that come and
# go, what is known of them fills the memory.
def test_sockets_come_and_go(looks: list[FoundGroup], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(groups, "MOST_NUMBERED", 2)
    looks[:] = [found(53, 1, 2)]
    members = Membership(Wanted())
    for first in range(2, 50):
        looks[:] = [found(53, first, first + 1)]
        members.refresh()
    assert list(members.groups) == [0]
    assert {place.group for place in members.places.values()} == {0}
    assert len(members._numbers) == 2  # noqa: SLF001 - memory must not grow
