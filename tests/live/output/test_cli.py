"""The commands as a newcomer runs them: separate processes, real connections, real groups."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from locality import cbpf
from locality.accept.source import RUNGS as ACCEPT_RUNGS
from locality.accept.source import AcceptSource
from locality.recording.reader import Reader
from locality.reuseport.group import read_group
from locality.skb.source import RUNGS as SKB_RUNGS
from locality.skb.source import SkbSource
from tests.live.helpers.commands import run, tracing
from tests.live.helpers.rungs import NO_ATOMICS, parametrize
from tests.live.helpers.traffic import CPUS, PATIENCE

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.live

ACCEPT_NAMES = [
    *("time", "cpu", "rxcpu", "pid", "tid", "comm", "listen_fd", "fd", "family"),
    *("laddr", "lport", "raddr", "rport", "wait_ns", "netns", "distance"),
    *("cgroup", "cgroup_path"),
]
SKB_NAMES = {
    *("time", "interval_s", "rung", "lost", "lost_in_interval"),
    *("rx_packets", "rx_local", "rx_freed_local", "rx_deferred", "rx_unknown"),
    *("tx_packets", "tx_local", "tx_freed_local", "tx_deferred", "tx_unknown"),
    *("rx_delivered", "rx_delivered_local", "rx_by_distance", "tx_by_distance"),
    *("rx_not_told", "tx_not_told"),
}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if metafunc.definition.get_closest_marker("accept"):
        parametrize(metafunc, AcceptSource, ACCEPT_RUNGS)
    else:
        parametrize(metafunc, SkbSource, SKB_RUNGS)


@pytest.fixture(autouse=True)
def _buffered(monkeypatch: pytest.MonkeyPatch) -> None:
    """As users run it: an unbuffered standard output has nothing left to flush at exit."""
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)


@dataclass
class Listener:
    """A listening socket of this process, and what is known of each connection to it."""

    listening: socket.socket = field(
        default_factory=lambda: socket.create_server(("127.0.0.1", 0), backlog=64)
    )

    @property
    def port(self) -> int:
        port: int = self.listening.getsockname()[1]
        return port

    def accept(self, count: int) -> list[tuple[int, int, int]]:
        """Connect and accept so many times; gives (fd, remote port, SO_INCOMING_CPU) of each."""
        known = []
        with ExitStack() as stack:
            for _ in range(count):
                stack.enter_context(socket.create_connection(("127.0.0.1", self.port)))
                accepted = stack.enter_context(self.listening.accept()[0])
                rxcpu = accepted.getsockopt(socket.SOL_SOCKET, socket.SO_INCOMING_CPU)
                known.append((accepted.fileno(), accepted.getpeername()[1], rxcpu))
        return known


@pytest.fixture
def listener() -> Iterator[Listener]:
    one = Listener()
    with one.listening:
        yield one


@contextmanager
def named(comm: str) -> Iterator[None]:
    """Another name for this thread; the main one's is also that of the process."""
    path = Path(f"/proc/self/task/{threading.get_native_id()}/comm")
    before = path.read_text().rstrip("\n")
    path.write_text(comm)
    try:
        yield
    finally:
        path.write_text(before)


# --- accept -----------------------------------------------------------------------------


# Bugs: more than --count; a record that does not belong to the connection (fds, ports, CPU); the
# summary between the objects; another process's connections.
@pytest.mark.accept
def test_accept_json(rung: str, tmp_path: Path, listener: Listener) -> None:
    before = time.time()
    mine = ("--pid", os.getpid(), "--port", listener.port)
    with tracing(tmp_path, "accept", "--rung", rung, "--json", "--count", 3, *mine) as process:
        known = listener.accept(5)
        out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, err
    records = [json.loads(line) for line in out.splitlines()]
    assert [list(record) for record in records] == [ACCEPT_NAMES] * 3
    assert [(one["fd"], one["rport"], one["rxcpu"]) for one in records] == known[:3]
    for one in records:
        assert (one["pid"], one["tid"]) == (os.getpid(), threading.get_native_id())
        assert (one["laddr"], one["lport"]) == ("127.0.0.1", listener.port)
        assert (one["family"], one["raddr"]) == (4, "127.0.0.1")
        assert one["listen_fd"] == listener.listening.fileno()
        assert one["netns"] == Path("/proc/self/ns/net").stat().st_ino
        assert before - 1 < one["time"] < time.time() + 1
        assert one["wait_ns"] is None or 0 <= one["wait_ns"] < PATIENCE * 1e9
        assert (one["distance"] == "cpu") == (one["cpu"] == one["rxcpu"])
    assert "\n3 accepted, " in err


# Bugs: Ctrl-C is an error, or loses what came just before it; notes or the summary among the
# lines that scripts read; another thread's connections pass the filter by name.
def test_accept_classic_until_ctrl_c(tmp_path: Path, listener: Listener) -> None:
    with (
        named("loc <b>[red]"),
        tracing(tmp_path, "accept", "--comm", "loc <b>[red]", "--format", "classic") as process,
    ):
        with named("loc other"):
            listener.accept(1)
        known = listener.accept(5)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, err
    listen_fd = listener.listening.fileno()
    expected = [
        rf"cpu=#\d+ pid={os.getpid()} accept\({listen_fd}\) -> fd={fd} rxcpu=#{rxcpu}"
        for fd, _, rxcpu in known
    ]
    lines = out.splitlines()
    assert len(lines) == len(expected)
    assert all(re.fullmatch(*pair) for pair in zip(expected, lines, strict=True))
    assert "\n5 accepted, " in err
    assert "loc <b>[red]" in err


# Bugs: --summary prints lines all the same, or counts nothing; --no-output prints, or does not
# record.
def test_accept_prints_less(tmp_path: Path, listener: Listener) -> None:
    mine = ("--pid", os.getpid(), "--port", listener.port, "--count", 5)
    with tracing(tmp_path, "accept", *mine, "--summary") as process:
        listener.accept(5)
        out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, err
    assert out.startswith("5 accepted, ")
    assert "fds" not in out
    recording = tmp_path / "quiet.arrows"
    with tracing(tmp_path, "accept", *mine, "--no-output", "--record", recording) as process:
        known = listener.accept(5)
        out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out, err) == (0, "", "")
    with Reader(recording) as reader:  # a frame would need pandas, which no guest of arm64 has
        ports = [port for rows in reader.rows() for port in rows["rport"].to_pylist()]
    assert ports == [port for _, port, _ in known]


# Bugs: a name nobody has yet is an error, or is waited for in silence; when the reader goes,
# the command stays until the next connection, or ends with a traceback.
def test_accept_waits_for_a_name_until_the_reader_goes(tmp_path: Path) -> None:
    with tracing(tmp_path, "accept", "--comm", "nosuchname") as process:
        assert process.stdout
        assert process.stderr
        process.stdout.close()
        assert process.wait(PATIENCE) == 141
        err = process.stderr.read()
    assert "no thread is called 'nosuchname' yet: waiting for one" in err
    assert "Traceback" not in err


# Bug: the time is over and nothing says how it was, or no connections are an error.
def test_accept_of_nothing(listener: Listener) -> None:
    done = run("accept", "--port", listener.port, "--duration", 0.2)
    assert done.returncode == 0
    assert done.stdout.splitlines()[-1].startswith("0 accepted, ")


# Bug: the probes are attached, then the traceback; or it runs on, and who waits waits for ever.
def test_an_unwritable_ready_file() -> None:
    done = run("accept", "--duration", 60, "--ready-file", "/nonexistent/ready")
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last == "locality: cannot write /nonexistent/ready: No such file or directory"


# --- skb --------------------------------------------------------------------------------


@contextmanager
def datagrams() -> Iterator[None]:
    """A few packets, all the time."""
    over = threading.Event()

    def send_and_receive() -> None:
        with socket.socket(type=socket.SOCK_DGRAM) as one:
            one.bind(("127.0.0.1", 0))
            while not over.wait(0.001):
                one.sendto(b"x", one.getsockname())
                one.recv(1)

    thread = threading.Thread(target=send_and_receive, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


# Bugs: a name or a type that programs do not expect; 0 for what the rung cannot see is caught by
# its account's tests, but more local packets than packets is caught here.
@pytest.mark.skb_rx
@pytest.mark.skb_tx
def test_skb_json(rung: str) -> None:
    with datagrams():
        done = run("skb", "--rung", rung, "--interval", 0.2, "--count", 3, "--json")
    assert done.returncode == 0, done.stderr
    intervals = [json.loads(line) for line in done.stdout.splitlines()]
    assert [set(one) for one in intervals] == [SKB_NAMES] * 3
    for one in intervals:
        assert one["interval_s"] > 0
        assert one["rx_packets"] > 0
        for direction in ("rx", "tx"):
            packets = one[f"{direction}_packets"]
            assert type(packets) is int
            for part in ("local", "freed_local", "deferred", "unknown"):
                value = one[f"{direction}_{part}"]
                assert value is None or type(value) is int
            assert (one[f"{direction}_local"] or 0) + one[f"{direction}_unknown"] <= packets
            counts = one[f"{direction}_by_distance"]
            assert counts["cpu"] == one[f"{direction}_local"]
            if counts["cpu"] is not None:
                assert sum(counts.values()) == packets - one[f"{direction}_unknown"]
    times = [one["time"] for one in intervals]
    assert times == sorted(set(times))
    assert {one["rung"] for one in intervals} == {rung}


# Bugs: packets of the line above are in no cell and in no note below; the summary is missing
# below readable lines.
def test_skb_matrix() -> None:
    with datagrams():
        done = run("skb", "--interval", 0.2, "--count", 1, "--matrix")
    assert done.returncode == 0, done.stderr
    interval, summary = done.stdout.split("sent, packets:\n")
    matrix = interval.split("received, packets:\n")[1].splitlines()
    cells = [row.split()[1:] for row in matrix if row.split()[0].startswith("#")]
    counted = sum(int(cell) for row in cells for cell in row)
    counted += sum(int(found[1]) for row in matrix if (found := re.match(r"and (\d+) ", row)))
    received = re.split("^(?:received|sent): ", summary, flags=re.MULTILINE)[1]
    if unknown := re.search(r"(\d+) of them consumed on a CPU not known", received):
        counted += int(unknown[1])
    assert counted > 0
    assert received.startswith(f"{counted} packets\n")


# Bugs: `locality skb | head -2` or a full disk ends as an error or with a traceback.
def test_skb_into_a_pipe_that_closes(tmp_path: Path) -> None:
    with tracing(tmp_path, "skb", "--interval", 0.1, "--format", "classic") as process:
        assert process.stdout
        assert process.stderr
        line = process.stdout.readline()
        process.stdout.close()
        assert process.wait(PATIENCE) == 141
        assert "Traceback" not in process.stderr.read()
    assert re.fullmatch(r"rx=[ \d?-]{3}% [ \d]{4}kpps tx=[ \d?-]{3}% [ \d]{4}kpps\n", line)


# Bug: counts that cannot be written end in a traceback, or as if all were well.
def test_skb_onto_a_full_disk() -> None:
    with Path("/dev/full").open("w") as full:
        done = run("skb", "--interval", 0.1, stdout=full.fileno())
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "locality: standard output: No space left on device"
    assert "Traceback" not in done.stderr


# --- check ------------------------------------------------------------------------------


# Bugs: two rungs, or none, are said to be in use; a refused one is chosen; the one chosen is not
# the one the measurement then takes.
@pytest.mark.chosen
def test_check() -> None:
    done = run("check", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    rungs = found["rungs"]
    for measurement in ("accept", "udp", "skb"):
        tried = [one for one in rungs if one["measurement"] == measurement]
        if measurement == "udp" and any(NO_ATOMICS in (one["refusal"] or "") for one in tried):
            assert not any(one["chosen"] for one in tried)
            continue
        (chosen,) = [one for one in tried if one["chosen"]]
        assert chosen["refusal"] is None
        better = tried[: tried.index(chosen)]
        assert all(one["refusal"] for one in better)
    done = run("skb", "--interval", 0.1, "--count", 1, "--json", "--rung", chosen["rung"])
    assert json.loads(done.stdout)["rung"] == chosen["rung"]


# --- attach-cbpf ------------------------------------------------------------------------

# Three listeners of one group; each connection is answered with the number of its listener.
SERVER = """
import ctypes, os, select, socket, sys
ctypes.CDLL(None).prctl(15, os.fsencode(sys.argv[1]), 0, 0, 0)
listeners = [socket.create_server(("127.0.0.1", 0), reuse_port=True)]
for _ in range(2):
    listeners.append(socket.create_server(listeners[0].getsockname(), reuse_port=True))
print(listeners[0].getsockname()[1], *[one.fileno() for one in listeners], flush=True)
while True:
    for one in select.select(listeners, [], [])[0]:
        with one.accept()[0] as connection:
            connection.send(b"%d" % listeners.index(one))
"""
SIZE = 3


@dataclass(frozen=True)
class Group:
    """A process with a reuseport group."""

    pid: int
    port: int
    fds: list[int]

    @property
    def program(self) -> cbpf.Program | None:
        group = read_group(self.pid, self.fds[0])
        assert group.attached is (group.program is not None)
        return group.program

    def connect(self, cpu: int) -> int:
        """Connect from a CPU, which on loopback is the RX CPU: who answered?"""
        os.sched_setaffinity(0, {cpu})
        try:
            with socket.create_connection(("127.0.0.1", self.port), PATIENCE) as connection:
                return int(connection.recv(1))
        finally:
            os.sched_setaffinity(0, CPUS)

    def attach_cbpf(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        """Through another member than the one that is looked at."""
        return run("attach-cbpf", "--pid", self.pid, "--fd", self.fds[1], *arguments)

    def classic(self, size: int) -> str:
        return (
            f"[+] Pid={self.pid} fd={self.fds[1]} group_size={size} "
            "setsockopt(SO_ATTACH_REUSEPORT_CBPF)=0"
        )


@contextmanager
def serving(comm: bytes = b"loc-server") -> Iterator[Group]:
    command = [sys.executable, "-c", SERVER, os.fsdecode(comm)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            assert select.select([process.stdout], [], [], PATIENCE)[0]
            port, *fds = map(int, process.stdout.readline().split())
            yield Group(process.pid, port, fds)
        finally:
            process.kill()


@pytest.fixture
def group() -> Iterator[Group]:
    with serving() as one:
        yield one


# Bugs: the line that scripts wait for differs or goes elsewhere; what is attached is not what was
# asked for; --detach leaves it there, or is silent when there is nothing to take away.
@pytest.mark.attach
def test_attach_and_detach(group: Group) -> None:
    done = group.attach_cbpf("--group", SIZE)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == group.classic(SIZE)
    assert group.program == cbpf.cpu(SIZE)
    assert [group.connect(cpu) for cpu in CPUS] == [cpu % SIZE for cpu in CPUS]

    done = group.attach_cbpf("--detach")
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("setsockopt(SO_DETACH_REUSEPORT_BPF)=0\n")
    assert group.program is None

    done = group.attach_cbpf("--detach")
    assert (done.returncode, done.stdout) == (1, "")
    assert "ENOENT" in done.stderr
    assert len(done.stderr.splitlines()) == 1


# Bugs: --dry-run acts; or it shows another program than the one that would be attached.
def test_dry_run_changes_nothing(group: Group) -> None:
    done = group.attach_cbpf("--group", SIZE, "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "[+]" not in done.stdout
    for cpu in CPUS:
        assert f"CPU {cpu} -> index {cpu % SIZE}" in done.stdout.splitlines()
    for line in cbpf.disassemble(cbpf.cpu(SIZE)):
        assert line in done.stdout
    assert group.program is None


# Bugs: a wrong size is attached, and sockets starve; or the refusal does not say what would
# happen; or there is no way to insist.
@pytest.mark.parametrize(
    ("size", "effect"), [(SIZE + 5, "hashed|get nothing at all"), (SIZE - 1, "get nothing at all")]
)
def test_a_wrong_size_takes_force(group: Group, size: int, effect: str) -> None:
    refused = group.attach_cbpf("--group", size)
    assert (refused.returncode, refused.stdout) == (1, "")
    (line,) = refused.stderr.splitlines()[-1:]
    assert re.search(effect, line)
    assert f"--group {SIZE}" in line
    assert "--force" in line
    assert group.program is None

    forced = group.attach_cbpf("--group", size, "--force")
    assert forced.returncode == 0, forced.stderr
    assert forced.stdout.splitlines()[0] == group.classic(size)
    assert group.program == cbpf.cpu(size)


# Bug: index and CPU exchanged. Only where connections land shows it.
@pytest.mark.attach
def test_a_map(group: Group) -> None:
    indexes = {cpu: (SIZE - 1 - place) % SIZE for place, cpu in enumerate(CPUS)}
    wanted = ",".join(f"{cpu}:{index}" for cpu, index in indexes.items())
    done = group.attach_cbpf("--map", wanted, "--force")  # two CPUs cannot serve three listeners
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == group.classic(SIZE)
    assert group.program == cbpf.table(indexes)
    assert {cpu: group.connect(cpu) for cpu in CPUS} == indexes


# Bug: what a process calls itself ends the run, forges a line or reaches the terminal as it is.
def test_attach_to_a_hostile_name() -> None:
    with serving(b"\xff\x1b[31m\n[+] P") as group:
        done = group.attach_cbpf("--group", SIZE)
        assert done.returncode == 0, done.stderr
        assert group.program == cbpf.cpu(SIZE)
    lines = (done.stdout + done.stderr).splitlines()
    assert all(line.isprintable() for line in lines)
    assert [line for line in lines if line.startswith("[+]")] == [group.classic(SIZE)]
