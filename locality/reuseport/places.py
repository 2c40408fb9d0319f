"""Which sockets of every network namespace can be in a reuseport group, as /proc shows them."""

from __future__ import annotations

from collections import defaultdict
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from locality.machine.processes import processes
from locality.reuseport.group import BoundSocket, bound_sockets

if TYPE_CHECKING:
    from collections.abc import Collection

TABLES = ("tcp", "tcp6", "udp", "udp6")


class Place(NamedTuple):
    """What the sockets of a group have in common, as /proc shows it."""

    netns: int | None
    pid: int
    """A process in the namespace, the same one for all places there."""
    table: str
    local: str
    uid: int

    @property
    def protocol(self) -> str:
        """``tcp`` or ``udp``."""
        return self.table.removesuffix("6")


def places(ports: Collection[int]) -> dict[Place, list[BoundSocket]]:
    """The sockets that can be in a group, by where they are."""
    found: dict[Place, list[BoundSocket]] = defaultdict(list)
    for pid, netns in namespaces():
        for table in TABLES:
            for one in bound_sockets(pid, table):
                if one.inode and (not ports or one.port in ports):
                    found[Place(netns, pid, table, one.local, one.uid)].append(one)
    return found


def open_now(pid: int, table: str) -> frozenset[int]:
    """The sockets that are in a table of a process's namespace now, by inode."""
    return frozenset(one.inode for one in bound_sockets(pid, table))


def namespaces() -> Collection[tuple[int, int | None]]:
    """A process in each network namespace, and the namespace's inode if it may be seen."""
    found: dict[int, tuple[int, int | None]] = {}
    for pid in processes():
        with suppress(OSError):  # it has just ended
            # The tables of a namespace are the same files for all its processes, and this may
            # be asked of anybody's; ns/net may not.
            namespace = Path(f"/proc/{pid}/net/tcp").stat().st_ino
            if found.get(namespace, (0, None))[1] is None:
                found[namespace] = pid, _netns(pid)
    return found.values()


def _netns(pid: int) -> int | None:
    try:
        return Path(f"/proc/{pid}/ns/net").stat().st_ino
    except OSError:
        return None
