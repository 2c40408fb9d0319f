"""What commands can do with some capabilities, and what they give up when they have begun."""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from locality.machine.capabilities import NEEDS, NUMBERS
from locality.machine.privileges import FILES
from tests.live.helpers.commands import tracing
from tests.live.helpers.traffic import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.live, pytest.mark.attach]

NOBODY = 65534
CAP_SYS_RESOURCE = 24


def of_threads(pid: int) -> dict[int, dict[str, str]]:
    """What /proc says of each thread of a process."""
    return {
        int(path.parent.name): dict(
            line.split(":\t", 1) for line in path.read_text().splitlines() if ":\t" in line
        )
        for path in Path(f"/proc/{pid}/task").glob("*/status")
    }


def mask(names: tuple[str, ...]) -> int:
    return sum(1 << NUMBERS[name] for name in {*names})


# Bugs: a measurement of many days goes on with all that root may do, or the threads of a library
# do; it gives up what it needs to count, record, or end in order.
@pytest.mark.parametrize(
    ("command", "kept"),
    [
        *((command, ("CAP_BPF",)) for command in ("accept", "connections", "skb", "top", "cost")),
        ("udp", NEEDS["udp"]),
    ],
)
@pytest.mark.parametrize("recorded", [False, True])
@pytest.mark.chosen
def test_what_is_given_up(
    command: str, kept: tuple[str, ...], tmp_path: Path, *, recorded: bool
) -> None:
    recording = tmp_path / "x.arrows"
    options = ("--record", recording) if recorded else ()
    with tracing(tmp_path, command, "--json", *options) as process:
        deadline = time.monotonic() + PATIENCE
        # Its own files may be in a directory of another user, which it must still open.
        allowed = {mask(kept), mask(kept) | mask(("CAP_DAC_READ_SEARCH",))}
        while int(of_threads(process.pid)[process.pid]["CapPrm"], 16) not in allowed:
            assert time.monotonic() < deadline, of_threads(process.pid)[process.pid]
            time.sleep(0.01)
        for thread in of_threads(process.pid).values():
            assert thread["NoNewPrivs"] == "1", thread
            assert int(thread["CapInh"], 16) == 0
            assert int(thread["CapPrm"], 16) & ~mask((*kept, *FILES)) == 0, thread
            assert thread["CapEff"] == thread["CapPrm"]
        with socket.create_server(("127.0.0.1", 0)) as server:
            for _ in range(5):
                with closing(socket.create_connection(server.getsockname())):
                    server.accept()[0].close()
        if command != "accept":
            time.sleep(1.5)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, err
    assert "Traceback" not in err
    assert json.loads(out.splitlines()[0])
    if recorded:
        told = locality("info", recording)
        assert told.returncode == 0, told.stderr


def may_raise_limits() -> bool:
    return bool(int(of_threads(os.getpid())[os.getpid()]["CapEff"], 16) >> CAP_SYS_RESOURCE & 1)


def as_user(uid: int) -> list[str]:
    """What runs a command as a user; it is dumpable, as what that user starts is."""
    return ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups"] if uid else []


def locality(
    *arguments: object, only: tuple[str, ...] | None = None, uid: int = 0
) -> subprocess.CompletedProcess[str]:
    """Run a command, perhaps with some capabilities only, or as another user."""
    command = [sys.executable, "-m", "locality", *map(str, arguments)]
    if only is not None:
        chosen = ",".join(("-all", *(f"+{name.removeprefix('CAP_').lower()}" for name in only)))
        command = ["setpriv", f"--bounding-set={chosen}", f"--inh-caps={chosen}", *command]
    command = [*as_user(uid), *command]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)


# A server of two sockets, the second of them with a number that has more than 16 bits.
SERVER = """
import os, select, socket, sys
first = socket.create_server(("127.0.0.1", 0), reuse_port=True)
second = socket.create_server(first.getsockname(), reuse_port=True)
fds = [first.fileno(), second.fileno()]
if int(sys.argv[1]):
    fds = [os.dup2(fd, int(sys.argv[1]) + number) for number, fd in enumerate(fds)]
    first.close(), second.close()
    first, second = (socket.socket(fileno=fd) for fd in fds)
print(first.getsockname()[1], *fds, flush=True)
poll = select.poll()
poll.register(first, select.POLLIN), poll.register(second, select.POLLIN)
while True:
    for fd, _ in poll.poll():
        (first if fd == fds[0] else second).accept()[0].close()
"""


class Server:
    """A process that accepts on a group of two."""

    def __init__(self, *, lowest_fd: int = 0, uid: int = 0) -> None:
        # The limit is raised by root; a user may raise it up to what it is then.
        limit = ["prlimit", f"--nofile={lowest_fd + 9_999}"] if lowest_fd else []
        self.process = subprocess.Popen(
            [*limit, *as_user(uid), sys.executable, "-c", SERVER, str(lowest_fd)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.port, *self.fds = map(int, self.process.stdout.readline().split())

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()

    def serve(self, count: int) -> None:
        """Have it accept so many connections."""
        with ExitStack() as stack:
            for _ in range(count):
                stack.enter_context(socket.create_connection(("127.0.0.1", self.port)))


@pytest.fixture
def others_server() -> Iterator[Server]:
    with closing(Server(uid=NOBODY)) as server:
        yield server


# Bugs: check says that a command lacks nothing, and it fails; or that it lacks what it does not
# need. skb without CAP_SYSLOG blames kptr_restrict, which is 0.
def test_what_check_says_is_true(others_server: Server) -> None:
    # CAP_SYS_ADMIN is as good as others; tests/live/steer/test_spill.py has what it is needed for.
    needed = dict.fromkeys(name for needs in NEEDS.values() for name in needs)
    every = tuple(name for name in needed if name != "CAP_SYS_ADMIN")
    for dropped in (None, *every):
        only = tuple(name for name in every if name != dropped)
        told = json.loads(locality("check", "--json", only=only).stdout)["commands"]
        assert told["accept"]["lacks"] == [dropped] * (dropped in NEEDS["accept"])
        for command in ("accept", "skb"):
            done = locality(command, "--duration", "0.1", only=only)
            lacks = told[command]["lacks"]
            if command == "skb" and lacks == ["CAP_SYSLOG"] and not done.returncode:
                continue  # a rung that needs no addresses
            assert (done.returncode == 0) == (not lacks), (dropped, done.stderr)
            assert not lacks or str(dropped) in done.stderr
        done = locality("groups", "--port", others_server.port, "--json", only=only)
        seen = [json.loads(line)["order_known"] for line in done.stdout.splitlines()]
        assert (seen == [True]) == (not told["groups"]["lacks"]), (dropped, done.stderr)


# Bug: a program is attached to a group of which only a count is known.
def test_a_group_that_is_not_seen_gets_no_program() -> None:
    with closing(Server()) as server:
        named = ("--pid", server.process.pid, "--fd", server.fds[0], "--group", 2)
        done = locality("attach-cbpf", *named, only=("CAP_SYS_PTRACE", "CAP_DAC_READ_SEARCH"))
        assert done.returncode == 1
        (line,) = done.stderr.splitlines()
        assert "could not be seen" in line
        assert "this process has no CAP_BPF and no CAP_PERFMON" in line
        assert "(--force attaches it anyway)" in line
        forced = locality("attach-cbpf", *named, "--force", only=("CAP_SYS_PTRACE",))
        assert forced.returncode == 0, forced.stderr


# Bugs: descriptors of more than 16 bits, and those of another user's processes, are not found, or
# are cut; the server's thread is not.
@pytest.mark.parametrize(("lowest_fd", "uid"), [(70_000, 0), (0, NOBODY), (70_000, NOBODY)])
@pytest.mark.chosen
def test_large_descriptors_and_other_users(lowest_fd: int, uid: int, tmp_path: Path) -> None:
    if lowest_fd > resource.getrlimit(resource.RLIMIT_NOFILE)[1] and not may_raise_limits():
        pytest.skip("limitation: no CAP_SYS_RESOURCE here to raise the limit of open files")
    with closing(Server(lowest_fd=lowest_fd, uid=uid)) as server:
        pid = server.process.pid
        (found,) = map(
            json.loads, locality("groups", "--port", server.port, "--json").stdout.splitlines()
        )
        assert (found["pid"], found["order_known"]) == (pid, True)
        assert found["fd"] in server.fds
        for member in found["members"]:
            assert [worker["pid"] for worker in member["workers"]] == [pid]
        named = ("--pid", pid, "--fd", server.fds[1])
        attached = locality("attach-cbpf", *named, "--map", "0:1,1:0")
        assert attached.returncode == 0, attached.stderr
        assert f"fd={server.fds[1]} " in attached.stdout
        assert locality("attach-cbpf", "--port", server.port, "--detach").returncode == 0
        with tracing(tmp_path, "accept", "--json", "--count", 4, "--pid", pid) as process:
            server.serve(4)
            out, err = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, err
        assert {json.loads(line)["listen_fd"] for line in out.splitlines()} <= {*server.fds}
        assert {json.loads(line)["pid"] for line in out.splitlines()} == {pid}


# Bug: a user who may look at nothing gets a traceback, or an answer that is wrong.
def test_as_another_user() -> None:
    with closing(Server()) as server, closing(Server(uid=NOBODY)) as own:
        done = locality("accept", "--duration", "0.1", uid=NOBODY)
        assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
        assert "no CAP_BPF and no CAP_PERFMON" in done.stderr
        for port, fd, pid in (
            (server.port, server.fds[0], server.process.pid),
            (own.port, own.fds[0], own.process.pid),
        ):
            for options in (("--port", port), ("--pid", pid, "--fd", fd)):
                done = locality("attach-cbpf", *options, "--group", 2, uid=NOBODY)
                assert (done.returncode, done.stdout) == (1, "")
                (line,) = done.stderr.splitlines()
                assert "Traceback" not in line
                assert ("could not be seen" in line) == (port == own.port), line
            done = locality("groups", "--port", port, uid=NOBODY)
            (line,) = done.stderr.splitlines()
            assert done.returncode == 0
            assert "counted" in line
