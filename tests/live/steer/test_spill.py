"""A program that looks at queues: what it answers, and that it never costs a connection."""

from __future__ import annotations

import json
import os
import random
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from benchmarks.spill import syn
from locality.attach_cbpf import attach, detach
from locality.changes import undo_file
from locality.changes.server import GroupPlace, ProgramChange
from locality.changes.system import this_system
from locality.changes.undo import apply, undo
from locality.lab.namespaces import namespace
from locality.machine import topology
from locality.reuseport.group import read_sockets
from locality.reuseport.survey import find
from locality.spill import maps, program
from locality.spill.answers import Kind, possible
from locality.spill.table import Table, make
from locality.steering import attachment
from locality.steering.follow import Follower
from locality.steering.plan import SpillTable, fixed_bound
from tests.live.helpers.commands import run
from tests.live.helpers.traffic import CPUS, EMULATED, PATIENCE, pinned
from validation import spill_events

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from locality.reuseport.group import Group
    from locality.spill.attached import Counted, Spill

pytestmark = [pytest.mark.live, pytest.mark.attach]

MACHINE = topology.read()
BOUND = 2
ROUNDS = 60 if EMULATED else 120
FLOOD = 400


@dataclass
class Server:
    """The process with the group, and the way to talk to it."""

    process: subprocess.Popen[str]
    port: int
    sockets: list[tuple[int, int]]
    clients: list[socket.socket] = field(default_factory=list)

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def inodes(self) -> list[int]:
        return [inode for _, inode in self.sockets]

    @property
    def place(self) -> tuple[int, int]:
        return self.pid, next(fd for fd, _ in self.sockets if fd >= 0)

    def tell(self, command: str, *numbers: int) -> None:
        """Have it do something, and note its sockets."""
        assert self.process.stdin
        assert self.process.stdout
        print(command, *numbers, file=self.process.stdin, flush=True)
        self.sockets = json.loads(self.process.stdout.readline())

    def group(self) -> Group:
        return read_sockets(*self.place)

    def spill(self) -> Spill:
        spill = self.group().spill
        assert spill is not None
        return spill

    def counted(self) -> Counted:
        counted = self.spill().counted
        assert counted is not None
        return counted

    def queues(self) -> dict[int, int]:
        return {one.inode: one.backlog or 0 for one in self.group().members}

    def table(self, bound: int = BOUND) -> Table:
        """Listener i is said to be served on the i-th CPU; a CPU without one has the first."""
        workers = {
            inode: {CPUS[index % len(CPUS)]} for index, inode in enumerate(self.inodes) if inode
        }
        first = next(iter(workers))
        own = {
            cpu: next((inode for inode, at in workers.items() if at == {cpu}), first)
            for cpu in CPUS
        }
        return make(bound, own, workers, MACHINE)

    def give(self, bound: int = BOUND) -> Table:
        table = self.table(bound)
        assert program.give(*self.place, table).left_out == {}
        return table


@contextmanager
def serving(listeners: int, backlog: int = 64, cpus: Sequence[int] = CPUS) -> Iterator[Server]:
    script = Path(__file__).with_name("spill_server.py")
    command = [sys.executable, str(script), str(listeners), str(backlog), ",".join(map(str, cpus))]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        server = Server(process, *json.loads(process.stdout.readline()))
        try:
            yield server
        finally:
            process.kill()
            maps.forget(*maps.remembered())
            for client in server.clients:
                client.close()


@pytest.fixture
def server() -> Iterator[Server]:
    with serving(4) as four:
        yield four


def connect(server: Server, cpu: int, count: int = 1) -> None:
    """Connections whose SYN is processed on a CPU: on loopback that on which they are made."""
    with pinned(cpu):
        for _ in range(count):
            made = socket.create_connection(("127.0.0.1", server.port), PATIENCE)
            server.clients.append(made)


# Bugs: the kernel's program and our own evaluator have other rules: which queue counts, where it
# is long, who is nearest, who wins where queues are equal, who is asked of many; an answer is
# counted as another one, or on another socket.
@pytest.mark.core
@pytest.mark.parametrize("listeners", [2, 4, 13])
def test_the_kernel_answers_as_the_evaluator_says(listeners: int) -> None:
    draw = random.Random(listeners)  # noqa: S311 - no secret
    expected: Counter[Kind] = Counter()
    got: Counter[int] = Counter()
    with serving(listeners) as server:
        table = server.give()
        assert server.spill().table == table
        queues = server.queues()
        for _ in range(ROUNDS):
            cpu = draw.choice(CPUS)
            allowed = {one.socket: one.kind for one in possible(table, cpu, queues)}
            connect(server, cpu)
            after = server.queues()
            (chosen,) = [inode for inode in after if after[inode] != queues[inode]]
            assert chosen in allowed, (cpu, queues, allowed)
            expected[allowed[chosen]] += 1
            got[chosen] += 1
            # The longest queues are served the most: lengths stay around the bound.
            if draw.random() < 0.6 and after[chosen]:
                server.tell("accept", server.inodes.index(chosen), 1)
            queues = server.queues()
        counted = server.counted()
    assert expected[Kind.KEPT] == counted.total("kept")
    assert expected[Kind.KEPT_LONG] == counted.total("kept_long")
    assert expected[Kind.SPILLED] == sum(counted.spilled.values())
    assert counted.hashed == 0
    assert {inode: sum(one) for inode, one in counted.sockets.items() if sum(one)} == got
    assert expected[Kind.SPILLED] > ROUNDS / 40
    assert expected[Kind.KEPT] > ROUNDS / 40


# Bugs: the program, or its maps, go with the process that attached them; another one does not find
# them, or reads other numbers; the evaluator of --dry-run is not what runs.
@pytest.mark.core
def test_from_the_command_line(server: Server) -> None:
    port = ("--port", str(server.port))
    # All sockets are served by one process here, on all CPUs: only --force makes a table.
    options = ("--map", "auto", "--rx-cpus", str(CPUS[0]), "--spill", 1, "--force")
    dry = run("attach-cbpf", *port, *options, "--dry-run", "--queues", "3,1,0,1")
    assert dry.returncode == 0, dry.stderr
    assert "with 3,1,0,1 waiting:" in dry.stdout
    assert not server.group().attached
    done = run("attach-cbpf", *port, *options)
    assert done.returncode == 0, done.stderr
    assert "SO_ATTACH_REUSEPORT_EBPF)=0" in done.stdout
    connect(server, CPUS[0], 5)
    shown = run("groups", *port, "--look", 0, "--format", "json")
    (group,) = [json.loads(line) for line in shown.stdout.splitlines()]
    assert group["ebpf"]["name"] == "locality_spill"
    told = group["spill"]["answers"]
    assert told["kept"] + sum(told["spilled"].values()) == 5
    assert sum(one["kept"] + one["spilled"] for one in told["sockets"]) == 5
    assert {one["cpu"] for one in group["spill"]["cpus"]} == set(CPUS)
    text = run("groups", *port, "--look", 0).stdout
    assert "spilling above 1" in text
    assert "answers since it was attached" in text
    assert run("attach-cbpf", *port, "--detach").returncode == 0
    assert server.group().attached is False


# Bugs: a socket that joins gets nothing until somebody repairs the table; one that leaves is
# chosen all the same, and its connections are refused; what it got is not counted any more.
def test_sockets_that_join_and_leave(server: Server) -> None:
    server.give()
    own = server.table().row(CPUS[0])[0][0]
    connect(server, CPUS[0], 2)
    server.tell("start")
    new = server.inodes[-1]
    assert server.spill().outside == {new}
    deadline = time.monotonic() + PATIENCE
    while server.queues()[new] < 2:  # of 5 sockets the hash knows all
        assert time.monotonic() < deadline
        connect(server, CPUS[0], 5)
        for index, inode in enumerate(server.inodes):
            if inode != new and (waiting := server.queues()[inode]):
                server.tell("accept", index, waiting)
    assert server.counted().total("newcomers") >= 2
    before = server.counted()
    server.tell("stop", server.inodes.index(own))
    # Its own worker has gone: the hash chooses, and no connection is refused.
    connect(server, CPUS[0], 5)
    counted = server.counted()
    assert counted.total("closed") == 5 - (counted.total("newcomers") - before.total("newcomers"))
    assert counted.departed == before.sockets[own]
    assert CPUS[0] not in (server.spill().table or server.table()).cpus


# Bugs: a new table makes a new program, which counts from anew; a socket gets the place, and with
# it the counts, of one that has left; more sockets than there is room for end in an error.
def test_another_table_for_the_same_program(server: Server) -> None:
    server.give()
    connect(server, CPUS[0], 2)
    number, kept = server.spill().number, server.counted().total("kept")
    server.tell("stop", 3)
    server.tell("start")
    table = server.give(bound=5)
    spill = server.spill()
    assert (spill.number, spill.table, spill.outside) == (number, table, frozenset())
    assert server.counted().total("kept") == kept == 2
    assert server.counted().sockets[server.inodes[-1]] == (0, 0)
    for _ in range(program.FEWEST_PLACES):
        server.tell("start")
    table = server.give()
    spill = server.spill()
    assert spill.number != number
    assert (spill.table, spill.outside) == (table, frozenset())


# Bug: a group of which a program of another process holds the sockets cannot be given a table any
# more, for a socket can be in one map only.
def test_the_program_of_a_process_that_has_ended_is_used_again(server: Server) -> None:
    server.give()
    number = server.spill().number
    maps.forget(number)  # as if another process had attached it
    table = server.give(bound=7)
    assert (server.spill().number, server.spill().table) == (number, table)


# Bug: after a map has taken its place, or nothing, another program that spills has to wait until
# the kernel lets go of the first one's sockets: for seconds where it is busy, and for ever while
# any process has the map open.
@pytest.mark.core
@pytest.mark.parametrize("between", ["nothing", "a map"])
def test_the_sockets_of_a_detached_program_are_free_at_once(server: Server, between: str) -> None:
    server.give()
    number = server.spill().number
    with maps.Maps.of_program(number) as held:  # as another process may have them
        assert len(held.cookies()) == len(server.inodes)
        usual = server.table().as_map(server.inodes)
        assert usual is not None
        if between == "nothing":
            attachment.detach(*server.place)
        else:
            attachment.attach(*server.place, usual)
        assert held.cookies() == {}
        table = server.give(bound=1)
        assert server.spill().table == table
        assert held.cookies() == {}


# Bugs: a classic program cannot be put back after one that spills, or the other way round; what
# was kept open by us keeps the sockets in the old map.
@pytest.mark.parametrize("way", ["to spill", "from spill"])
def test_undo(server: Server, tmp_path: Path, way: str) -> None:
    table = server.table()
    usual = table.as_map(server.inodes)
    assert usual is not None
    old, new = (usual, table) if way == "to spill" else (table, usual)
    if isinstance(old, Table):
        server.give()
    else:
        attach(*server.place, old)
    (found,) = find(ports=[server.port])
    file = tmp_path / "undo.json"
    change = ProgramChange(GroupPlace.of(found), old, new)
    assert apply([change], file, this_system()) == []
    if way == "from spill":
        assert server.group().program == usual
        maps.forget(*maps.remembered())
    else:
        assert server.spill().table == table
    assert undo(file, this_system()) == (1, [])
    now = server.group()
    assert (now.program, now.spill and now.spill.table) == (
        (usual, None) if way == "to spill" else (None, table)
    )
    assert undo_file.read(file, this_system())


# Bugs: the largest groups take so long that connections time out, or do not fit; the verifier's
# limits depend on the size.
def test_a_group_of_a_thousand() -> None:
    with serving(1000 if not EMULATED else 300, backlog=8) as server:
        table = server.give()
        assert server.spill().table == table
        connect(server, CPUS[0], BOUND + 1)
        own = table.row(CPUS[0])[0][0]
        assert server.queues()[own] == BOUND + 1
        connect(server, CPUS[0], 3)
        counted = server.counted()
        assert (counted.total("kept"), sum(counted.spilled.values())) == (BOUND + 1, 3)


# Bug: with cookies the kernel asks for the socket when the ACK comes; an answer that is another
# one than at the SYN breaks the connection.
def test_syn_cookies() -> None:
    with namespace() as alone, alone.joined(), serving(4) as server:
        Path("/proc/sys/net/ipv4/tcp_syncookies").write_text("2")
        server.give()
        for turn in range(20):
            connect(server, CPUS[turn % len(CPUS)])
        assert sum(server.queues().values()) == 20
        assert server.counted().answers >= 20


# Bugs: connections that will never be complete make a queue look long, so that what is real is
# spilled; a flood keeps real connections from being answered.
def test_a_syn_flood() -> None:
    with namespace() as alone, alone.joined(), serving(4, backlog=16) as server:
        # The SYN-ACKs vanish there, and nobody resets what they are for.
        alone.run("ip", "route", "add", "10.9.0.0/16", "dev", "lo")
        server.give(bound=1)
        own = server.table().row(CPUS[0])[0][0]
        raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
        with raw, pinned(CPUS[0]):
            for number in range(FLOOD):
                raw.sendto(syn(number, server.port, (10, 9)), ("127.0.0.1", 0))
        half_open = alone.run("ss", "-Hnt", "state", "syn-recv").splitlines()
        assert len(half_open) > 4
        assert not any(server.queues().values())
        flooded = server.counted()
        assert flooded.total("kept") == flooded.answers >= len(half_open)
        connect(server, CPUS[0], 2)
        assert server.queues()[own] == 2
        assert not sum(server.counted().spilled.values())
        connect(server, CPUS[0], 2)
        assert sum(server.counted().spilled.values()) == 2
        assert sum(server.queues().values()) == 4


# Bugs: a listener that closes while it is chosen takes a connection with it that the hash would not
# have lost; a place that is used again leads to the wrong group; counters do not add up.
def test_listeners_close_and_open_while_connections_come() -> None:
    with serving(8, backlog=256) as server:
        server.give(bound=0)
        stop = threading.Event()
        made: Counter[str] = Counter()

        def load(cpu: int) -> None:
            os.sched_setaffinity(0, {cpu})
            while not stop.is_set():
                try:
                    with socket.create_connection(("127.0.0.1", server.port), 5):
                        made["answered"] += 1
                except (ConnectionError, TimeoutError) as error:
                    made[type(error).__name__] += 1

        threads = [threading.Thread(target=load, args=(cpu,), daemon=True) for cpu in CPUS]
        for thread in threads:
            thread.start()
        draw = random.Random(1)  # noqa: S311 - no secret
        for turn in range(12 if EMULATED else 40):
            closed = draw.choice([i for i, inode in enumerate(server.inodes) if inode and i])
            server.tell("stop", closed)
            server.tell("start")
            if turn % 3 == 0:
                server.give(bound=turn % 2)
            for index, inode in enumerate(server.inodes):
                if inode and (waiting := server.queues().get(inode)):
                    server.tell("accept", index, waiting)
        stop.set()
        for thread in threads:
            thread.join(PATIENCE)
        counted = server.counted()
    assert made["answered"] > 50
    # A listener that closes resets what waits for it, as with the hash. None is refused.
    assert made["ConnectionRefusedError"] == 0
    selected = sum(map(sum, counted.sockets.values())) + sum(counted.departed)
    assert selected == counted.answers - counted.hashed
    assert counted.answers >= made["answered"]


# Bugs: --follow leaves a new socket to the hash, makes a new program for each change, says the same
# every second, or does not notice that the program was taken away.
def test_follow_keeps_the_table_right(server: Server) -> None:
    with pinned(CPUS[0]):
        plan = SpillTable(MACHINE, frozenset(CPUS), fixed_bound(BOUND), force=True)
        groups = partial(find, ports=[server.port])
        follower = Follower(
            lambda known, look: groups(known=known, look=look), lambda g: plan(g.group)
        )
        (first,) = follower.look()
        assert "attached map" in first
        number = server.spill().number
        assert list(follower.look()) == []
        server.tell("start")
        (grown,) = follower.look()
        assert "5 sockets, were 4; attached map" in grown
        assert (server.spill().number, server.spill().outside) == (number, frozenset())
        server.tell("stop", 1)
        (shrunk,) = follower.look()
        assert "4 sockets, were 5" in shrunk
        detach(*server.place)
        (again,) = follower.look()
        assert "the program was taken away; attached map" in again
        assert list(follower.look()) == []
        assert "detached" in next(iter(follower.detach()))
        assert server.group().attached is False


# Bugs: without CAP_PERFMON a map is attached as if the kernel could do no better; without
# CAP_SYS_ADMIN a command fails where it can only not see the table, or says nothing.
@pytest.mark.parametrize(
    ("dropped", "command", "status", "says"),
    [
        ("perfmon", ("attach-cbpf", "--map", "auto", "--spill", "1", "--force"), 1, "CAP_PERFMON"),
        ("sys_admin", ("groups",), 0, "CAP_SYS_ADMIN"),
        ("sys_admin", ("groups", "--format", "json"), 0, "CAP_SYS_ADMIN"),
        ("sys_admin", ("attach-cbpf", "--map", "auto", "--spill", "1", "--force"), 0, "EBPF)=0"),
    ],
)
def test_with_fewer_capabilities(
    server: Server, dropped: str, command: tuple[str, ...], status: int, says: str
) -> None:
    server.give()
    maps.forget(*maps.remembered())
    # CAP_SYS_ADMIN is as good as CAP_PERFMON and CAP_BPF.
    without = {"perfmon": "-perfmon,-sys_admin", "sys_admin": "-sys_admin"}[dropped]
    rx_cpus = ("--rx-cpus", str(CPUS[0])) if command[0] == "attach-cbpf" else ()
    done = subprocess.run(
        [
            *("setpriv", f"--bounding-set={without}", f"--inh-caps={without}"),
            *(sys.executable, "-m", "locality", *command, "--port", str(server.port), *rx_cpus),
        ],
        capture_output=True,
        text=True,
        timeout=PATIENCE * (3 if EMULATED else 1),
        check=False,
    )
    assert done.returncode == status, done.stderr
    assert says in done.stdout + done.stderr
    assert server.group().attached
    if status == 0 and command[0] == "attach-cbpf":
        assert server.spill().table is not None


# Bugs: a worker that is killed, stopped or replaced costs more connections than with the hash; runs
# of the program that are not counted, or are counted twice.
@pytest.mark.skipif(len(CPUS) < 2, reason="limitation: one CPU")
def test_workers_of_nginx_are_killed_reloaded_and_stopped(tmp_path: Path) -> None:
    outcome = spill_events.measure(1000 if EMULATED else 4000, spill=True, log=tmp_path / "log")
    answers = outcome.answers
    assert answers is not None
    assert answers.answers == outcome.runs
    by_socket = sum(map(sum, answers.sockets.values())) + sum(answers.departed)
    assert by_socket == answers.answers - answers.hashed
    assert answers.answers >= outcome.ends["answered"]
    # What a killed worker had accepted is reset, as with the hash; nothing else is lost.
    assert outcome.ends.keys() <= {"answered", "ECONNRESET", "closed without an answer"}, (
        outcome.ends
    )
    assert outcome.failed <= 0.1 * outcome.ends.total()
