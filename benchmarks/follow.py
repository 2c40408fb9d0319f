"""Seconds until accepts are local again after what servers do, with `attach-cbpf --follow`.

A lab's nginx is under load all the time and --follow runs beside it. The clock starts when the
signal is sent, or the command given, so an event's own time is in it: a restart, an upgrade. It
ends with the last tenth of a second in which less than 99 % of the accepts were local. Beside it
the same event without a follower: how local it stays then, over the last two seconds.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.measure import Figure, Goal
from locality.accept.source import AcceptSource, Filter
from locality.errors import LocalityError
from locality.lab.experiment import URL, open_lab
from locality.lab.load import run_load
from locality.lab.nginx import PORT, PREFIX, render
from locality.lab.programs import children

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from locality.lab.experiment import LocalLab

ROUNDS = 3
WATCH_S = 8.0
REST_S = 2.0  # the end of it, which must be local throughout
BIN_S = 0.1
LOCAL = 0.99
FEWEST = 200  # accepts in the rest, to say anything
GOAL = Goal(high=3.0)
PATIENCE_S = 20.0
RING = 64 << 20  # nobody reads while an event goes on


@dataclass(frozen=True)
class Server:
    """The lab's nginx, as a daemon: one that can replace its binary."""

    lab: LocalLab

    def configure(self, cpus: Sequence[int]) -> None:
        """One worker for each of these CPUs, from the next start or reload on."""
        text = render(cpus).replace("daemon off;", "daemon on;")
        self.lab.server.write(f"{PREFIX}/nginx.conf", text)

    def start(self) -> None:
        """Start it, and wait until it has workers."""
        self.lab.server.run("sh", "-c", self.command)
        until(self.workers)

    @property
    def command(self) -> str:
        """For sh; it must not keep the pipe to us open."""
        return f"{shutil.which('nginx')} -e stderr -p {PREFIX} -c nginx.conf >/dev/null 2>&1"

    @property
    def master(self) -> int:
        """Its pid; after an upgrade the new one's."""
        return int(self.lab.server.run("cat", f"{PREFIX}/nginx.pid"))

    def is_master(self, pid: int) -> bool:
        """Whether it is the one, and has workers; neither is so for a moment in an upgrade."""
        with suppress(LocalityError, ValueError):
            return self.master == pid and bool(self.workers())
        return False

    def workers(self) -> list[int]:
        """The pids of its workers that are not shutting down; empty without a master."""
        with suppress(LocalityError, OSError, ValueError):
            return [pid for pid in children(self.master) if _works(pid)]
        return []

    def reload(self, cpus: Sequence[int]) -> None:
        """Read the configuration again; does not wait."""
        self.configure(cpus)
        os.kill(self.master, signal.SIGHUP)

    def kill_a_worker(self) -> None:
        """As with kill -9; does not wait for the next."""
        os.kill(self.workers()[0], signal.SIGKILL)

    def end(self) -> None:
        """End every nginx of the lab, whatever state it is in: a daemon ends with nobody else."""
        here = self.lab.server.pid
        for entry in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if not (entry / "ns/net").samefile(f"/proc/{here}/ns/net"):
                    continue
                if (entry / "cmdline").read_bytes().startswith(b"nginx: "):
                    os.kill(int(entry.name), signal.SIGKILL)

    def stop(self) -> None:
        """Stop it, and wait until it is gone."""
        master = self.master
        os.kill(master, signal.SIGTERM)
        until(lambda: not Path(f"/proc/{master}").exists())

    def restart(self) -> None:
        """Stop and start."""
        self.stop()
        self.start()

    def upgrade(self) -> None:
        """Let a new binary take over, and wait until the old one is gone."""
        old = self.master
        os.kill(old, signal.SIGUSR2)
        until(lambda: any(self.is_master(pid) for pid in children(old)))
        os.kill(old, signal.SIGQUIT)
        until(lambda: not Path(f"/proc/{old}").exists())


def _works(pid: int) -> bool:
    line = Path(f"/proc/{pid}/cmdline").read_bytes()
    return b"worker" in line and b"shutting" not in line


def until(condition: Callable[[], object]) -> None:
    """Wait for it.

    Raises:
        LocalityError: It does not come true.
    """
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > deadline:
            raise LocalityError("nginx did not do what it was asked to")
        time.sleep(0.01)


def run(scratch: Path) -> Iterator[Figure]:
    with ExitStack() as stack:
        lab = stack.enter_context(open_lab(workers=2))
        lab._serving.close()  # noqa: SLF001 - another nginx takes its place
        server = Server(lab)
        two, four = lab.cpus, (*lab.cpus, *lab.cpus)
        server.configure(two)
        stack.callback(server.end)
        server.start()
        source = stack.enter_context(AcceptSource(Filter(ports=(PORT,)), ring_bytes=RING))
        stack.enter_context(run_load(lab.client, URL, threads=2))
        events: dict[str, Callable[[], None]] = {
            "reload, 2 to 4 workers": lambda: server.reload(four),
            "reload, 4 to 2 workers": lambda: server.reload(two),
            "a worker killed": server.kill_a_worker,
            "stop and start": server.restart,
            "binary upgrade": server.upgrade,
        }
        back: dict[str, list[float]] = {name: [] for name in events}
        _attach_once(lab)
        log = scratch / "log"
        with following(lab, log):
            until(lambda: "a group of 2 has" in log.read_text())
            for _ in range(ROUNDS):
                for name, event in events.items():
                    back[name].append(_seconds_until_local(source, event))
        for name, seconds in back.items():
            yield Figure(f"{name}: local again after", seconds, "s", GOAL)
        for name, event in events.items():
            share = _local_in_the_end(_watch(source, event))
            yield Figure(f"{name}: without --follow", [100 * share], "% local")
            _attach_once(lab)


@contextmanager
def following(lab: LocalLab, log: Path, *options: str) -> Iterator[None]:
    """`attach-cbpf --follow` on the lab's port, for the time of the block."""
    command = [*_attach(lab), *options, "--follow"]
    with log.open("w") as file, subprocess.Popen(command, stdout=file, stderr=file) as process:
        try:
            yield
        finally:
            process.terminate()


def _attach(lab: LocalLab) -> list[str]:
    netns = Path(f"/proc/{lab.server.pid}/ns/net").stat().st_ino
    where = ("--port", str(PORT), "--netns", str(netns))
    cpus = ",".join(map(str, lab.cpus))
    tool = (sys.executable, "-m", "locality")
    return [*tool, "attach-cbpf", *where, "--map", "auto", "--rx-cpus", cpus]


def _attach_once(lab: LocalLab) -> None:
    done = subprocess.run(_attach(lab), check=False, capture_output=True, text=True)
    if done.returncode:
        raise LocalityError(done.stderr)
    time.sleep(REST_S)


def _seconds_until_local(source: AcceptSource, event: Callable[[], None]) -> float:
    """From the event to the end of the last bin that was not local; WATCH_S if none was."""
    bins = _watch(source, event)
    if _local_in_the_end(bins) < LOCAL:
        return WATCH_S
    accepts, local = bins
    astray = np.flatnonzero(local < LOCAL * accepts)
    return float(astray[-1] + 1) * BIN_S if len(astray) else 0.0


def _local_in_the_end(bins: np.ndarray[tuple[int, int], np.dtype[np.int64]]) -> float:
    """The share of local accepts in the last REST_S."""
    accepts, local = bins[:, -round(REST_S / BIN_S) :].sum(axis=1)
    if accepts < FEWEST:
        raise LocalityError(f"{accepts} accepts in {REST_S:g} s: the load has stopped")
    return float(local / accepts)


def _watch(
    source: AcceptSource, event: Callable[[], None]
) -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
    """(2, bins): accepts, and those that were local, in each BIN_S from the event on."""
    source.read()
    begin = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
    event()
    bins = np.zeros((2, round(WATCH_S / BIN_S)), np.int64)
    while time.clock_gettime_ns(time.CLOCK_MONOTONIC) < begin + WATCH_S * 1e9:
        time.sleep(source.period)
        batch = source.read()
        if batch.lost:
            raise LocalityError(f"{batch.lost} records lost")
        records = batch.records
        number = (records["time"].astype(np.int64) - begin) // round(BIN_S * 1e9)
        inside = (number >= 0) & (number < bins.shape[1])
        local = records["cpu"] == records["rxcpu"]
        np.add.at(bins[0], number[inside], 1)
        np.add.at(bins[1], number[inside & local], 1)
    return bins
