"""What a look at groups need not look at again: sockets that share their address with no other."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from locality.reuseport.bound import BoundSocket
    from locality.reuseport.places import Place


class Alone:
    """The sockets that looks found in no group, so that the next one passes them over.

    Such a socket can come into a group only with another one on its address.
    """

    def __init__(self) -> None:
        self._known = frozenset[frozenset[int]]()

    def others(self, found_at: Mapping[Place, list[BoundSocket]]) -> dict[Place, list[BoundSocket]]:
        """The places where there may be a group; what has gone is forgotten."""
        found = {place: _inodes(sockets) for place, sockets in found_at.items()}
        self._known &= frozenset(found.values())
        return {place: found_at[place] for place, here in found.items() if here not in self._known}

    def note(self, sockets: list[BoundSocket]) -> None:
        """Note that those of a place are in no group."""
        self._known |= {_inodes(sockets)}


def _inodes(sockets: list[BoundSocket]) -> frozenset[int]:
    return frozenset(one.inode for one in sockets)
