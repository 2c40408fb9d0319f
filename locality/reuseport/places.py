"""Which sockets of every network namespace can be in a reuseport group, as /proc shows them."""

from __future__ import annotations

import os
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from locality.machine.limits import PassingOver
from locality.machine.processes import processes
from locality.reuseport import sock_diag
from locality.reuseport.bound import BoundSocket, parse_table

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

TABLES = ("tcp", "tcp6", "udp", "udp6")

_FEW_PORTS = 8
"""More are not asked for one by one."""
_FEW_PROCESSES = 3
"""So many are tried to enter a namespace; if it is not allowed, it is allowed for none."""

_Parsed = TypeVar("_Parsed")


@dataclass(frozen=True, eq=False)
class Namespace:
    """A network namespace in which processes live.

    Attributes:
        netns: Its inode, or None if it may not be seen.
        pids: Its processes: ours first, which does not end while we look, then in order.
    """

    netns: int | None
    pids: tuple[int, ...]

    def read(self, table: str, parse: Callable[[Iterable[str]], _Parsed]) -> _Parsed | None:
        """A table of its sockets, through the first process that has not ended.

        Args:
            table: ``tcp``, ``tcp6``, ``udp`` or ``udp6``.
            parse: Makes of the lines, with their heading, what is wanted of them.

        Returns:
            None if all its processes have ended, or if there is no such table.
        """
        for pid in self.pids:
            with PassingOver(), open(f"/proc/{pid}/net/{table}") as lines:  # noqa: PTH123
                return parse(lines)
        return None

    def bound_sockets(self, table: str, ports: Collection[int] = ()) -> list[BoundSocket]:
        """Its sockets that can be in a group.

        Args:
            table: ``tcp``, ``tcp6``, ``udp`` or ``udp6``.
            ports: Only on these ports; on all if empty.
        """
        found = self._listed(table, ports)
        if found is None:
            found = self.read(table, partial(parse_table, table)) or []
        return [one for one in found if not ports or one.port in ports]

    def _listed(self, table: str, ports: Collection[int]) -> list[BoundSocket] | None:
        """What sock_diag lists; None where it cannot be asked."""
        asked = [*ports] if len(ports) <= _FEW_PORTS else []
        for pid in (None,) if os.getpid() in self.pids else self.pids[:_FEW_PROCESSES]:
            with suppress(OSError):
                return [
                    BoundSocket(*one)
                    for port in asked or [0]
                    for one in sock_diag.sockets(table, port, pid)
                ]
        return None


class Place(NamedTuple):
    """What the sockets of a group have in common, as /proc shows it."""

    namespace: Namespace
    table: str
    local: str
    uid: int

    @property
    def protocol(self) -> str:
        """``tcp`` or ``udp``."""
        return self.table.removesuffix("6")

    @property
    def name(self) -> str:
        """Protocol, address and port, as ``tcp 127.0.0.1:80``."""
        bound = BoundSocket(self.local, 0, 0, 0)
        return f"{self.protocol} {bound.host}:{bound.port}"


def places(ports: Collection[int], netns: int | None = None) -> dict[Place, list[BoundSocket]]:
    """The sockets that can be in a group, by where they are.

    Args:
        ports: Only on these ports; on all if empty.
        netns: Only in the network namespace of this inode; in all if None.
    """
    found: dict[Place, list[BoundSocket]] = defaultdict(list)
    for namespace in namespaces():
        if netns not in {None, namespace.netns}:
            continue
        for table in TABLES:
            for one in namespace.bound_sockets(table, ports):
                if one.inode:
                    found[Place(namespace, table, one.local, one.uid)].append(one)
    return found


def open_now(namespace: Namespace, table: str) -> frozenset[int]:
    """The sockets that are in a table of a namespace now, by inode."""
    return frozenset(one.inode for one in namespace.bound_sockets(table))


def namespaces() -> list[Namespace]:
    """The network namespaces that have a process."""
    members: dict[int, list[int]] = defaultdict(list)
    ourselves = os.getpid()
    for pid in (ourselves, *(pid for pid in processes() if pid != ourselves)):
        with suppress(OSError):  # it has just ended
            members[tables_of(pid)].append(pid)
    return [Namespace(_netns(pids), tuple(pids)) for pids in members.values()]


def namespace_of(pid: int) -> Namespace:
    """The network namespace of a process, of which no other process is known."""
    return Namespace(_netns((pid,)), (pid,))


def tables_of(pid: int) -> int:
    """What tells the network namespaces of processes apart: one of the files that show a table.

    These are the same files for all processes of a namespace, and may be asked of anybody's;
    ns/net may not.

    Raises:
        OSError: The process has ended.
    """
    return os.stat(f"/proc/{pid}/net/tcp").st_ino  # noqa: PTH116 - of every process


def _netns(pids: Iterable[int]) -> int | None:
    """The inode of the namespace of some processes, by the first that shows it."""
    return next(_seen(pids), None)


def _seen(pids: Iterable[int]) -> Iterator[int]:
    for pid in pids:
        with suppress(OSError):
            yield os.stat(f"/proc/{pid}/ns/net").st_ino  # noqa: PTH116 - of every process
