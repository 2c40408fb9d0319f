"""Which sockets can be in a group: the tables of network namespaces, by sock_diag and by /proc."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from locality.reuseport import sock_diag, target
from locality.reuseport.bound import BoundSocket, parse_table
from locality.reuseport.places import TABLES, Namespace, namespace_of, namespaces

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SERVER = """
import socket, sys
listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
listener.bind(("127.0.0.1", 0))
listener.listen(7)
print(listener.fileno(), flush=True)
sys.stdin.read()
"""


def ended() -> int:
    """The number of a process that has ended."""
    with subprocess.Popen(["true"]) as process:
        pass
    return process.pid


@contextmanager
def listeners() -> Iterator[list[socket.socket]]:
    """One of each table, TCP listening with a connection that waits."""
    with ExitStack() as stack:
        made = []
        for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
            tcp = stack.enter_context(socket.socket(family))
            tcp.bind((address, 0))
            tcp.listen(5)
            stack.enter_context(socket.create_connection(tcp.getsockname()[:2]))
            udp = stack.enter_context(socket.socket(family, socket.SOCK_DGRAM))
            udp.bind((address, 0))
            made += [tcp, udp]
        yield made


def nothing(*_arguments: object) -> list[sock_diag.Listed]:
    raise OSError


# Bugs: sock_diag's addresses, ports, queues or states are read wrongly; connections are listed;
# the port is not asked for.
def test_sock_diag_lists_what_proc_lists() -> None:
    ours = namespace_of(os.getpid())
    with listeners() as made:
        ports = [one.getsockname()[1] for one in made]
        for table in TABLES:
            listed = [BoundSocket(*one) for one in sock_diag.sockets(table)]
            shown = ours.read(table, partial(parse_table, table)) or []
            ours_only = {os.fstat(one.fileno()).st_ino for one in made}
            both = [
                sorted(one for one in some if one.inode in ours_only) for some in (listed, shown)
            ]
            assert len(both[0]) == 1
            assert both[0] == both[1]
            (port,) = {one.port for one in both[0]}
            assert {one.inode for one in ours.bound_sockets(table, [port])} == {both[0][0].inode}
            assert port in ports


# Bug: the process by which a namespace is looked at ends before its tables are read, and the
# namespace passes for one without sockets.
def test_a_process_that_ends_hides_no_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sock_diag, "sockets", nothing)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        namespace = Namespace(1, (ended(), os.getpid()))
        inodes = {one.inode for one in namespace.bound_sockets("tcp")}
        assert os.fstat(listener.fileno()).st_ino in inodes
    assert Namespace(1, (ended(),)).bound_sockets("tcp") == []


# Bug: our own namespace is looked at through whichever process has the lowest number.
def test_our_own_process_comes_first() -> None:
    (ours,) = (one for one in namespaces() if os.getpid() in one.pids)
    assert ours.pids[0] == os.getpid()
    assert len(set(ours.pids)) == len(ours.pids)


@contextmanager
def servers(count: int) -> Iterator[list[tuple[int, int]]]:
    """Processes with a listener each: pid and descriptor."""
    with ExitStack() as stack:
        started = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", SERVER],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            for _ in range(count)
        ]
        try:
            yield [(one.pid, int(one.stdout.readline())) for one in started if one.stdout]
        finally:
            for one in started:
                one.kill()


class Opened:
    """Counts the tables of /proc/PID/net that this process opens, and its netlink sockets."""

    def __init__(self) -> None:
        self.counts = False
        self.tables: list[str] = []
        self._ours = threading.get_ident()
        sys.addaudithook(self._note)  # there is no way to take it back

    def _note(self, event: str, arguments: Sequence[Any]) -> None:
        if not self.counts:
            return
        if event == "open" and "/net/" in str(arguments[0]):
            self.tables.append(str(arguments[0]))
        if event == "socket.__new__" and arguments[1] == socket.AF_NETLINK:
            self.tables.append("netlink")


# Bug: the tables of a namespace are read once for each process that has a group: the work grows
# with the square of the processes.
@pytest.mark.parametrize("refused", [False, True], ids=["sock_diag", "proc"])
def test_a_namespace_is_read_once(monkeypatch: pytest.MonkeyPatch, refused: bool) -> None:  # noqa: FBT001
    if refused:
        monkeypatch.setattr(sock_diag, "sockets", nothing)
    opened = Opened()
    read = []
    with servers(5) as sockets:
        for some in (sockets[:1], sockets):
            opened.tables.clear()
            opened.counts = True
            found = target.identify(some)
            opened.counts = False
            read.append(len(opened.tables))
            assert [one.listeners[one.fd] > 0 for one in found] == [True] * len(some)
    assert read[0] == read[1] == len(TABLES)
