"""What is behind a pid and fd: which kind of socket, on which address, in which group.

Everything is asked of the kernel, nothing is judged or changed; `preflight` judges.
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from locality.reuseport.borrow import borrowed_socket
from locality.reuseport.descriptors import held_sockets
from locality.reuseport.group import Group, reader_of_borrowed, with_workers
from locality.reuseport.places import TABLES, namespace_of, tables_of
from locality.reuseport.socket_facts import address_of, is_connected, kind_of, shares_port

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from locality.reuseport.evidence import Seen

_NO_GROUP = Group((), order_known=False, attached=None, program=None, how="of no group")


@dataclass(frozen=True, slots=True)
class Target:
    """What is behind a pid and fd.

    Attributes:
        kind: ``tcp``, ``udp``, ``mptcp``, or the socket's family in lower case.
        address: Bound address and port as ``127.0.0.1:80`` or ``[::]:80``, or empty.
        reuseport: Whether SO_REUSEPORT is set.
        listening: Whether it is a listening socket.
        connected: Whether it has a peer.
        group: Its reuseport group; without members if it has joined none.
        listeners: The answer of `listeners_of` for the process.
        inode: The socket itself: the process may open another one of the same number.
    """

    pid: int
    fd: int
    kind: str
    address: str
    reuseport: bool
    listening: bool
    connected: bool
    group: Group
    listeners: Mapping[int, int]
    inode: int = 0


def inspect(pid: int, fd: int) -> Target:
    """Find out what is behind a pid and fd; see `inspect_all`."""
    return inspect_all([(pid, fd)])[0]


def inspect_all(
    places: Iterable[tuple[int, int]],
    known: Seen | None = None,
    look: float = 0,
    among: Collection[int] = (),
) -> list[Target]:
    """Find out what is behind each pid and fd, with one look at who serves all of it.

    Args:
        places: The pids and fds.
        known: What was seen before of the threads that serve their sockets.
        look: Seconds to look by probe for servers that /proc does not show.
        among: The inodes of the sockets that are meant; any if empty.

    Raises:
        LocalityError: One cannot be reached, is not a socket, or is another one.
    """
    targets = identify(places, among)
    # Only now: while we held a duplicate we would have been found as a holder ourselves.
    groups = with_workers([target.group for target in targets], None, known, look)
    return [replace(target, group=group) for target, group in zip(targets, groups, strict=True)]


def identify(places: Iterable[tuple[int, int]], among: Collection[int] = ()) -> list[Target]:
    """The same without the workers of the groups."""
    listening = Listening()
    read = reader_of_borrowed()
    return [_inspect(pid, fd, listening.of(pid), among, read) for pid, fd in places]


def bound_port(pid: int, fd: int) -> tuple[str, int]:
    """The kind of a socket, as in `Target`, and the port that it listens on or takes datagrams on.

    The port is 0 of any other socket; see `inspect_all` for errors.
    """
    with borrowed_socket(pid, fd) as borrowed:
        kind = kind_of(borrowed)
        if kind == "tcp":
            is_bound = borrowed.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        else:
            is_bound = kind == "udp" and not is_connected(borrowed)
        return kind, borrowed.getsockname()[1] if is_bound else 0


class Listening:
    """What processes listen on, or take datagrams on.

    Each process is asked once, for it may have hundreds of groups, and each network namespace is
    read once, for it may have hundreds of processes that have one.
    """

    def __init__(self) -> None:
        self._ports: dict[int, dict[int, int]] = {}
        self._of: dict[int, dict[int, int]] = {}

    def of(self, pid: int) -> dict[int, int]:
        """The sockets of a process: fd to port; none if it has ended."""
        if pid not in self._of:
            ports = self._ports_around(pid)
            held = sorted(held_sockets(pid).items())
            self._of[pid] = {fd: ports[inode] for fd, inode in held if inode in ports}
        return self._of[pid]

    def _ports_around(self, pid: int) -> dict[int, int]:
        """The ports of the sockets in a process's network namespace, by inode."""
        try:
            namespace = tables_of(pid)
        except OSError:  # it has ended
            return {}
        if namespace not in self._ports:
            around = namespace_of(pid)
            self._ports[namespace] = {
                bound.inode: bound.port for table in TABLES for bound in around.bound_sockets(table)
            }
        return self._ports[namespace]


def _inspect(
    pid: int,
    fd: int,
    listeners: Mapping[int, int],
    among: Collection[int],
    read: Callable[[socket.socket, int], Group],
) -> Target:
    with borrowed_socket(pid, fd, among) as borrowed:
        kind = kind_of(borrowed)
        return Target(
            pid=pid,
            fd=fd,
            kind=kind,
            address=address_of(borrowed),
            reuseport=shares_port(borrowed),
            listening=bool(borrowed.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)),
            connected=is_connected(borrowed),
            group=read(borrowed, pid) if kind in {"tcp", "udp"} else _NO_GROUP,
            listeners=listeners,
            inode=os.fstat(borrowed.fileno()).st_ino,
        )


def listeners_of(pid: int) -> dict[int, int]:
    """The sockets a process listens on, or takes datagrams on: fd to port."""
    return Listening().of(pid)
