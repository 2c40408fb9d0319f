"""Filters by network namespace and by cgroup: what passes, and what does not."""

from __future__ import annotations

import os
import socket
from collections import Counter
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from locality.accept.source import RUNGS as ACCEPT_RUNGS
from locality.accept.source import AcceptSource, Filter
from locality.connections.source import ConnectionSource
from locality.filter import Wanted
from locality.lab.namespaces import namespace
from locality.machine.cgroups import Cgroup
from locality.top.source import TopSource
from locality.udp.source import RUNGS as UDP_RUNGS
from locality.udp.source import UdpFilter, UdpSource
from tests.live.helpers.cgroups import cgroup, running_in
from tests.live.helpers.rungs import parametrize

if TYPE_CHECKING:
    from collections.abc import Iterator
    from subprocess import Popen

    from locality.lab.namespaces import Namespace

pytestmark = pytest.mark.live


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if metafunc.definition.get_closest_marker("udp"):
        parametrize(metafunc, UdpSource, UDP_RUNGS)
    else:
        parametrize(metafunc, AcceptSource, ACCEPT_RUNGS)


def inode(pid: int | str) -> int:
    return Path(f"/proc/{pid}/ns/net").stat().st_ino


def serve_tcp(count: int) -> None:
    """Accept so many connections where this thread is, and read once from each."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        for _ in range(count):
            with socket.create_connection(listener.getsockname()) as client:
                client.sendall(b"x")
                with listener.accept()[0] as server:
                    server.recv(1)


def serve_udp(count: int) -> None:
    with (
        socket.socket(type=socket.SOCK_DGRAM) as server,
        socket.socket(type=socket.SOCK_DGRAM) as client,
    ):
        server.bind(("127.0.0.1", 0))
        for _ in range(count):
            client.sendto(b"x", server.getsockname())
            server.recv(1)


@contextmanager
def two_namespaces() -> Iterator[tuple[Namespace, Namespace]]:
    with namespace() as one, namespace() as other:
        yield one, other


# Bugs: connections of another namespace pass the filter; those of the chosen one do not; the
# filter is that of the thread's namespace, which may have left that of its socket.
@pytest.mark.accept
def test_accepts_of_a_network_namespace(rung: str) -> None:
    with two_namespaces() as (one, other):
        netns = inode(one.pid)
        wanted = Filter(netns=netns)
        with AcceptSource(wanted, rung) as source:
            for place, count in ((one, 23), (other, 11)):
                with place.joined():
                    serve_tcp(count)
            serve_tcp(7)
            with one.joined():
                listener = socket.create_server(("127.0.0.1", 0))
                client = socket.create_connection(listener.getsockname())
            with listener, client, listener.accept()[0]:  # from outside
                records = source.read().records
    assert records["netns"].tolist() == [netns] * 24
    assert str(wanted) == f"netns {netns}"


# Bug: `top` or `udp` count the sockets of other namespaces.
@pytest.mark.udp
def test_datagrams_of_a_network_namespace(rung: str) -> None:
    with two_namespaces() as (one, other):
        with UdpSource(UdpFilter(netns=inode(one.pid)), rung=rung) as source:
            for place, count in ((one, 23), (other, 11)):
                with place.joined():
                    serve_udp(count)
            serve_udp(7)
            interval = source.read()
        netns = inode(one.pid)
    assert interval.readers["datagrams"].tolist() == [23]
    assert {*interval.sockets["netns"].tolist()} == {netns}


# Bugs: reads in another namespace count, or are not told apart; those of the asked one are missing.
@pytest.mark.chosen
def test_reads_of_a_network_namespace() -> None:
    with two_namespaces() as (one, other):
        with TopSource(Wanted(netns=inode(one.pid))) as source:
            for place, count in ((one, 23), (other, 11)):
                with place.joined():
                    serve_tcp(count)
                    serve_udp(count)
            rows = source.read().readers
        netns = inode(one.pid)
    assert {*rows["netns"].tolist()} == {netns}
    assert rows["reads"][rows["protocol"] == socket.IPPROTO_TCP].sum() == 23
    if (datagrams := rows["reads"][rows["protocol"] == socket.IPPROTO_UDP]).size:
        assert datagrams.sum() == 23


#: Serves on a listener, and reads a datagram from a socket, as often as it is told to.
SERVER = """
import socket
listener = socket.socket(fileno=int(sys.argv[2]))
datagrams = socket.socket(fileno=int(sys.argv[3]))
print(flush=True)
for line in sys.stdin:
    with listener.accept()[0] as server:
        server.recv(1)
    datagrams.recv(1)
    print(flush=True)
"""


class Server:
    """Serves one connection and one datagram at a time, in a process or in this one."""

    def __init__(self, listener: socket.socket, datagrams: socket.socket) -> None:
        self._listener, self._datagrams = listener, datagrams
        self._child: Popen[bytes] | None = None
        self.pid = os.getpid()

    @classmethod
    @contextmanager
    def started(cls, place: Cgroup | None) -> Iterator[Server]:
        """In a cgroup, or where this process is."""
        with ExitStack() as stack:
            listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            datagrams = stack.enter_context(socket.socket(type=socket.SOCK_DGRAM))
            datagrams.bind(("127.0.0.1", 0))
            server = cls(listener, datagrams)
            if place is not None:
                sockets = listener.fileno(), datagrams.fileno()
                child = running_in(place, SERVER, *map(str, sockets), pass_fds=sockets)
                server._child = stack.enter_context(child)
                server.pid = server._child.pid
                server._wait()
            yield server

    def _wait(self) -> None:
        assert self._child is not None
        assert self._child.stdout is not None
        assert self._child.stdout.readline() == b"\n"

    def serve(self, count: int) -> None:
        """So many connections, and so many datagrams."""
        for _ in range(count):
            with (
                socket.create_connection(self._listener.getsockname()) as client,
                socket.socket(type=socket.SOCK_DGRAM) as sender,
            ):
                client.sendall(b"x")
                sender.sendto(b"x", self._datagrams.getsockname())
                if self._child is None:
                    with self._listener.accept()[0] as server:
                        server.recv(1)
                    self._datagrams.recv(1)
                    continue
                assert self._child.stdin is not None
                self._child.stdin.write(b"\n")
                self._child.stdin.flush()
                self._wait()


@contextmanager
def servers() -> Iterator[tuple[dict[str, Cgroup], list[Server]]]:
    """Servers in a cgroup, in one below it, and here; and these cgroups."""
    with ExitStack() as stack:
        outer, inner = stack.enter_context(cgroup("below"))
        started = [stack.enter_context(Server.started(place)) for place in (outer, inner, None)]
        yield {"outer": outer, "inner": inner}, started


def serve_all(all_of_them: list[Server]) -> dict[str, list[int]]:
    """Let each serve; the servers' pids by the cgroup that has them, one for each it served."""
    counts = (5, 7, 3)
    for server, count in zip(all_of_them, counts, strict=True):
        server.serve(count)
    outer, inner = ([one.pid] * count for one, count in zip(all_of_them, counts[:2], strict=False))
    return {"outer": outer + inner, "inner": inner}


def paths_below(cgroup: Cgroup, cgroups: dict[str, Cgroup]) -> dict[int, str]:
    """The paths of a cgroup and those below it, by id."""
    return {one.id: one.path for one in cgroups.values() if one.path.startswith(cgroup.path)}


# Bugs: threads of another cgroup pass; those of a cgroup below do not; the id is compared at one
# level only.
@pytest.mark.accept
@pytest.mark.parametrize("which", ["outer", "inner"])
def test_accepts_of_a_cgroup(rung: str, which: str) -> None:
    with servers() as (cgroups, started):
        wanted = Filter(cgroup=cgroups[which])
        with AcceptSource(wanted, rung) as source:
            known = serve_all(started)
            batch = source.read()
    assert batch.records["pid"].tolist() == known[which]
    assert batch.cgroups == paths_below(cgroups[which], cgroups)


# Bugs: the cgroup is that of the sender; a socket is shown that nobody of this cgroup reads.
@pytest.mark.udp
@pytest.mark.parametrize("which", ["outer", "inner"])
def test_datagrams_of_a_cgroup(rung: str, which: str) -> None:
    with servers() as (cgroups, started):
        wanted = UdpFilter(cgroup=cgroups[which])
        with UdpSource(wanted, rung=rung) as source:
            known = serve_all(started)
            interval = source.read()
    readers = zip(*(interval.readers[name].tolist() for name in ("pid", "datagrams")), strict=True)
    assert dict(readers) == dict(Counter(known[which]))
    assert {*interval.sockets["inode"].tolist()} == {*interval.readers["inode"].tolist()}
    assert interval.cgroups == paths_below(cgroups[which], cgroups)


# Bugs: reads outside the cgroup count; those of the cgroups inside it are missing, or have its
# number.
@pytest.mark.chosen
def test_reads_of_a_cgroup() -> None:
    with servers() as (cgroups, started):
        wanted = Wanted(cgroup=cgroups["outer"])
        with TopSource(wanted) as source:
            known = serve_all(started)
            rows = source.read().readers
        ids = {cgroup.id for cgroup in cgroups.values()}
    tcp = rows[rows["protocol"] == socket.IPPROTO_TCP]
    assert dict(zip(tcp["pid"].tolist(), tcp["reads"].tolist(), strict=True)) == dict(
        Counter(known["outer"])
    )
    assert {*rows["cgroup"].tolist()} == ids


def everything(nowhere: Path) -> dict[str, Any]:
    """All choices that every measurement has, at once."""
    return {
        "comm": "x",
        "pids": (1,),
        "ports": (1,),
        "netns": inode("self"),
        "cgroup": Cgroup("/", 1, nowhere),
    }


# Bug: the kernel takes each filter, and refuses a program that has all of them.
@pytest.mark.accept
def test_accepts_by_all_filters_at_once(rung: str, tmp_path: Path) -> None:
    wanted = Filter(**everything(tmp_path), cpu=1, family=6)
    AcceptSource(wanted, rung).close()
    ConnectionSource(wanted, rung).close()


@pytest.mark.udp
def test_datagrams_by_all_filters_at_once(rung: str, tmp_path: Path) -> None:
    UdpSource(Wanted(**everything(tmp_path)), rung=rung).close()


@pytest.mark.chosen
def test_reads_by_all_filters_at_once(tmp_path: Path) -> None:
    TopSource(Wanted(**everything(tmp_path))).close()
