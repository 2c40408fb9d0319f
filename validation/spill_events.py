"""What becomes of connections while workers are killed, reloaded and stopped: hash against spill.

    python -m validation.spill_events [--connections 200000]

A lab's nginx is asked by many clients at once, one request a connection. Several times a
second something happens to it: a worker is killed, stopped for a moment, the configuration is read
again, with as many workers as before, more, or fewer, or a new binary takes over. The same things
happen in the same order with the hash and with `attach-cbpf --spill --follow`. Each connection is
answered, or ends with an error.
Then the program's counters are added up, beside how often the kernel says that it ran.
"""

from __future__ import annotations

import errno
import json
import os
import random
import select
import signal
import socket
import sys
import threading
import time
from collections import Counter
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import click

from benchmarks.follow import Server, following
from benchmarks.program_stats import counted, programs
from locality.errors import LocalityError
from locality.lab.experiment import open_lab
from locality.lab.network import SERVER_ADDRESS
from locality.lab.nginx import PORT
from locality.lab.programs import PYTHON
from locality.reuseport.survey import find
from locality.text import percent, share

if TYPE_CHECKING:
    from collections.abc import Iterator

    from locality.lab.experiment import LocalLab
    from locality.lab.namespaces import Namespace
    from locality.reuseport.group import Group
    from locality.spill.attached import Counted

CLIENTS, AT_ONCE = 2, 24
"""Client processes, and connections of each that are open at once."""
PATIENCE_S = 10.0
EVENTS = ("kill", "stop", "reload", "reload to 4", "reload to 2", "upgrade")
EVENT_S = 0.3
STOPPED_S = 0.3
FOLLOWING_S = 90.0
"""An emulated machine takes long to load probes."""
SEED = 20171109
REQUEST = b"GET / HTTP/1.0\r\n\r\n"
BOUND = 2


@dataclass
class Outcome:
    """What became of the connections of one steering.

    Attributes:
        ends: How many were answered, or ended with which error.
        events: What happened how often.
        seconds: How long it took.
        answers: What the program counted; None for the hash.
        runs: How often the program ran, as the kernel counts it; None for the hash.
    """

    ends: Counter[str] = field(default_factory=Counter)
    events: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    answers: Counted | None = None
    runs: int | None = None

    @property
    def failed(self) -> int:
        """Connections that were not answered."""
        return self.ends.total() - self.ends["answered"]


# --- the client, a program of its own -----------------------------------------------------


def client(count: int, cpu: int) -> None:
    """Make so many connections, some at once, and print what became of them as JSON."""
    os.sched_setaffinity(0, {cpu})
    ends: Counter[str] = Counter()
    poller = select.epoll()
    under_way: dict[int, tuple[socket.socket, float]] = {}
    left = count

    def end(fd: int, how: str) -> None:
        ends[how] += 1
        with suppress(OSError):
            poller.unregister(fd)
        under_way.pop(fd)[0].close()

    while left or under_way:
        while left and len(under_way) < AT_ONCE:
            left -= 1
            made = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
            code = made.connect_ex((SERVER_ADDRESS, PORT))
            under_way[made.fileno()] = made, time.monotonic() + PATIENCE_S
            if code not in {0, errno.EINPROGRESS}:
                end(made.fileno(), errno.errorcode.get(code, str(code)))
                continue
            poller.register(made, select.EPOLLOUT)
        for fd, events in poller.poll(0.1):
            made, _ = under_way[fd]
            try:
                if events & select.EPOLLOUT and not events & select.EPOLLERR:
                    made.send(REQUEST)
                    poller.modify(fd, select.EPOLLIN)
                    continue
                answer = made.recv(4096)
                end(fd, "answered" if b" 200 " in answer else "closed without an answer")
            except OSError as error:
                end(fd, errno.errorcode.get(error.errno or 0, str(error)))
        now = time.monotonic()
        for fd in [fd for fd, (_, deadline) in under_way.items() if deadline < now]:
            end(fd, "no answer in time")
    print(json.dumps(ends))


# --- the experiment -------------------------------------------------------------------------


@dataclass
class Troubles:
    """What happens to the server, the same things each time."""

    server: Server
    lab: LocalLab
    events: Counter[str]
    _stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Until it is stopped."""
        draw = random.Random(SEED)  # noqa: S311 - no secret
        two, four = self.lab.cpus[:2], (*self.lab.cpus[:2], *self.lab.cpus[:2])
        while not self._stop.wait(EVENT_S):
            name = draw.choice(EVENTS)
            with suppress(LocalityError, OSError, IndexError):
                self._do(name, draw, two if name.endswith("2") else four)
                self.events[name] += 1

    def _do(self, name: str, draw: random.Random, cpus: tuple[int, ...]) -> None:
        workers = self.server.workers()
        if name == "kill":
            os.kill(draw.choice(workers), signal.SIGKILL)
        elif name == "stop":
            worker = draw.choice(workers)
            os.kill(worker, signal.SIGSTOP)
            time.sleep(STOPPED_S)
            os.kill(worker, signal.SIGCONT)
        elif name == "reload":
            os.kill(self.server.master, signal.SIGHUP)
        elif name == "upgrade":
            self.server.upgrade()
        else:
            self.server.reload(cpus)

    @contextmanager
    def happening(self) -> Iterator[None]:
        """They happen while the block runs."""
        thread = threading.Thread(target=self.run, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join()


def measure(connections: int, *, spill: bool, log: Path) -> Outcome:
    """Make so many connections while things happen.

    Raises:
        LocalityError: The lab did not last, or the program did not.
    """
    outcome = Outcome()
    with ExitStack() as stack:
        lab = stack.enter_context(open_lab(workers=2, wire_name="veth-rps"))
        lab._serving.close()  # noqa: SLF001 - another nginx takes its place
        server = Server(lab)
        server.configure((*lab.cpus, *lab.cpus))
        stack.callback(server.end)
        server.start()
        if spill:
            stack.enter_context(following(lab, log, "--spill", str(BOUND)))
            _until_following(log)
        stack.enter_context(counted())
        before = _runs(lab) if spill else (None, None)
        begin = time.monotonic()
        with Troubles(server, lab, outcome.events).happening():
            outcome.ends = _ask(lab.client, lab.cpus, connections)
        outcome.seconds = time.monotonic() - begin
        if spill:
            number, runs = _runs(lab)
            if number != before[0]:
                raise LocalityError("the program was replaced while it was measured")
            outcome.runs = (runs or 0) - (before[1] or 0)
            outcome.answers = _answers(lab)
    return outcome


def _ask(where: Namespace, cpus: tuple[int, ...], connections: int) -> Counter[str]:
    ends: Counter[str] = Counter()
    with ExitStack() as stack:
        running = []
        for number in range(CLIENTS):
            argv = (*PYTHON, "validation.spill_events", "--client", str(connections // CLIENTS))
            cpu = cpus[number % len(cpus)]
            running.append(
                stack.enter_context(where.start(*argv, "--cpu", str(cpu), own_mounts=False))
            )
        for process in running:
            process.entry.wait()
            printed = process.printed()
            if process.entry.returncode:
                raise LocalityError(f"a client ended early: {printed[-300:]}")
            ends.update(json.loads(printed.splitlines()[-1]))
    return ends


def _until_following(log: Path) -> None:
    """Wait until --follow has said that the group has its program.

    Raises:
        LocalityError: It does not; with what it said.
    """
    deadline = time.monotonic() + FOLLOWING_S
    while "has map" not in (said := log.read_text()):
        if time.monotonic() > deadline:
            raise LocalityError(f"--follow has not attached in {FOLLOWING_S:g} s: {said[-300:]}")
        time.sleep(0.05)


def _runs(lab: LocalLab) -> tuple[int, int]:
    """The id of the group's program, and how often it ran while runs were counted."""
    spill = _group(lab).spill
    if spill is None:
        raise LocalityError("the group has no program that spills")
    return spill.number, programs()[spill.number].count


def _answers(lab: LocalLab) -> Counted:
    spill = _group(lab).spill
    if spill is None or spill.counted is None:
        raise LocalityError("the counters of the program cannot be read")
    return spill.counted


def _group(lab: LocalLab) -> Group:
    netns = Path(f"/proc/{lab.server.pid}/ns/net").stat().st_ino
    (found,) = [one for one in find(ports=[PORT]) if one.netns == netns]
    return found.group


def lines(name: str, outcome: Outcome) -> Iterator[str]:
    """What became of them, in words."""
    ends = outcome.ends
    others = ", ".join(f"{how} {count}" for how, count in ends.most_common() if how != "answered")
    yield (
        f"{name}: {ends.total()} connections in {outcome.seconds:.0f} s, "
        f"{percent(share(ends['answered'], ends.total()), 3)} answered; {others or 'no other end'}"
    )
    events = ", ".join(f"{what} {count}" for what, count in sorted(outcome.events.items()))
    yield f"  events: {events}"
    if outcome.answers is not None:
        counted_ = outcome.answers
        selected = counted_.answers - counted_.hashed
        by_socket = sum(map(sum, counted_.sockets.values())) + sum(counted_.departed)
        yield f"  the program answered {counted_.answers} times and ran {outcome.runs} times"
        yield f"  it selected {selected} times; by socket that is {by_socket}"


def as_object(outcome: Outcome) -> dict[str, Any]:
    """The same for JSON."""
    found: dict[str, Any] = {
        "ends": dict(outcome.ends),
        "events": dict(outcome.events),
        "seconds": outcome.seconds,
        "runs": outcome.runs,
    }
    if outcome.answers is not None:
        counted_ = outcome.answers
        found |= {
            "answers": counted_.answers,
            "hashed": counted_.hashed,
            "selected": counted_.answers - counted_.hashed,
            "by_socket": sum(map(sum, counted_.sockets.values())) + sum(counted_.departed),
        }
    return found


@click.command()
@click.option("--connections", type=int, default=200_000, show_default=True)
@click.option("--steering", type=click.Choice(["hash", "spill"]), multiple=True)
@click.option("--json", "file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--log", type=click.Path(dir_okay=False, path_type=Path), help="Of --follow.")
@click.option("--client", "count", type=int, hidden=True)
@click.option("--cpu", type=int, default=0, hidden=True)
def main(  # noqa: PLR0917 - as on the command line
    connections: int,
    steering: tuple[str, ...],
    file: Path | None,
    log: Path | None,
    count: int | None,
    cpu: int,
) -> None:
    """Compare what becomes of connections with the hash and with a program that spills."""
    if count is not None:
        client(count, cpu)
        return
    found = {}
    for name in steering or ("hash", "spill"):
        with TemporaryDirectory() as scratch:
            file_of_log = log or Path(scratch, "log")
            outcome = measure(connections, spill=name == "spill", log=file_of_log)
        found[name] = as_object(outcome)
        for line in lines(name, outcome):
            print(line, flush=True)
    if file is not None:
        file.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    try:
        main.main(standalone_mode=False)
    except (LocalityError, click.ClickException) as error:
        sys.exit(f"validation.spill_events: {error}")
