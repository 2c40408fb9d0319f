"""Who serves a socket: threads of real servers, idle and under load, whatever they wait in."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from locality.errors import LocalityError
from locality.reuseport.look import Calls
from locality.reuseport.survey import find, survey
from tests.live.helpers.compiler import compile_program
from tests.live.helpers.ports import free_port
from tests.live.helpers.traffic import HERE, THERE

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(HERE == THERE, reason="limitation: one CPU"),
]

SERVER = Path(__file__).with_name("threads_server.c")
LOOK_S = 0.3
TIMES = 3

Served = list[tuple[int, int, list[int]]]


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The server, compiled."""
    target = tmp_path_factory.mktemp("threads") / "server"
    compile_program(SERVER, target, "-pthread")
    return target


@contextmanager
def server(program: Path, way: str, *ended: str) -> Iterator[tuple[int, int, Served]]:
    """It runs for the time of the block: its port, its pid, and what it says of its threads."""
    port = free_port()
    command = [str(program), str(port), way, str(THERE), str(HERE), *ended]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout
        try:
            lines = [[*map(int, running.stdout.readline().split())] for _ in range(2)]
            while ended and ") Z " not in Path(f"/proc/{running.pid}/stat").read_text():
                time.sleep(0.01)  # the main thread is about to end
            yield port, running.pid, sorted((inode, tid, [cpu]) for inode, tid, cpu in lines)
        finally:
            running.kill()


def seen(port: int) -> Served:
    """What is found of the only group on a port; each socket has one worker."""
    found = find(ports=[port], look=LOOK_S)
    assert len(found) == 1, found
    answer = []
    for member in found[0].group.members:
        assert len(member.workers) == 1, member
        answer.append((member.inode, member.workers[0].tid, sorted(member.workers[0].cpus)))
    return sorted(answer)


@contextmanager
def load(port: int) -> Iterator[None]:
    """Connections one after the other, until the block ends."""
    over = threading.Event()

    def connect() -> None:
        while not over.is_set():
            socket.create_connection(("127.0.0.1", port)).close()

    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def need_calls() -> None:
    try:
        with Calls([os.getpid()], [0]):
            pass
    except LocalityError as refusal:
        pytest.skip(f"limitation: {refusal}")


# Bugs: a thread that runs at the moment of a look is not seen, and the main thread with the CPUs
# of all threads is said to serve; the number of descriptors of select() passes for one of them;
# a thread that never blocks is never seen; descriptors that the main thread has not are nobody's.
@pytest.mark.parametrize(
    "way", ["epoll", "poll", "select", "spin", "spinpoll", "unshared", "epoll ended", "spin ended"]
)
def test_each_thread_serves_its_socket(program: Path, way: str) -> None:
    if way.startswith("spin"):
        need_calls()
    with server(program, *way.split()) as (port, _, expected):
        idle = [seen(port) for _ in range(TIMES)]
        with load(port):
            busy = [seen(port) for _ in range(TIMES)]
    assert idle == [expected] * TIMES
    assert busy == [expected] * TIMES


# Bugs: one thread of a listener that all threads share is said to be its worker; the threads that
# run while the first one is seen to wait are left out.
def test_a_shared_listener_has_all_its_threads() -> None:
    with socket.create_server(("127.0.0.1", 0), reuse_port=True) as listener:
        port = listener.getsockname()[1]
        over = threading.Event()

        def serve() -> None:
            while not over.is_set():
                listener.accept()[0].close()

        # Daemons: what fails here must not keep Python waiting for them at its end.
        threads = [threading.Thread(target=serve, daemon=True) for _ in range(3)]
        for thread in threads:
            thread.start()
        try:
            with load(port):
                need_calls()
                asked = survey(ports=[port], look=LOOK_S)
        finally:
            over.set()
            for _ in threads:
                socket.create_connection(("127.0.0.1", port)).close()
            for thread in threads:
                thread.join()
    assert len(asked.groups) == 1, (asked, listener)
    workers = {worker.tid for worker in asked.groups[0].group.members[0].workers}
    assert workers == {thread.native_id for thread in threads}


# --- pid namespaces -------------------------------------------------------------------------

IN_NAMESPACE = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")


def locality(*arguments: str, within: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    command = [*within, sys.executable, "-m", "locality", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


# Bug: --pid is compared with the number that the initial namespace has, and nothing is seen; the
# pids of records are those of other processes, or of none.
def test_inside_a_pid_namespace(program: Path) -> None:
    script = f"""
{program} {{port}} epoll {THERE} {HERE} > /dev/null & server=$!
sleep 0.5
python3 -c '
import socket, time
while True:
    socket.create_connection(("127.0.0.1", {{port}})).close()
    time.sleep(0.01)
' & client=$!
{sys.executable} -m locality accept --pid $server --port {{port}} --duration 1.5 --json > {{out}}
{sys.executable} -m locality groups --port {{port}} --json
echo $server
kill $client $server
"""
    port = free_port()
    out = program.parent / "accepts"
    done = subprocess.run(
        [*IN_NAMESPACE, "sh", "-c", script.format(port=port, out=out)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    group, pid = done.stdout.splitlines()
    accepts = [json.loads(line) for line in out.read_text().splitlines()]
    workers = [worker for member in json.loads(group)["members"] for worker in member["workers"]]
    assert accepts, done.stderr
    assert {accept["pid"] for accept in accepts} == {int(pid)}
    assert {worker["pid"] for worker in workers} == {int(pid)}
    assert {accept["tid"] for accept in accepts} == {worker["tid"] for worker in workers}
    assert int(pid) < 100  # of the namespace, whose first process has number 1


# Bug: processes of another pid namespace, as /proc shows them, are taken for those that have these
# numbers in ours, and get their descriptors and CPUs.
def test_a_proc_of_another_namespace_is_refused() -> None:
    done = locality("groups", within=("unshare", "--pid", "--fork", "--kill-child"))
    assert done.returncode != 0
    (line,) = done.stderr.splitlines()
    assert "another pid namespace" in line


# Bug: the numbers are those that a container has for its processes, which are others here.
def test_a_server_in_a_pid_namespace(program: Path) -> None:
    port = free_port()
    command = [*IN_NAMESPACE, str(program), str(port), "epoll", str(THERE), str(HERE)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout
        lines = [[*map(int, running.stdout.readline().split())] for _ in range(2)]
        try:
            answer = seen(port)
            names = [Path(f"/proc/{tid}/comm").read_text() for _, tid, _ in answer]
        finally:
            running.kill()
    assert [(inode, cpus) for inode, _, cpus in answer] == sorted(
        (inode, [cpu]) for inode, _, cpu in lines
    )
    assert set(names) == {f"thread {HERE}\n", f"thread {THERE}\n"}


#: A server whose thread has a lower number than its process, as any thread may have once the kernel
#: has given out its highest number; it says its process and its thread.
WRAPPED = """
import os, select, socket, threading, time
listeners = [socket.create_server(("127.0.0.1", {port}), reuse_port=True) for _ in range(2)]
with open("/proc/sys/kernel/ns_last_pid", "w") as last: last.write("99")
thread = threading.Thread(target=select.select, args=(listeners, [], []), daemon=True)
thread.start()
print(os.getpid(), thread.native_id, flush=True)
time.sleep(600)
"""


# Bug: the thread with the lowest number is taken for the main one, and nothing can be asked of its
# sockets: pidfd_open(2) refuses a thread.
@pytest.mark.skipif(
    not Path("/proc/sys/kernel/ns_last_pid").exists(),
    reason="limitation: this kernel does not let us choose a pid",
)
def test_a_thread_with_a_lower_number_than_its_process(tmp_path: Path) -> None:
    port = free_port()
    server = tmp_path / "server.py"
    server.write_text(WRAPPED.format(port=port))
    script = f"""
echo 300 > /proc/sys/kernel/ns_last_pid
{sys.executable} {server} > {tmp_path}/said & server=$!
until grep -q . {tmp_path}/said || ! kill -0 $server; do sleep 0.1; done
cat {tmp_path}/said
{sys.executable} -m locality attach-cbpf --port {port} --group 2
{sys.executable} -m locality groups --port {port} --json
kill $server
"""
    done = subprocess.run(
        [*IN_NAMESPACE, "sh", "-c", script],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    said, *_, group = done.stdout.splitlines()
    pid, tid = map(int, said.split())
    assert tid < pid
    assert "setsockopt(SO_ATTACH_REUSEPORT_CBPF)=0" in done.stdout, done.stderr
    members = json.loads(group)["members"]
    workers = [[worker["tid"] for worker in member["workers"] or ()] for member in members]
    assert workers == [[tid], [tid]], done.stderr


# --- names ------------------------------------------------------------------------------------


# Bugs: a thread is not found by the name of its process, which is what ps and ss print; blanks of
# a name are lost.
def test_threads_are_found_by_the_name_of_their_process(program: Path) -> None:
    with server(program, "epoll") as (port, _, expected):
        with load(port):
            for name in ("  two blanks ", f"thread {THERE}"):
                done = locality(
                    *("accept", "--port", str(port), "--comm", name),
                    *("--duration", "1", "--json"),
                )
                tids = {json.loads(line)["tid"] for line in done.stdout.splitlines()}
                assert tids == {
                    tid for _, tid, cpus in expected if name.startswith(" ") or cpus == [THERE]
                }, done.stderr
        (found,) = find(ports=[port], comm="  two blanks ")
        names = {worker.comm for member in found.group.members for worker in member.workers}
        assert names == {f"thread {HERE}", f"thread {THERE}"}
        assert not find(ports=[port], comm="two blanks")
