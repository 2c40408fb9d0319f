"""Trials on a server of our own, in a network namespace of its own: is all as it was afterwards?"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from locality import cbpf
from locality.accept.source import Filter
from locality.cbpf.coin import recognise
from locality.connections.source import ConnectionSource
from locality.lab.namespaces import Namespace, namespace
from locality.lab.programs import children
from locality.machine import topology
from locality.reuseport.survey import FoundGroup, find
from locality.spill import maps
from locality.steering.attachment import present
from locality.trial.arms import Arms, Sockets
from locality.trial.observation import A, B
from locality.trial.targets import Steered
from tests.live.helpers.rungs import ASKED
from tests.live.helpers.traffic import HERE, PATIENCE, THERE, Network, pinned
from tests.live.helpers.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(HERE == THERE, reason="limitation: one CPU"),
    pytest.mark.skipif(ASKED is not None, reason="limitation: no rung of its own"),
]

SERVER = Path(__file__).with_name("trial_server.py")
RPS = "/sys/class/net/lo/queues/rx-0/rps_cpus"
UNDO = "/tmp/undo.json"  # noqa: S108 - the namespace's own, empty /tmp


@dataclass
class Served:
    """A running server, and where it runs."""

    end: Namespace
    pid: int
    port: int
    output: Path
    network: Network
    _over: threading.Event = field(default_factory=threading.Event)

    @property
    def netns(self) -> int:
        return Path(f"/proc/{self.end.pid}/ns/net").stat().st_ino

    def group(self) -> FoundGroup:
        (found,) = [one for one in find(ports=[self.port]) if one.netns == self.netns]
        return found

    def accepted(self) -> dict[int, int]:
        """The CPU that accepted each connection, by the client's port."""
        lines = self.output.read_text().splitlines()[1:]
        return {int(port): int(cpu) for cpu, port in (line.split() for line in lines)}

    def connect(self, cpu: int, patience: float = PATIENCE) -> int:
        """A connection from a CPU, answered; the client's port."""
        with pinned(cpu), self.network.at_client():
            client = socket.socket()
            with client:
                client.settimeout(patience)
                client.connect(("127.0.0.1", self.port))
                client.sendall(b"x")
                client.recv(1)
                return int(client.getsockname()[1])

    def command(self, *options: object) -> list[str]:
        """A command in the server's network, as a user would run it there."""
        inside = ["nsenter", "--target", str(self.end.pid), "--net", "--mount", "--"]
        return [*inside, sys.executable, "-m", "locality", *map(str, options)]

    def trial(self, *options: object) -> list[str]:
        # On a busy machine a worker may wait for its CPU.
        where = ("--port", self.port, "--undo-file", UNDO, "--max-wait", 1000)
        return self.command("trial", *where, "--json", *options)

    def rps(self) -> str:
        return self.end.run("cat", RPS)


@contextmanager
def served(tmp_path: Path, backlog: int = 128) -> Iterator[Served]:
    """A server with two workers."""
    output = tmp_path / "accepted"
    with namespace() as end, output.open("wb") as file:
        inside = ["nsenter", "--target", str(end.pid), "--net", "--"]
        with subprocess.Popen(
            [*inside, sys.executable, str(SERVER), str(backlog), str(HERE), str(THERE)],
            stdout=file,
            start_new_session=True,
        ) as process:
            try:
                until(lambda: bool(output.read_text().endswith("\n")))
                port = int(output.read_text().split()[0])
                network = Network("namespace", "127.0.0.1", end.pid, end.pid)
                yield Served(end, process.pid, port, output, network)
            finally:
                os.killpg(process.pid, signal.SIGKILL)


@contextmanager
def load(server: Served) -> Iterator[None]:
    """Connections from both CPUs, one after the other, until the block ends."""
    over = threading.Event()

    def ask(cpu: int) -> None:
        while not over.is_set():
            with suppress(OSError):  # a queue that is full, on purpose
                server.connect(cpu, 0.5)
            over.wait(0.001)

    threads = [threading.Thread(target=ask, args=(cpu,), daemon=True) for cpu in (HERE, THERE)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join(PATIENCE)


@contextmanager
def running(command: list[str]) -> Iterator[subprocess.Popen[str]]:
    """A trial that runs; killed when the block ends."""
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def is_tossed(server: Served) -> bool:
    program = server.group().group.program
    return program is not None and recognise(program) is not None


def end_of(process: subprocess.Popen[str]) -> tuple[dict[str, Any], str]:
    """What a trial printed as JSON, and beside it."""
    printed, told = process.communicate(timeout=PATIENCE)
    assert printed, told
    document: dict[str, Any] = json.loads(printed)
    return document, told


# Bugs: the jump goes to the wrong table; the program is for another CPU than the RX CPU; the arm is
# read from the CPU that accepted, which another worker's thread may share; a record's socket is
# another's.
def test_the_arm_of_each_connection_is_what_the_server_saw(tmp_path: Path) -> None:
    with served(tmp_path) as server:
        steered = Steered(server.group(), {HERE: 0, THERE: 1})
        sockets, arms = Sockets(), Arms([steered], topology.read().possible)
        steered.attach(steered.coin)
        assert is_tossed(server)
        wanted = Filter(ports=(server.port,), netns=server.netns)
        with ConnectionSource(wanted) as source:
            came_from = {}
            for _ in range(200):
                for cpu in (HERE, THERE):
                    came_from[server.connect(cpu)] = cpu
            until(lambda: len(server.accepted()) >= len(came_from))
            records = source.read().records
            deadline = time.monotonic() + PATIENCE
            while len(records) < len(came_from):
                assert time.monotonic() < deadline
                records = np.concatenate([records, source.read().records])
        accepts = records["accept"]
        found = dict(
            zip(
                accepts["rport"].tolist(),
                arms.of(accepts, sockets.of(accepts)).tolist(),
                strict=True,
            )
        )
        accepted = server.accepted()
        expected = {port: B if accepted[port] == cpu else A for port, cpu in came_from.items()}
        assert found == expected
        assert 0.35 < np.mean(list(found.values())) < 0.65
        steered.attach(None)
        assert server.group().group.attached is False


# Bugs: the coin stays; the program that was there is not put back; both arms are the same; the undo
# file stays though all is back.
def test_a_trial_by_connection_has_both_arms_and_ends_as_it_began(tmp_path: Path) -> None:
    with served(tmp_path) as server, load(server):
        before = cbpf.table({HERE: 1, THERE: 0})
        Steered(server.group(), {}).attach(before)
        with running(server.trial("--duration", 2, "--aa", 1, "--seed", 5)) as process:
            until(lambda: is_tossed(server))
            document, told = end_of(process)
        assert process.returncode == 0, told
        assert server.group().group.program == before
        assert "undo.json" not in server.end.run("ls", "/tmp")  # noqa: S108
        assert document["design"]["seed"] == 5
        assert document["restored"] is True
        # Each worker has a CPU of its own, so the arms are all or nothing of what is local.
        assert document["facts"]["accept-local in A and B"] == "0.00%, 100.00%"
        assert min(document["units"].values()) > 20


# Bug: times of connections, which a BPF program took, are compared with this process's clock, which
# a time namespace puts elsewhere: no connection lasted, began in the trial, or used CPU time.
def test_a_trial_in_a_time_namespace_has_units(tmp_path: Path) -> None:
    inside = ["unshare", "--time", "--monotonic", "1000", "--fork", "--kill-child", "--"]
    with served(tmp_path) as server, load(server):
        command = server.trial("--duration", 2, "--aa", 1, "--seed", 5)
        with running([*inside, *command]) as process:
            document, told = end_of(process)
        assert process.returncode == 0, told
        assert min(document["units"].values()) > 20
        assert document["restored"] is True


# Bug: what kill -9 leaves behind cannot be put back, or only by halves: the program, or the RPS.
@pytest.mark.parametrize("switch", [None, "attach", "rps:lo"])
def test_undo_puts_back_what_kill_9_left_behind(tmp_path: Path, switch: str | None) -> None:
    with served(tmp_path) as server, load(server):
        before = cbpf.table({HERE: 1, THERE: 0})
        Steered(server.group(), {}).attach(before)
        mask = server.rps()

        def changed() -> bool:
            return server.group().group.program != before or server.rps() != mask

        blocks = () if switch is None else ("--switch", switch, "--block", 2, "--pairs", 60)
        with running(server.trial("--duration", 60, "--aa", 0, *blocks)) as process:
            until(changed)
            process.kill()
            process.communicate(timeout=PATIENCE)
        assert changed()
        undone = subprocess.run(
            server.command("undo", UNDO), capture_output=True, text=True, check=False
        )
        assert undone.returncode == 0, undone.stderr
        assert "1 put back" in undone.stderr
        assert server.group().group.program == before
        assert server.rps() == mask


# Bugs: a signal ends the trial at once and leaves the coin behind; what was seen is thrown away; a
# terminal that is closed is no signal.
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_a_trial_with_a_result(tmp_path: Path, number: int) -> None:
    with served(tmp_path) as server, load(server):
        with running(server.trial("--duration", 60, "--aa", 0)) as process:
            until(lambda: is_tossed(server))
            time.sleep(1)  # something to show
            process.send_signal(number)
            document, told = end_of(process)
        assert process.returncode == 0, told
        assert server.group().group.attached is False
        assert document["ended_early"] is True


# Bugs: connections are refused and the trial goes on; it ends but leaves the coin; it ends as a
# success. The workers stop to accept when the coin is there, and two connections fill a queue.
def test_harm_ends_a_trial_and_is_an_error(tmp_path: Path) -> None:
    with served(tmp_path, backlog=2) as server, load(server):
        with running(server.trial("--duration", 60, "--aa", 1)) as process:
            until(lambda: is_tossed(server))
            for pid in children(server.pid):
                os.kill(pid, signal.SIGUSR1)
            with flood(server):
                document, told = end_of(process)
        assert process.returncode == 3, told
        assert "found an accept queue full" in told
        assert "accept queue" in document["harm"]
        assert server.group().group.attached is False


# Bug: attach-cbpf --follow puts its map in the coin's place, and all that comes after is taken for
# the coin's doing; it is detached with the coin, or by the next block; the undo file stays though
# nothing is left to put back, or goes though the earlier program is.
@pytest.mark.parametrize("blocks", [(), ("--switch", "attach", "--block", 0.5)])
@pytest.mark.parametrize("before", [None, cbpf.table({HERE: 1, THERE: 0})])
def test_a_program_of_somebody_else_ends_a_trial_and_stays(
    tmp_path: Path, blocks: tuple[object, ...], before: cbpf.Program | None
) -> None:
    other = cbpf.queue(2)
    with served(tmp_path) as server, load(server):
        if before is not None:
            Steered(server.group(), {}).attach(before)
        asked = ("--duration", 60, "--aa", 0, "--max-imbalance", 9, *blocks)
        with running(server.trial(*asked)) as process:
            until(lambda: server.group().group.program not in {None, before})
            Steered(server.group(), {}).attach(other)
            document, told = end_of(process)
        assert process.returncode == 3, told
        assert "another program was attached" in document["harm"]
        assert document["restored"] is False
        assert server.group().group.program == other
        assert f"--port {server.port} --netns {server.netns} --proto tcp --detach" in told
        left = "undo.json" in server.end.run("ls", "/tmp")  # noqa: S108
        assert left == (before is not None), told


@contextmanager
def flood(server: Served) -> Iterator[None]:
    """Connections that nobody waits for, until the block ends."""
    over = threading.Event()

    def knock() -> None:
        with server.network.at_client():
            while not over.is_set():
                with socket.socket() as client:
                    client.setblocking(False)
                    client.connect_ex(("127.0.0.1", server.port))
                    over.wait(0.01)

    thread = threading.Thread(target=knock, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(PATIENCE)


# Bugs: the mask is written in another form than it was read in; a block that was thrown away
# counts; a pair has two blocks of one arm.
def test_blocks_switch_rps_and_the_program_and_put_them_back(tmp_path: Path) -> None:
    with served(tmp_path) as server, load(server):
        mask = server.rps()
        for switch in ("rps:lo", "attach"):
            asked = ("--switch", switch, "--block", 0.3, "--washout", 0.1, "--pairs", 3)
            with running(server.trial(*asked, "--aa", 0, "--max-imbalance", 9)) as process:
                document, told = end_of(process)
            assert process.returncode == 0, told
            assert server.rps() == mask
            assert server.group().group.attached is False
            assert document["restored"] is True


# Bugs: a group with a program that spills cannot be tried on; it has a map afterwards, or a table
# for other sockets; --switch spill attaches a map alone; the guard takes our own table for that of
# somebody else.
@pytest.mark.parametrize(("before", "switch"), [(None, "spill"), (3, "attach"), (3, "spill:1")])
def test_a_program_that_spills_is_tried_and_put_back(
    tmp_path: Path, before: int | None, switch: str
) -> None:
    with served(tmp_path) as server, load(server):
        if before is not None:
            options = ("--map", "auto", "--rx-cpus", f"{HERE},{THERE}", "--spill", before)
            command = server.command("attach-cbpf", "--port", server.port, *options)
            subprocess.run(command, check=True, capture_output=True)
        was = present(server.group().group)
        assert (was is None) == (before is None)
        maps.forget(*maps.remembered())  # as long as we hold them, their sockets fit into no other
        asked = ("--switch", switch, "--block", 1, "--washout", 0.1, "--pairs", 2)
        with running(server.trial(*asked, "--aa", 0, "--max-imbalance", 9)) as process:
            document, told = end_of(process)
        assert process.returncode == 0, told
        assert document["restored"] is True
        assert present(server.group().group) == was
        facts = " ".join(document["facts"].values())
        wanted = {"spill:1": "spilling above 1", "spill": "spilling above"}.get(
            switch, f"map {HERE}:"
        )
        assert wanted in facts
        assert ("spilling above 3" in facts) == (before is not None)


# Bugs: a command goes through a shell, or runs where an attacker put files; its order is not that
# of the arms; the last one is B's.
def test_commands_are_run_as_they_are_and_the_first_one_last(tmp_path: Path) -> None:
    with served(tmp_path) as server, load(server):
        log = tmp_path / "log"
        script = tmp_path / "note"
        script.write_text(f'#!/bin/sh\necho "$1 $PWD" >>{log}\n')
        script.chmod(0o755)
        arms = ("--switch", f"{script} 'a;b'", f"{script} $HOME")
        asked = ("--block", 0.3, "--pairs", 3, "--aa", 0, "--metric", "three=echo 3")
        # Not in the namespace's own mounts, where the script is not.
        where = ("--port", server.port, "--netns", server.netns, "--undo-file", tmp_path / "undo")
        options = map(str, (*where, *arms, *asked, "--max-wait", 1000, "--json"))
        with running([sys.executable, "-m", "locality", "trial", *options]) as process:
            _, told = end_of(process)
        assert process.returncode == 0, told
        lines = log.read_text().splitlines()
        assert set(lines) == {"a;b /", "$HOME /"}
        assert len(lines) == 7
        pairs = zip(lines[:6:2], lines[1:6:2], strict=True)
        assert all({*pair} == {"a;b /", "$HOME /"} for pair in pairs)
        assert lines[-1] == "a;b /"
        assert not (tmp_path / "undo").exists()


# Bug: a dry run attaches something, or leaves an undo file.
def test_a_dry_run_changes_nothing(tmp_path: Path) -> None:
    with served(tmp_path) as server, load(server):
        with running(server.trial("--dry-run")) as process:
            _, told = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, told
        assert "coin: map" in told
        assert "nothing was changed" in told
        assert server.group().group.attached is False
        assert "undo.json" not in server.end.run("ls", "/tmp")  # noqa: S108
