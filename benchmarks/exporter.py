"""What `locality exporter` costs: nginx in the lab, and the exporter's own memory and CPU time.

The load runs all the time; in each turn the probes of some measurements are attached, or none. A
turn counts the connections that nginx's namespace took, which is one for each request. What a
window of --duty costs is that, for its share of the time, and the time of attaching.

The memory is that of a command that is asked again and again while connections come to ever new
ports.
"""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

from benchmarks.lab import WARM_UP_S, requests
from benchmarks.measure import Figure, Goal, ratios, take_turns
from locality.bpf.run_times import counted
from locality.exporter.measures import Accepts, Measure, Packets, Reads
from locality.exporter.metrics import PortLabels
from locality.filter import Wanted
from locality.lab.experiment import open_lab
from locality.machine import topology

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from locality.lab.experiment import Lab

ROUNDS, SECONDS, TURN_S, SETTLE_S = 25, 60.0, 0.5, 0.05
SCRAPES, PORTS_A_SCRAPE = 600, 10
#: Scrapes after which everything that is made once has been made.
WARM = 100
_MEMORY, _CPU = "process_resident_memory_bytes", "process_cpu_seconds_total"


def run(scratch: Path) -> Iterator[Figure]:
    yield from _memory(scratch)
    with open_lab() as lab, lab.load() as load:
        time.sleep(WARM_UP_S)
        yield from _in_the_lab(lab)
        load.stop()


def _in_the_lab(lab: Lab) -> Iterator[Figure]:
    machine = topology.read()
    with ExitStack() as stack:
        ports = PortLabels(10)
        measures: list[Measure] = [Accepts(machine, Wanted()), Reads(machine, Wanted(), ports)]
        measures.append(Packets(machine))
        for measure in measures:
            stack.callback(measure.close)
            measure.detach()
        contestants = {"nothing": partial(_turn, lab, [])}
        contestants |= {one.name: partial(_turn, lab, [one]) for one in measures}
        contestants["everything"] = partial(_turn, lab, measures)
        found = take_turns(contestants, rounds=ROUNDS, seconds=SECONDS)
        for name, values in found.items():
            if name != "nothing":
                goal = Goal(low=0.99) if name == "everything" else None
                yield Figure(f"{name} / nothing", ratios(values, found["nothing"]), "x", goal=goal)
        with counted():
            for measure in measures:
                before, taken = measure.run_times(), requests(lab)
                _turn(lab, [measure], seconds=1.0)
                spent = measure.run_times()[0] - before[0]
                each = 1e9 * spent / max(1, requests(lab) - taken)
                yield Figure(f"{measure.name}: run time for each request", [each], "ns")


def _turn(lab: Lab, measures: list[Measure], seconds: float = TURN_S) -> float:
    """Requests/s while they are attached."""
    for measure in measures:
        measure.attach()
    time.sleep(SETTLE_S)
    before, begin = requests(lab), time.perf_counter()
    time.sleep(seconds)
    rate = (requests(lab) - before) / (time.perf_counter() - begin)
    for measure in measures:
        measure.detach()
    return rate


def _memory(scratch: Path) -> Iterator[Figure]:
    for name, options in (("", []), ("without findings, ", ["--no-findings"])):
        after = [*_asked(scratch, options)]
        yield Figure(f"{name}memory", [after[-1][0] / 1e6], "MB", goal=Goal(high=60))
        yield Figure(f"{name}growth", [(after[-1][0] - after[0][0]) / 1e6], "MB", goal=Goal(high=1))
        each = (after[-1][1] - after[0][1]) / (SCRAPES - WARM)
        yield Figure(f"{name}CPU time of an answer", [1e3 * each], "ms")


def _asked(scratch: Path, options: list[str]) -> Iterator[tuple[float, float]]:
    """Memory and CPU time of an exporter after the first scrapes, and after all of them."""
    ready = scratch / "ready"
    ready.unlink(missing_ok=True)
    with socket.create_server(("127.0.0.1", 0)) as free:
        where = f"127.0.0.1:{free.getsockname()[1]}"
    command = [sys.executable, "-m", "locality", "exporter", "--listen", where, *options]
    with subprocess.Popen([*command, "--ready-file", ready]) as process:
        try:
            while not ready.exists():
                time.sleep(0.02)
            for number in range(1, SCRAPES + 1):
                for _ in range(PORTS_A_SCRAPE):
                    _connect()
                with urllib.request.urlopen(f"http://{where}/metrics") as answer:
                    text = answer.read().decode()
                if number in {WARM, SCRAPES}:
                    yield _value(text, _MEMORY), _value(text, _CPU)
        finally:
            process.terminate()


def _connect() -> None:
    """A connection to a new port, which is read."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()) as client,
        listener.accept()[0] as accepted,
    ):
        client.send(b"x")
        accepted.recv(1)


def _value(text: str, name: str) -> float:
    found = re.search(rf"^{name} (\S+)$", text, re.MULTILINE)
    return float(found[1]) if found else float("nan")
