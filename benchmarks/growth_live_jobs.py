"""What growth measures on the running kernel, one job a process; see `growth_data_jobs`.

It is run as a script, beside that one: which checkout is measured says PYTHONPATH. Sockets are
those of this process and its children, on addresses of loopback. CPU time of a command is what its
process had when it ended, or grew by in some seconds.
"""

from __future__ import annotations

import json
import os
import resource
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from statistics import median
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PORT = 18_080
MAP = ("--map", "auto", "--rx-cpus", "0,1")
LOCALITY = (sys.executable, "-m", "locality")
IDLE_S = 8.0
PATIENCE_S = 100.0
NODE_CPUS = 64
#: Datagrams that every socket is sent in a second.
EACH = 2


@contextmanager
def groups(count: int) -> Iterator[None]:
    """So many groups on one port, each at an address of its own, of two workers that poll."""
    workers: list[int] = []
    ready, tell = os.pipe()
    try:
        for cpu in range(2):
            pid = os.fork()
            if not pid:
                _serve(count, cpu, tell)
            workers.append(pid)
            os.read(ready, 1)
        yield
    finally:
        for pid in workers:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def _open_many() -> None:
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _serve(count: int, cpu: int, tell: int) -> None:
    _open_many()
    os.sched_setaffinity(0, {cpu % (os.cpu_count() or 1)})
    poll = selectors.EpollSelector()
    for number in range(count):
        one = socket.socket()
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        one.bind((f"127.0.{number // 250 + 1}.{number % 250 + 1}", PORT))
        one.listen()
        poll.register(one, selectors.EVENT_READ)
    os.write(tell, b"x")
    while True:
        poll.select()


@contextmanager
def processes(count: int) -> Iterator[None]:
    """So many processes more, which do nothing."""
    pids = [os.posix_spawn("/bin/sleep", ["sleep", "300"], os.environ) for _ in range(count)]
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        for pid in pids:
            os.waitpid(pid, 0)


def dry_run(count: str, more: str) -> dict[str, float]:
    """CPU time of `attach-cbpf --dry-run` of many groups, and its memory."""
    with groups(int(count)), processes(int(more)):
        words = ("attach-cbpf", "--port", str(PORT), "--dry-run", *MAP)
        return _ended([*LOCALITY, *words])


def _ended(command: list[str]) -> dict[str, float]:
    """Run a command to its end."""
    # Without the memory of this process, which a forked child begins with.
    pid = os.posix_spawn(
        sys.executable,
        command,
        os.environ,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0),
            (os.POSIX_SPAWN_OPEN, 2, "/dev/null", os.O_WRONLY, 0),
        ],
    )
    _, status, usage = os.wait4(pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command)}: status {status}")
    return {"s": usage.ru_utime + usage.ru_stime, "MB": usage.ru_maxrss / 1024}


def follow(count: str, more: str) -> dict[str, float]:
    """CPU time in a second of a follower where nothing happens, and when it began to follow."""
    with groups(int(count)), processes(int(more)), tempfile.TemporaryFile("w+") as log:
        begin = time.monotonic()
        words = ("attach-cbpf", "--port", str(PORT), "--follow", *MAP)
        with subprocess.Popen([*LOCALITY, *words], stdout=log, stderr=log) as process:
            try:
                while _text(log).count(" has map ") < int(count):
                    if time.monotonic() > begin + PATIENCE_S or process.poll() is not None:
                        raise SystemExit("it does not follow")
                    time.sleep(0.05)
                began = _cpu_s(process.pid)
                time.sleep(3)  # what it looks at first is over
                spent, since = _cpu_s(process.pid), time.monotonic()
                time.sleep(IDLE_S)
                spent = (_cpu_s(process.pid) - spent) / (time.monotonic() - since)
            finally:
                process.terminate()
        return {"ms/s": 1000 * spent, "s": began}


def _text(log: IO[str]) -> str:
    return Path(f"/proc/self/fd/{log.fileno()}").read_text()


def _cpu_s(pid: int) -> float:
    """CPU time of a process so far."""
    return sum(
        int((thread / "schedstat").read_text().split()[0])
        for thread in Path(f"/proc/{pid}/task").iterdir()
    ) / 1e9  # fmt: skip


def nearest(cpus: str) -> dict[str, float]:
    """The map of a worker for each CPU, each on the CPUs of its node; and the check of it."""
    from growth_data_jobs import machine  # type: ignore[import-not-found]

    from locality import cbpf
    from locality.reuseport.evidence import Worker
    from locality.reuseport.group import Group, Member
    from locality.reuseport.target import Target
    from locality.steering.nearest import nearest_map
    from locality.steering.preflight import decide

    count = int(cpus)
    nodes = [frozenset(range(at, at + NODE_CPUS)) for at in range(0, count, NODE_CPUS)]
    workers = [nodes[cpu // NODE_CPUS] for cpu in range(count)]
    of = machine(count)
    begin = time.process_time()
    chosen = nearest_map(workers, range(count), of)
    mapped = time.process_time() - begin
    members = tuple(
        Member(100 + at, (Worker(10 + at, 10 + at, "nginx", on),)) for at, on in enumerate(workers)
    )
    group = Group(members, True, False, None, "made up")
    target = Target(9, 6, "tcp", "127.0.0.1:80", True, True, False, group, {6: 80})
    begin = time.process_time()
    decide(target, cbpf.table(chosen), count, range(count))
    return {"ms": 1000 * mapped, "preflight ms": 1000 * (time.process_time() - begin)}


def skb_read(cpus: str) -> dict[str, float]:
    """A reading of `skb` on a machine that could have so many CPUs, and the memory."""
    from locality.machine import topology
    from locality.skb.source import SkbSource

    def possible_cpus(*_of: object) -> int:
        return int(cpus)

    topology.possible_cpus = possible_cpus  # type: ignore[assignment]
    with SkbSource() as source:
        spent = []
        for _ in range(10):
            time.sleep(0.02)
            begin = time.process_time()
            source.read()
            spent.append(time.process_time() - begin)
    return {"ms": 1000 * median(spent), "MB": _resident()}


def start(*words: str) -> dict[str, float]:
    """CPU time of a command until it traces, or until it has ended."""
    if words[0] in {"groups", "--help"}:
        for _ in range(2):  # the first leaves the compiled bytecode
            ended = _ended([*LOCALITY, *words])
        return {"ms": 1000 * ended["s"]}
    with tempfile.TemporaryDirectory() as scratch:
        ready = Path(scratch, "ready")
        os.mkfifo(ready)
        for _ in range(2):
            command = [*LOCALITY, *words, "--ready-file", str(ready)]
            quiet = subprocess.DEVNULL
            with subprocess.Popen(command, stdout=quiet, stderr=quiet) as process:
                ready.read_text()
                spent = _cpu_s(process.pid)
                process.kill()
    return {"ms": 1000 * spent}


IMPORTS = "import os; os.environ['OPENBLAS_NUM_THREADS'] = '1'; import click, numpy"
LOAD = """
import ctypes, sys
lib, path, wanted = ctypes.CDLL("libbpf.so.1"), sys.argv[1].encode(), sys.argv[2:]
for name in ("bpf_object__open_file", "bpf_object__next_program", "bpf_program__name"):
    getattr(lib, name).restype = ctypes.c_char_p if name.endswith("name") else ctypes.c_void_p
probe = ctypes.c_void_p(lib.bpf_object__open_file(path, None))
program = lib.bpf_object__next_program(probe, None)
while program:
    program = ctypes.c_void_p(program)
    lib.bpf_program__set_autoload(program, lib.bpf_program__name(program).decode() in wanted)
    program = lib.bpf_object__next_program(probe, program)
sys.exit(lib.bpf_object__load(probe) != 0)
"""


def floor(of: str) -> dict[str, float]:
    """CPU time of Python with what every start imports, or that only loads a command's programs."""
    if of == "imports":
        return {"ms": 1000 * _ended([sys.executable, "-c", IMPORTS])["s"]}
    from locality.accept.source import AcceptSource
    from locality.bpf.compiled import object_file
    from locality.skb.source import SkbSource

    with AcceptSource() if of == "accept" else SkbSource() as source:
        file, programs = object_file(source.attachment.obj.name), source.attachment.programs
    return {"ms": 1000 * _ended([sys.executable, "-c", LOAD, str(file), *programs])["s"]}


def workers(count: str) -> dict[str, float]:
    """Memory of a summary of so many connections, each of a process of its own."""
    import numpy as np
    from growth_data_jobs import AcceptBatch, accepts, machine

    from locality.accept.summary import AcceptSummary

    summary = AcceptSummary(machine(2))
    begin, rows = _resident(), 1_000
    for first in range(1, int(count), rows):
        records = accepts(rows, 2)
        records["pid"] = records["tid"] = np.arange(first, first + rows)
        summary.write(AcceptBatch(records, 0, 0))
    return {"MB": _resident() - begin}


def full_ring(format_: str) -> dict[str, float]:
    """Memory that grows when one batch has all that a ring of 4 MiB holds."""
    import numpy as np
    from growth_data_jobs import AcceptBatch, accepts, machine

    from locality.kinds import ACCEPT

    of = machine(2)
    with Path("/dev/null").open("w", encoding="utf-8") as nowhere:
        sink = ACCEPT.outputs[format_].get()(nowhere, of)
        for rows in (1_000, 32_000):
            begin = _peak()
            records = accepts(rows, 2)
            records["time"] = np.arange(rows) * 50_000
            sink.write(AcceptBatch(records, 1_700_000_000 * 10**9, 0))
    return {"MB": _peak() - begin}


def udp(count: str, format_: str) -> dict[str, float]:
    """CPU time in a second of `udp` for a group of so many sockets that all get datagrams."""
    from locality.kinds import UDP
    from locality.machine import topology
    from locality.udp.source import UdpSource

    with ExitStack() as stack:
        send = stack.enter_context(_receivers(int(count)))
        out = stack.enter_context(Path("/dev/null").open("w", encoding="utf-8"))
        sink = UDP.outputs[format_].get()(out, topology.read())
        source = stack.enter_context(UdpSource())
        send(EACH * int(count))
        source.read()
        spent, begin = 0.0, time.monotonic()
        while time.monotonic() < begin + IDLE_S:
            send(EACH * int(count))
            time.sleep(max(0.0, 1 - (time.monotonic() - begin) % 1))
            before = time.process_time()
            sink.write(source.read())
            spent += time.process_time() - before
        return {"ms/s": 1000 * spent / (time.monotonic() - begin)}


@contextmanager
def _receivers(count: int) -> Iterator[Callable[[int], None]]:
    """A process with so many sockets of one group, which reads what it is made to send itself."""
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if not pid:
        _receive(count, theirs)
    ours.recv(1)

    def send(datagrams: int) -> None:
        ours.send(str(datagrams).encode())
        ours.recv(1)

    try:
        yield send
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _receive(count: int, asked: socket.socket) -> None:
    _open_many()
    poll = selectors.EpollSelector()
    for _ in range(count):
        one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        one.bind(("127.0.0.1", PORT))
        one.setblocking(False)
        poll.register(one, selectors.EVENT_READ)
    asked.send(b"x")
    while True:
        for number in range(int(asked.recv(20))):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
                sender.sendto(b"x", ("127.0.0.1", PORT))
            if number % 100 == 0:
                _drain(poll)
        _drain(poll)
        asked.send(b"x")


def _drain(poll: selectors.EpollSelector) -> None:
    for key, _ in poll.select(0.05):
        one = key.fileobj
        assert isinstance(one, socket.socket)
        with suppress(BlockingIOError):
            while True:
                one.recv(100)


def _resident() -> float:
    return _status("VmRSS:")


def _peak() -> float:
    return _status("VmHWM:")


def _status(name: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1]) / 1024


JOBS: dict[str, Callable[..., dict[str, float]]] = {
    "dry-run": dry_run,
    "follow": follow,
    "nearest": nearest,
    "skb-read": skb_read,
    "start": start,
    "floor": floor,
    "workers": workers,
    "full-ring": full_ring,
    "udp": udp,
}

if __name__ == "__main__":
    print(json.dumps(JOBS[sys.argv[1]](*sys.argv[2:])))
