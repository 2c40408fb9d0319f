"""A program attached from outside steers another process's connections."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from locality import cbpf
from locality.attach_cbpf import attach, detach
from locality.reuseport.group import read_from_kernel, read_group
from locality.reuseport.target import Target, inspect, listeners_of
from locality.steering.preflight import decide
from tests.live.helpers.traffic import CPUS, PATIENCE, pinned

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.live, pytest.mark.attach]

CONNECTIONS = 23  # a prime: no accident of rounding gives it

# Four listeners in one group. Each command on stdin is one expression with its answer on
# stdout: accept n connections and tell which listener each came to, or close a listener.
SERVER = """
import json, os, select, socket, sys
first = socket.create_server(("127.0.0.1", 0), reuse_port=True, backlog=256)
listeners = [first] + [
    socket.create_server(first.getsockname(), reuse_port=True, backlog=256) for _ in range(3)
]
inodes = [os.fstat(one.fileno()).st_ino for one in listeners]
say = lambda answer: print(json.dumps(answer), flush=True)
say([first.getsockname()[1], [one.fileno() for one in listeners], inodes])
for line in sys.stdin:
    command, number = line.split()
    if command == "close":
        listeners[int(number)].close()
        say(None)
        continue
    counts, opened = [0] * 4, [one for one in listeners if one.fileno() >= 0]
    for _ in range(int(number)):
        ready, _, _ = select.select(opened, [], [], 10)
        ready[0].accept()[0].close()
        counts[listeners.index(ready[0])] += 1
    say(counts)
"""


@dataclass(frozen=True)
class Server:
    """The process with the group, and the way to talk to it."""

    process: subprocess.Popen[str]
    port: int
    fds: list[int]
    inodes: list[int]

    @property
    def pid(self) -> int:
        return self.process.pid

    def tell(self, command: str, number: int) -> Any:  # noqa: ANN401 - whatever it answers
        assert self.process.stdin
        assert self.process.stdout
        print(command, number, file=self.process.stdin, flush=True)
        return json.loads(self.process.stdout.readline())

    def connect_from(self, cpu: int) -> list[int]:
        """Connect from one CPU; on loopback the SYN is processed there too.

        Returns:
            How many connections came to each listener, in the order of joining.
        """
        with pinned(cpu):
            for _ in range(CONNECTIONS):
                socket.create_connection(("127.0.0.1", self.port)).close()
        counts: list[int] = self.tell("accept", CONNECTIONS)
        return counts


@pytest.fixture
def server() -> Iterator[Server]:
    command = [sys.executable, "-c", SERVER]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        yield Server(process, *json.loads(process.stdout.readline()))
        assert process.stdin
        process.stdin.close()


def all_to(index: int) -> list[int]:
    return [CONNECTIONS * (place == index) for place in range(4)]


# The attach reports success even if the bytes of the program mean something else; only
# where connections land shows it. Attaching through any member must do.
@pytest.mark.core
def test_connections_land_where_the_map_says(server: Server) -> None:
    indexes = {cpu: 3 - place % 4 for place, cpu in enumerate(CPUS)}
    attach(server.pid, server.fds[2], cbpf.table(indexes))
    for cpu, index in indexes.items():
        assert server.connect_from(cpu) == all_to(index)


# Bug: the kernel takes the program, and its answer is not the remainder of the CPU.
def test_cpu_modulo(server: Server) -> None:
    attach(server.pid, server.fds[0], cbpf.cpu(4))
    for cpu in CPUS:
        assert server.connect_from(cpu) == all_to(cpu % 4)


# Past the end is not an error: it must fall back to the hash, as the explanation says.
def test_past_the_end_is_hashed_and_detach_gives_the_hash_back(server: Server) -> None:
    attach(server.pid, server.fds[0], cbpf.table(dict.fromkeys(CPUS, 9)))
    assert sum(count > 0 for count in server.connect_from(CPUS[0])) > 1
    attach(server.pid, server.fds[0], cbpf.table(dict.fromkeys(CPUS, 1)))
    assert server.connect_from(CPUS[0]) == all_to(1)
    detach(server.pid, server.fds[3])
    assert sum(count > 0 for count in server.connect_from(CPUS[0])) > 1


# A wrong order makes every suggested map wrong. The last member moves into a hole.
@pytest.mark.core
def test_the_group_is_read_in_order(server: Server) -> None:
    program = cbpf.table({0: 3, 5: 1})
    before = read_group(server.pid, server.fds[1])
    assert [member.inode for member in before.members] == server.inodes
    assert (before.order_known, before.attached, before.program) == (True, False, None)

    attach(server.pid, server.fds[1], program)
    after = read_group(server.pid, server.fds[0])
    assert (after.attached, after.program) == (True, program)
    assert {worker.pid for member in after.members for worker in member.workers} == {server.pid}

    # A duplicate that we had left open would keep this listener in the group.
    server.tell("close", 1)
    closed = read_group(server.pid, server.fds[0])
    first, _, third, fourth = server.inodes
    assert [member.inode for member in closed.members] == [first, fourth, third]
    assert closed.program == program


# The probe reads 64 sockets a run: a mistake at the seam loses or repeats sockets.
@pytest.mark.parametrize("size", [63, 64, 65, 150])
def test_a_large_group_is_read_whole(size: int) -> None:
    with ExitStack() as stack:
        address, inodes = ("127.0.0.1", 0), []
        for _ in range(size):
            one = stack.enter_context(socket.create_server(address, reuse_port=True))
            address = one.getsockname()
            inodes.append(os.fstat(one.fileno()).st_ino)
        group = read_from_kernel(one.fileno())
    assert [member.inode for member in group.members] == inodes


# SO_INCOMING_CPU is the other way to make a group local; the reading must show it.
def test_incoming_cpu_is_read() -> None:
    with socket.create_server(("127.0.0.1", 0), reuse_port=True) as listener:
        (unset,) = read_from_kernel(listener.fileno()).members
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_INCOMING_CPU, CPUS[-1])
        (member,) = read_from_kernel(listener.fileno()).members
    assert (unset.incoming_cpu, member.incoming_cpu) == (None, CPUS[-1])


# No verdict may change anything: looking is not acting.
def test_looking_changes_nothing(server: Server) -> None:
    target = inspect(server.pid, server.fds[0])
    assert decide(target, cbpf.cpu(8), 8, CPUS)
    assert read_group(server.pid, server.fds[0]).attached is False


@contextmanager
def nginx(directory: Path, affinity: str) -> Iterator[tuple[int, int]]:
    """A real nginx with two pinned workers; gives the master's pid and the port."""
    program = shutil.which("nginx")
    if not program:
        pytest.skip("nginx is not installed")
    with socket.create_server(("127.0.0.1", 0)) as chosen:
        port = chosen.getsockname()[1]
    temporary = "".join(
        f"{name}_temp_path {directory}/{name};"
        for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    configuration = directory / "nginx.conf"
    configuration.write_text(
        f"""daemon off; user root; worker_processes 2; worker_cpu_affinity {affinity};
        pid {directory}/nginx.pid; error_log {directory}/error.log;
        events {{}}
        http {{ access_log off; {temporary}
          server {{ listen 127.0.0.1:{port} reuseport; return 200 "ok"; }} }}
        """
    )
    command = [program, "-e", f"{directory}/error.log", "-c", str(configuration)]
    with subprocess.Popen(command) as master:
        try:
            yield master.pid, port
        finally:
            master.terminate()


def nginx_ready(pid: int, port: int) -> Target:
    """Wait until both workers poll their socket, then look at the listener.

    They are pinned before they poll: one that may run everywhere has only just begun, and is in
    another system call, whose first argument happens to be the number of a listener.
    """
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        fds = [fd for fd, bound in listeners_of(pid).items() if bound == port]
        if len(fds) == 2:
            target = inspect(pid, fds[0])
            if all(len(member.cpus) == 1 for member in target.group.members):
                return target
    raise AssertionError("nginx did not start")


# Master and workers all hold every listener: a worker found by what it holds, or by the
# order of pids, passes with one affinity and fails with the other.
@pytest.mark.parametrize("reverse", [False, True])
def test_the_workers_of_nginx(tmp_path: Path, reverse: bool) -> None:  # noqa: FBT001
    if CPUS[:2] != [0, 1]:
        pytest.skip("limitation: it needs CPUs 0 and 1")
    with nginx(tmp_path, "10 01" if reverse else "01 10") as (pid, port):
        target = nginx_ready(pid, port)
        findings = [finding.text for finding in decide(target, cbpf.cpu(2), 2, [0, 1])]
    members = target.group.members
    assert [len(member.workers) for member in members] == [1, 1]
    assert {worker.comm for member in members for worker in member.workers} == {"nginx"}
    assert [member.cpus for member in members] == ([{1}, {0}] if reverse else [{0}, {1}])
    assert [text.rpartition("--map ")[2] for text in findings] == (["0:1,1:0"] if reverse else [])
