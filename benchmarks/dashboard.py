"""What the dashboard costs at 100,000 accepted connections a second.

Synthetic batches every 50 ms, as the ring gives them, drawn on a terminal that nobody
looks at. CPU time is that of this whole process, less that of the same loop without a
dashboard.
"""

from __future__ import annotations

import os
import pty
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console

from benchmarks.measure import Figure, Goal
from locality.accept.batch import ACCEPT, WAIT_KNOWN, AcceptBatch
from locality.accept.dashboard import AcceptDashboard
from locality.dashboard.screen import Header
from locality.machine.topology import Distance, Topology

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

RATE = 100_000
PERIOD = 0.05
SECONDS = 4.0
ROUNDS = 3
#: A machine's CPUs, each with a worker; a terminal's columns and lines.
CASES = ((2, 80, 24), (64, 80, 24), (64, 200, 50))


def run(scratch: Path) -> Iterator[Figure]:  # noqa: ARG001 - others need one
    for cpus, width, height in CASES:
        batches = _batches(cpus)
        shares, drawn = [], []
        for _ in range(ROUNDS):
            base = _cpu_share(batches, lambda _batch: None)
            with _terminal(width, height) as console:
                header = Header("host", "kernel", "fentry", "everything")
                with AcceptDashboard(_machine(cpus), header, console) as dashboard:
                    shares.append(100 * (_cpu_share(batches, dashboard.write) - base))
                    drawn.append(dashboard.frames / SECONDS)
        name = f"{cpus} CPUs, {width}x{height}"
        yield Figure(f"CPU for the dashboard, {name}", shares, "% of one", Goal(high=5))
        yield Figure(f"redraws, {name}", drawn, "/s", Goal(high=4))


def _cpu_share(batches: list[AcceptBatch], write: Callable[[AcceptBatch], object]) -> float:
    """Seconds of CPU for each second of writing a batch every 50 ms."""
    begin, used = time.monotonic(), time.process_time()
    for number in range(int(SECONDS / PERIOD)):
        batch = batches[number % len(batches)]
        # Records are always of now; otherwise the dashboard would see the same second again.
        batch.records["time"] += np.uint64(time.monotonic_ns()) - batch.records["time"].max()
        write(batch)
        time.sleep(max(0.0, begin + (number + 1) * PERIOD - time.monotonic()))
    return (time.process_time() - used) / (time.monotonic() - begin)


@contextmanager
def _terminal(width: int, height: int) -> Iterator[Console]:
    """A terminal of this size, read to its end by nobody in particular."""
    reader, terminal = pty.openpty()

    def swallow() -> None:
        try:
            while os.read(reader, 1 << 16):
                pass
        except OSError:  # the other end was closed
            pass

    thread = threading.Thread(target=swallow)
    thread.start()
    try:
        with open(terminal, "w", encoding="utf-8") as file:  # noqa: PTH123 - a descriptor
            yield Console(
                file=file,
                width=width,
                height=height,
                force_terminal=True,
                color_system="truecolor",
            )
    finally:
        thread.join()
        os.close(reader)


def _machine(cpus: int) -> Topology:
    distances = np.full((cpus + 1, cpus + 1), Distance.NODE, np.uint8)
    groups = np.arange(cpus) // 4
    distances[:cpus, :cpus][np.equal.outer(groups, groups)] = Distance.LLC
    np.fill_diagonal(distances, Distance.CPU)
    return Topology(cpus, tuple(range(cpus)), distances)


def _batches(cpus: int) -> list[AcceptBatch]:
    """A second of connections to a server with one worker a CPU, given out by a hash."""
    chance = np.random.default_rng(2017)
    batches = []
    for _ in range(20):
        records = np.zeros(int(RATE * PERIOD), ACCEPT)
        worker = chance.integers(cpus, size=len(records))
        records["time"] = np.sort(chance.integers(int(PERIOD * 1e9), size=len(records)))
        records["wait"] = chance.exponential(20_000, len(records))
        records["flags"] = WAIT_KNOWN
        records["cpu"] = worker
        records["rxcpu"] = chance.integers(cpus, size=len(records))
        records["pid"] = records["tid"] = 29_333 + worker
        records["comm"] = b"nginx"
        batches.append(AcceptBatch(records, clock_offset=0, lost=0))
    return batches
