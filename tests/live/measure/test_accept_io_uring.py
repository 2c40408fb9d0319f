"""Connections that io_uring accepts, against what a server made with liburing knows of them.

Every test runs on each rung, as in test_accept.py: the probes stand beside each of them.
"""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections import Counter
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from locality.accept.batch import ACCEPT, WAIT_KNOWN
from locality.accept.source import RUNGS, AcceptSource, Filter
from tests.live.helpers.compiler import compile_program
from tests.live.helpers.rungs import parametrize
from tests.live.helpers.traffic import (
    CPUS,
    EMULATED,
    HERE,
    PAGE,
    PATIENCE,
    THERE,
    connect_and_accept,
    pinned,
    room,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from locality.accept.batch import Records

pytestmark = [pytest.mark.live, pytest.mark.accept]

SERVER = Path(__file__).with_name("io_uring_server.c")
FIELDS = ("pid", "cpu", "rxcpu", "listen_fd", "fd", "rport")
NO_FD = -1
CONNECTIONS = 53 if EMULATED else 211
ROOM = room(ACCEPT)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    parametrize(metafunc, AcceptSource, RUNGS)


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The server, compiled."""
    target = tmp_path_factory.mktemp("io_uring") / "server"
    compile_program(SERVER, target, "-luring")
    return target


@pytest.fixture(scope="session", autouse=True)
def io_uring_is_seen() -> None:
    """Skip, with the kernel's answer, where accepts by io_uring are a stated limitation."""
    with AcceptSource() as source:
        if "io_uring" in (note := source.attachment.rung.note):
            pytest.skip(f"limitation: {note}")


@pytest.fixture
def listeners() -> Iterator[list[socket.socket]]:
    with ExitStack() as stack:
        yield [
            stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=128))
            for _ in range(2)
        ]


class Server:
    """A running io_uring_server.

    Args:
        program: The executable.
        ways: How it accepts; see the program.
        listeners: Where.
        cpu: The CPU that accepts.
    """

    def __init__(
        self, program: Path, ways: str, listeners: list[socket.socket], cpu: int = THERE
    ) -> None:
        fds = [listener.fileno() for listener in listeners]
        self._process = subprocess.Popen(
            [program, str(cpu), ways, *map(str, fds)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=fds,
            text=True,
        )
        self.pid = self._process.pid
        assert self._process.stdout
        assert self._process.stdin
        self._answers, self._orders = self._process.stdout, self._process.stdin
        self._expect("ready")

    def _expect(self, word: str) -> None:
        answer = self._answers.readline().strip()
        if "io_uring" in answer or "register" in answer:
            pytest.skip(f"limitation: {answer}")
        assert answer == word

    def post(self) -> None:
        """Let it submit its accepts."""
        self._orders.write("go\n")
        self._orders.flush()
        self._expect("posted")

    def known(self, connections: int) -> list[tuple[int, ...]]:
        """What it says of its next connections, in the order of FIELDS."""
        lines = [self._answers.readline() for _ in range(connections)]
        assert all(len(line.split()) == len(FIELDS) for line in lines), lines
        return [tuple(map(int, line.split())) for line in lines]

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        self._answers.close()
        self._orders.close()


@contextmanager
def serving(
    program: Path, ways: str, listeners: list[socket.socket], cpu: int = THERE
) -> Iterator[Server]:
    server = Server(program, ways, listeners, cpu)
    try:
        yield server
    finally:
        server.close()


def connect(listeners: list[socket.socket], connections: int) -> list[tuple[int, int]]:
    """Connect from each CPU in turn and hang up; the ports and CPUs of the clients."""
    clients = []
    for number in range(connections):
        cpu = CPUS[number % len(CPUS)]
        # Pinned, so that the FIN does not change what SO_INCOMING_CPU says.
        address = listeners[number % len(listeners)].getsockname()
        with pinned(cpu), socket.create_connection(address, PATIENCE) as client:
            clients.append((client.getsockname()[1], cpu))
    return clients


def recorded(records: Records) -> list[tuple[int, ...]]:
    return [tuple(int(record[name]) for name in FIELDS) for record in records]


# A connection of io_uring lost or doubled (fd_install and a system call's exit see it go by as
# well); the result of another request taken for a descriptor; the descriptor on which one accept
# listens given to another; a completion in a kernel thread not seen, or on the wrong CPU.
@pytest.mark.parametrize(
    "ways",
    [
        pytest.param("single", marks=pytest.mark.core),
        pytest.param("multishot", marks=pytest.mark.core),
        "single,async",
        "multishot,async",
        "single,sqpoll",
        "multishot,sqpoll",
        "single,defer",
        "multishot,defer",
        "single,fixed",
        "multishot,fixed",
        "multishot,alike",
    ],
)
def test_each_connection_once(
    rung: str, program: Path, listeners: list[socket.socket], ways: str
) -> None:
    with (
        serving(program, ways, listeners) as server,
        AcceptSource(Filter(pids=(server.pid,)), rung) as source,
    ):
        server.post()
        clients = connect(listeners, CONNECTIONS)
        known = server.known(CONNECTIONS)
        batch = source.read()
    assert Counter(recorded(batch.records)) == Counter(known)
    assert batch.lost == 0
    assert sorted(one[5] for one in known) == sorted(port for port, _ in clients)
    named = {one[3] for one in known}
    blind = "fixed" in ways or "alike" in ways
    assert named == ({NO_FD} if blind else {one.fileno() for one in listeners})


# All requests of a simple server have the user_data 0; with one listener that is no doubt at all.
@pytest.mark.parametrize("ways", ["single,alike", "multishot,alike"])
def test_one_user_data_for_all(
    rung: str, program: Path, listeners: list[socket.socket], ways: str
) -> None:
    with (
        serving(program, ways, listeners[:1]) as server,
        AcceptSource(Filter(pids=(server.pid,)), rung) as source,
    ):
        server.post()
        connect(listeners[:1], 101)
        known = server.known(101)
        batch = source.read()
    assert Counter(recorded(batch.records)) == Counter(known)
    assert {one[3] for one in known} == {listeners[0].fileno()}


# Several listeners and one user_data: single accepts are told apart by the request itself.
def test_one_user_data_for_several_listeners(
    rung: str, program: Path, listeners: list[socket.socket]
) -> None:
    with (
        serving(program, "single,alike", listeners) as server,
        AcceptSource(Filter(pids=(server.pid,)), rung) as source,
    ):
        server.post()
        connect(listeners, 8)
        server.known(8)
        records = source.read().records
    told = Counter(zip(records["lport"].tolist(), records["listen_fd"].tolist(), strict=True))
    assert told == {(one.getsockname()[1], one.fileno()): 4 for one in listeners}


# An accept that is over, taken to go on: what another request posts later with its user_data
# is no descriptor.
def test_user_data_used_again(rung: str, program: Path, listeners: list[socket.socket]) -> None:
    with (
        serving(program, "single,reuse", listeners) as server,
        AcceptSource(Filter(pids=(server.pid,)), rung) as source,
    ):
        server.post()
        with socket.create_connection(listeners[0].getsockname(), PATIENCE):
            known = server.known(1)
            records = source.read().records
    assert recorded(records) == known


# A server that runs already is the normal case; a multishot accept is posted once in its life.
# Its descriptor cannot be told then, and must not be made up.
@pytest.mark.parametrize("ways", ["single", "multishot", "multishot,sqpoll", "multishot,defer"])
def test_posted_before(rung: str, program: Path, listeners: list[socket.socket], ways: str) -> None:
    with serving(program, ways, listeners) as server:
        server.post()
        connect(listeners, 7)
        server.known(7)
        with AcceptSource(Filter(pids=(server.pid,)), rung) as source:
            connect(listeners, 101)
            known = server.known(101)
            batch = source.read()
    without = FIELDS.index("listen_fd")
    seen = recorded(batch.records)
    assert Counter(one[:without] + one[without + 1 :] for one in seen) == Counter(
        one[:without] + one[without + 1 :] for one in known
    )
    told = {one[without] for one in seen}
    fds = {one.fileno() for one in listeners}
    # Single accepts are posted anew for each connection, so soon all are known.
    assert told == ({NO_FD} if "multishot" in ways else {NO_FD, *fds})


# A direct accept has no descriptor: its result, a slot's number, looked up as one would give
# standard input, or somebody's socket, in the place of the connection.
@pytest.mark.parametrize("ways", ["single,slot", "single,direct", "multishot,direct"])
def test_direct_descriptors(
    rung: str, program: Path, listeners: list[socket.socket], ways: str
) -> None:
    with (
        serving(program, ways, listeners) as server,
        AcceptSource(Filter(pids=(server.pid,)), rung) as source,
    ):
        server.post()
        clients = connect(listeners, 101)
        server.known(101)
        records = source.read().records
    # The server cannot ask a socket without a descriptor: the clients know its port and CPU.
    assert Counter(zip(records["rport"].tolist(), records["rxcpu"].tolist(), strict=True)) == (
        Counter(clients)
    )
    assert set(records["fd"]) == {NO_FD}
    assert set(records["cpu"]) == {THERE}
    assert set(records["listen_fd"]) == {one.fileno() for one in listeners}


# The kernel runs io_uring's accepts at the end of any system call: at the end of an accept4,
# the registers say accept4, and fd_install would give a second record with its descriptor.
def test_accept4_in_the_same_thread(
    rung: str, program: Path, listeners: list[socket.socket]
) -> None:
    with (
        serving(program, "single,mixed", listeners) as server,
        AcceptSource(Filter(pids=(server.pid,)), rung) as source,
    ):
        server.post()
        for _ in range(23):
            connect(listeners[:1], 1)
            time.sleep(0.01)  # the accept4 below must find the thread asleep again
            connect(listeners[1:], 1)
        known = server.known(46)
        batch = source.read()
    assert Counter(recorded(batch.records)) == Counter(known)


# Who accepted: the process, also where a thread of the kernel does it for it. A worker thread may
# leave a polled accept to the thread that submitted it (6.1); a record must not mix the two.
@pytest.mark.parametrize(("ways", "comm"), [("async", "iou-wrk-"), ("sqpoll", "iou-sqp-")])
def test_kernel_threads(
    rung: str, program: Path, listeners: list[socket.socket], ways: str, comm: str
) -> None:
    with (
        serving(program, f"single,{ways}", listeners) as server,
        AcceptSource(Filter(pids=(server.pid,)), rung) as source,
    ):
        server.post()
        connect(listeners, 23)
        server.known(23)
        records = source.read().records
    assert set(records["pid"]) == {server.pid}
    itself = records["tid"] == server.pid
    assert set(records["comm"][itself]) <= {program.name.encode()}
    assert set(records["comm"][~itself]) <= {f"{comm}{server.pid}".encode()[:15]}
    assert ways == "async" or not itself.any()


# The filters of the system calls are those of io_uring: one that is forgotten lets all through.
def test_filters(rung: str, program: Path, listeners: list[socket.socket]) -> None:
    port = listeners[0].getsockname()[1]
    with serving(program, "multishot", listeners) as server:
        pid = (server.pid,)
        wanted = Filter(pids=pid, ports=(port,), cpu=THERE, family=4, comm=program.name)
        others = [
            Filter(pids=(os.getpid(),)),
            Filter(pids=pid, ports=(1,)),
            Filter(pids=pid, family=6),
            Filter(pids=pid, comm="another"),
        ]
        if HERE != THERE:
            others.append(Filter(pids=pid, cpu=HERE))
        with ExitStack() as stack:
            source = stack.enter_context(AcceptSource(wanted, rung))
            empty = [stack.enter_context(AcceptSource(one, rung)) for one in others]
            server.post()
            connect(listeners, 22)
            known = server.known(22)
            records = source.read().records
            assert [len(one.read()) for one in empty] == [0] * len(others)
    fd = listeners[0].fileno()
    assert Counter(recorded(records)) == Counter(one for one in known if one[3] == fd)
    assert len(records) == 11


# From established to accepted, also if the accept was there first: the time since the request
# was posted, or since tracing began, would be longer than the connection is old.
def test_time_in_the_queue(rung: str, program: Path, listeners: list[socket.socket]) -> None:
    with (
        serving(program, "single", listeners) as server,
        AcceptSource(Filter(pids=(server.pid,)), rung) as source,
    ):
        before = time.monotonic_ns()
        connect(listeners, 1)
        time.sleep(0.06)
        server.post()
        server.known(1)
        between = time.monotonic_ns()
        time.sleep(0.06)
        later = time.monotonic_ns()
        connect(listeners, 1)
        server.known(1)
        after = time.monotonic_ns()
        records = source.read().records
    assert (records["flags"] & WAIT_KNOWN).all()
    waited, at_once = records["wait"].astype(np.int64)
    assert 50_000_000 <= waited <= between - before
    assert 0 <= at_once <= after - later


# What the ring has no room for is counted for both kinds of accept; each has its own counter.
def test_what_is_lost_is_counted(rung: str, program: Path, listeners: list[socket.socket]) -> None:
    with (
        serving(program, "multishot", listeners) as server,
        AcceptSource(Filter(pids=(server.pid, os.getpid())), rung, PAGE) as source,
    ):
        connect_and_accept(listeners[0], ROOM - 5)
        server.post()
        connect(listeners, 3 * ROOM)
        server.known(3 * ROOM)
        batch = source.read()
    assert ROOM - 5 < len(batch.records) < 4 * ROOM - 5
    assert len(batch.records) + batch.lost == 4 * ROOM - 5
