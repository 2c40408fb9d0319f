"""What a look at groups depends on: that it has changed is seen, and that it has not."""

from __future__ import annotations

import os
import resource
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from locality import cbpf
from locality.attach_cbpf import attach, detach
from locality.bpf import tasks
from locality.errors import LocalityError
from locality.reuseport import descriptors
from locality.reuseport.changes import Changes
from locality.reuseport.survey import find
from tests.live.helpers.rungs import ASKED

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(ASKED is not None, reason="limitation: no rung of its own"),
]

Act = Callable[[ExitStack], object]


def listener(port: int = 0, address: str = "127.0.0.1") -> socket.socket:
    one = socket.socket()
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    one.bind((address, port))
    one.listen(5)
    return one


class Server:
    """A group of two in this process, and a thread of it that waits for something else."""

    def __init__(self, stack: ExitStack) -> None:
        self.one = stack.enter_context(listener())
        self.port: int = self.one.getsockname()[1]
        self.two = stack.enter_context(listener(self.port))
        self.tid = self.thread(stack)

    def thread(self, stack: ExitStack) -> int:
        """One more thread, until the end."""
        over = threading.Event()
        thread = threading.Thread(target=over.wait, daemon=True)
        thread.start()
        stack.callback(thread.join)
        stack.callback(over.set)
        return thread.native_id or 0

    def attach(self, program: cbpf.Program) -> None:
        attach(os.getpid(), self.one.fileno(), program)


@pytest.fixture
def server() -> Iterator[Server]:
    with ExitStack() as stack:
        yield Server(stack)


@pytest.fixture
def changes(server: Server) -> Changes:
    """After a look."""
    try:
        changes = Changes([server.port], Path("/proc/self/ns/net").stat().st_ino)
    except LocalityError as refusal:
        pytest.skip(f"limitation: {refusal}")
    look(changes, server)
    return changes


def look(changes: Changes, server: Server) -> None:
    changes.begin()
    groups = find(ports=[server.port])
    assert len(groups) == 1
    changes.found(groups)


def watch(stack: ExitStack, one: socket.socket) -> None:
    epoll = stack.enter_context(select.epoll())
    epoll.register(one, select.EPOLLIN)


@contextmanager
def child(*inherited: int) -> Iterator[int]:
    """A process that holds some of our descriptors, or none."""
    command = [sys.executable, "-c", "import sys; print(flush=True); sys.stdin.read()"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=inherited
    ) as process:
        assert process.stdout
        process.stdout.readline()
        try:
            yield process.pid
        finally:
            process.kill()


# Bug: what a look depends on changes, and nobody looks: the follower keeps a wrong program.
def test_every_change_is_seen(server: Server, changes: Changes) -> None:
    acts: dict[str, Act] = {
        "a program is attached": lambda _: server.attach(cbpf.cpu(2)),
        "another program is attached": lambda _: server.attach(cbpf.cpu(1)),
        "the program is taken away": lambda _: detach(os.getpid(), server.one.fileno()),
        "a socket joins": lambda stack: stack.enter_context(listener(server.port)),
        "another address": lambda stack: stack.enter_context(listener(server.port, "127.0.0.2")),
        "an epoll set watches a socket": lambda stack: watch(stack, server.two),
        "a thread begins": server.thread,
        "a thread gets another name": lambda _: rename(server.tid, "other"),
        "a process inherits a socket": lambda stack: stack.enter_context(
            child(server.one.fileno())
        ),
    }
    cpus = os.sched_getaffinity(0)
    if len(cpus) > 1:
        acts["a thread is pinned"] = lambda _: os.sched_setaffinity(server.tid, {min(cpus)})
    seen = {}
    for what, act in acts.items():
        look(changes, server)
        with ExitStack() as stack:
            act(stack)
            seen[what] = changes.seen()
    assert seen == dict.fromkeys(acts, True)


def rename(tid: int, name: str) -> None:
    Path(f"/proc/self/task/{tid}/comm").write_text(name)


# Bug: what a look does not depend on passes for a change, so that every look is a close one.
def test_what_others_do_is_no_change(server: Server, changes: Changes) -> None:
    with socket.create_server(("127.0.0.1", 0)), child():
        client = socket.create_connection(server.one.getsockname())
        watched = [changes.seen() for _ in range(3)]
        client.close()
    assert not any(watched)
    assert not changes.seen()


# Bugs: the socket's memory is another socket's by now, and passes for the one that was closed; a
# group of which nothing is left is not missed.
def test_a_group_that_goes_is_missed(server: Server, changes: Changes) -> None:
    port = server.port
    server.one.close()
    assert changes.seen()
    look(changes, server)
    assert not changes.seen()
    server.two.close()
    assert changes.seen()
    with ExitStack() as stack:
        server.one = stack.enter_context(listener(port))
        assert changes.seen()


# Bugs: an iterator leaves out threads with descriptors of their own, or numbers tasks as another
# pid namespace does; sockets and epoll sets are taken for each other.
def test_iterators_list_what_proc_shows(server: Server) -> None:
    try:
        listed = tasks.tasks()
    except LocalityError as refusal:
        pytest.skip(f"limitation: {refusal}")
    ours = os.getpid()
    inodes = {os.fstat(one.fileno()).st_ino for one in (server.one, server.two)}
    with select.epoll() as epoll:
        epoll.register(server.one, select.EPOLLIN)
        held = {
            way: read(inodes)
            for way, read in (("bpf", descriptors._listed), ("proc", descriptors._read))  # noqa: SLF001
        }
        sets = {way: [one.fd for one in of.epolls[ours]] for way, of in held.items()}
        assert epoll.fileno() in sets["proc"]
    assert sets["bpf"] == sets["proc"]
    assert {*held["bpf"].holders} == inodes
    assert [held["bpf"].holders[inode] for inode in inodes] == [
        held["proc"].holders[inode] for inode in inodes
    ]
    threads = listed.threads([ours])
    found = {int(row["tid"]) for row in threads if row["pid"] == ours}
    assert found == {int(path.name) for path in Path("/proc/self/task").iterdir()}
    before = tasks.now()
    deadline = time.monotonic() + 10
    with child() as pid:
        young: list[int] = []
        while pid not in young and time.monotonic() < deadline:
            young = listed.threads([], before - 1_000_000_000)["pid"].tolist()
        assert pid in young
        assert pid not in listed.threads([])["pid"]


#: Descriptors that are not listed: as many as a process may have, in so many processes, until their
#: standard input ends.
MANY, MOST_PROCESSES = 2_300_000, 300
CROWD = """
import os, resource, sys
_, most = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
null = os.open("/dev/null", os.O_RDONLY)
for _ in range(most - 100):
    os.dup(null)
for _ in range(int(sys.argv[1]) - 1):
    if not os.fork():
        break
else:
    print(flush=True)
os.read(0, 1)
os._exit(0)
"""
WAITS = "print(); input()"


# Bug: after a million descriptors that are not listed the kernel wants to be asked again, and what
# stands behind them is missing, or it ends in a traceback. The first million may end a reading that
# has given something.
def test_iterators_go_on_behind_a_million_descriptors(server: Server) -> None:
    try:
        tasks.tasks()
    except LocalityError as refusal:
        pytest.skip(f"limitation: {refusal}")
    _, each = resource.getrlimit(resource.RLIMIT_NOFILE)
    processes = MANY // max(each - 100, 1) + 1
    if processes > MOST_PROCESSES:
        pytest.skip("limitation: a process may have too few descriptors (ulimit -Hn)")
    fd = server.one.fileno()
    inode = os.fstat(fd).st_ino
    with ExitStack() as stack:
        for code in (CROWD, WAITS):
            process = stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-u", "-c", code, str(processes)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    pass_fds=() if code == CROWD else (fd,),
                )
            )
            stack.callback(process.kill)
            assert process.stdout
            assert process.stdout.readline()
        listed = descriptors._listed({inode})  # noqa: SLF001
    assert listed.holders.pids([inode]) == {os.getpid(), process.pid}
