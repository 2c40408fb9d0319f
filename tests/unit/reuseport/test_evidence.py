"""Who serves sockets: what was seen, and what /proc shows of threads of this process."""

from __future__ import annotations

import ctypes
import os
import select
import socket
import threading
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import pytest

from locality.reuseport import descriptors, waits, workers
from locality.reuseport.evidence import Evidence, Seen, Thread, Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CLONE_FILES = 0x400
PATIENCE = 20.0


# Bugs: weak evidence replaces strong; a socket's second server replaces the first.
def test_the_strongest_evidence_counts() -> None:
    seen, other = Seen(), Seen()
    seen.note(1, Thread(7, 9), Evidence.SERVES)
    seen.note(1, Thread(7, 9), Evidence.WAITS)
    other.note(1, Thread(7, 8), Evidence.WAITS)
    seen.add(other)
    assert seen.of(1) == {Thread(7, 8): Evidence.WAITS, Thread(7, 9): Evidence.SERVES}
    assert seen.of(2) == {}
    assert [*seen] == [1]


# Bug: after a reload the old process, which has closed the socket, is still its server.
def test_who_holds_a_socket_no_more_does_not_serve_it() -> None:
    seen = Seen()
    seen.note(1, Thread(7, 7), Evidence.SERVES)
    seen.note(1, Thread(8, 8), Evidence.WAITS)
    seen.keep(1, {8})
    seen.keep(2, {7})
    assert seen.of(1) == {Thread(8, 8): Evidence.WAITS}


# Bug: threads are not told apart, or every process is said to be a thread.
def test_a_thread_is_named_where_it_is_not_the_main_one() -> None:
    assert Worker(7, 7, "nginx", frozenset()).task == "pid 7"
    assert Worker(7, 9, "nginx", frozenset()).task == "pid 7 tid 9"


@contextmanager
def waiting(wait: Callable[[socket.socket], object], *, pinned: bool = False) -> Iterator[Thread]:
    """A thread that waits for a listener of its own until a connection comes."""
    ready = threading.Event()

    def run() -> None:
        if pinned:
            os.sched_setaffinity(threading.get_native_id(), {min(os.sched_getaffinity(0))})
        ready.set()
        wait(listener)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        ready.wait()
        try:
            yield Thread(os.fstat(listener.fileno()).st_ino, thread.native_id or 0)
        finally:
            socket.create_connection(listener.getsockname()).close()
            thread.join()


def poll(listener: socket.socket) -> None:
    poller = select.poll()
    poller.register(listener, select.POLLIN)
    poller.poll()


def epoll(listener: socket.socket) -> None:
    with select.epoll() as poller:
        poller.register(listener, select.EPOLLIN)
        poller.poll()


def select_(listener: socket.socket) -> None:
    select.select([listener], [], [])


def accept(listener: socket.socket) -> None:
    listener.accept()[0].close()


def unshared(listener: socket.socket) -> None:
    """With descriptors of its own, the listener under a number that is another file elsewhere."""
    assert ctypes.CDLL(None).unshare(CLONE_FILES) == 0
    os.dup2(listener.fileno(), 900)
    select.select([900], [], [])


def served(inode: int) -> list[int]:
    """The threads that serve a socket, as soon as any is seen."""
    deadline = time.monotonic() + PATIENCE
    while not (found := workers.find([inode])[inode]) and time.monotonic() < deadline:
        pass
    return [worker.tid for worker in found]


# Bugs: select()'s number of descriptors passes for one of them, or poll() and select() are not
# understood at all; the main thread, which waits for something else, is said to serve; a thread
# with descriptors of its own is looked up in those of the process.
@pytest.mark.parametrize("wait", [accept, epoll, poll, select_, unshared])
def test_who_waits_is_the_worker(wait: Callable[[socket.socket], object]) -> None:
    with waiting(wait) as (inode, tid):
        assert served(inode) == [tid]


# Bug: a worker has the CPUs of the process, or of all its threads.
def test_a_worker_has_the_cpus_of_its_thread() -> None:
    with waiting(epoll, pinned=True) as (inode, tid):
        deadline = time.monotonic() + PATIENCE
        while not (found := workers.find([inode])[inode]) and time.monotonic() < deadline:
            pass
        assert [worker.cpus for worker in found] == [frozenset(os.sched_getaffinity(tid))]
        assert len(found[0].cpus) == 1


# Bug: of several threads that wait for one socket only one is seen, and its CPU passes for where
# the socket is served.
def test_a_socket_has_all_its_servers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threads = [
            threading.Thread(target=select_, args=(listener,), daemon=True) for _ in range(3)
        ]
        for thread in threads:
            thread.start()
        expected = sorted(thread.native_id or 0 for thread in threads)
        inode = os.fstat(listener.fileno()).st_ino
        deadline = time.monotonic() + PATIENCE
        while served(inode) != expected and time.monotonic() < deadline:
            pass
        assert served(inode) == expected
        socket.create_connection(listener.getsockname()).close()
        for thread in threads:
            thread.join()


# Bugs: a thread that never blocks is taken not to be there, so that a set watched by nobody, or
# by too few, is taken to be told in full.
def test_a_set_that_nobody_waits_for_is_not_told() -> None:
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        poller = stack.enter_context(select.epoll())
        poller.register(listener, select.EPOLLIN)
        inode = os.fstat(listener.fileno()).st_ino
        held, seen = descriptors.descriptors(), Seen()
        assert waits.EpollSets([inode], held).watching == {inode: {os.getpid(): 1}}
        assert waits.unseen([inode], held, seen) == [inode]
        seen.note(inode, Thread(os.getpid(), os.getpid()), Evidence.SERVES)
        assert waits.unseen([inode], held, seen) == []


# Bug: descriptors that one thread alone has are held by nobody.
def test_descriptors_of_one_thread_are_found() -> None:
    own, over = threading.Event(), threading.Event()
    found: list[int] = []

    def run() -> None:
        assert ctypes.CDLL(None).unshare(CLONE_FILES) == 0
        with socket.create_server(("127.0.0.1", 0)) as listener:
            found.append(os.fstat(listener.fileno()).st_ino)
            own.set()
            over.wait()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    own.wait()
    holders = descriptors.descriptors().holders[found[0]]
    over.set()
    thread.join()
    assert [(holder.pid, holder.tid) for holder in holders] == [(os.getpid(), thread.native_id)]
