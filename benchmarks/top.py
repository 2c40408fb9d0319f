"""What `locality top` itself takes, with 10,000 connections that 1,000 processes read.

The traffic is real and goes over loopback: each process reads each of its connections about twice a
second. The first seconds of the tool, in which it loads the probes, are in its memory and not in
its CPU time. What the probes cost those who read is another benchmark's (`probes`).
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.measure import Figure, Goal
from benchmarks.programs import SOURCES, compile_native
from locality.errors import LocalityError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PROCESSES, CONNECTIONS = 1_000, 10_000
ROUND_MS = 500
SETTLE_S, WATCH_S = 3.0, 30.0
PATIENCE_S = 60

MEMORY = Goal(high=60.0)  # MB
CPU = Goal(high=1.0)  # percent of one

TICKS = os.sysconf("SC_CLK_TCK")


def run(scratch: Path) -> Iterator[Figure]:
    with readers(compile_native(SOURCES / "readers.c", scratch)) as port:
        memory, cpu, _ = watched(scratch, [])
        yield Figure("text, by port: most memory", [memory], "MB", MEMORY)
        yield Figure("text, by port: CPU time", [cpu], "% CPU", CPU)
        memory, cpu, lines = watched(scratch, ["--json", "--by", "process", "--port", str(port)])
        yield Figure("JSON, by process: most memory", [memory], "MB", MEMORY)
        yield Figure("JSON, by process: CPU time", [cpu], "% CPU")
        intervals = [json.loads(line) for line in lines][1:-1]
        yield Figure("reads", [_rate(one) for one in intervals], "/s")
        yield Figure("processes", [len(one["rows"]) for one in intervals], "rows")
        yield Figure("lost", [intervals[-1]["lost"]], "reads", Goal(high=0))


def _rate(interval: dict[str, object]) -> float:
    rows, seconds = interval["rows"], interval["interval_s"]
    assert isinstance(rows, list)
    assert isinstance(seconds, float)
    return float(sum(row["reads"] for row in rows)) / seconds


@contextmanager
def readers(program: Path) -> Iterator[int]:
    """The processes, all connected, for the time of the block; gives their port."""
    most_s = round(4 * (SETTLE_S + WATCH_S) + PATIENCE_S)
    command = [str(program), *map(str, (PROCESSES, CONNECTIONS, ROUND_MS, most_s))]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line:
                raise LocalityError("the readers did not start")
            yield int(line)
        finally:
            process.kill()  # its children end with it


def watched(scratch: Path, options: Sequence[str]) -> tuple[float, float, list[str]]:
    """What one run takes: MB at most, percent of a CPU; and the lines that it printed."""
    ready, printed = scratch / "ready", scratch / "printed"
    command = [sys.executable, "-m", "locality", "top", *options, "--ready-file", str(ready)]
    with printed.open("wb") as file, subprocess.Popen(command, stdout=file) as process:
        try:
            deadline = time.monotonic() + PATIENCE_S
            while not ready.exists():
                if time.monotonic() > deadline or process.poll() is not None:
                    raise LocalityError("locality top did not start")
                time.sleep(0.1)
            time.sleep(SETTLE_S)
            begin, before = time.monotonic(), _cpu_s(process.pid)
            time.sleep(WATCH_S)
            spent = (_cpu_s(process.pid) - before) / (time.monotonic() - begin)
            memory = _peak_mb(process.pid)
        finally:
            process.terminate()
    ready.unlink()
    return memory, 100 * spent, printed.read_text().splitlines()


def _cpu_s(pid: int) -> float:
    """Seconds of CPU time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def _peak_mb(pid: int) -> float:
    """The most memory that a process ever had."""
    found = re.search(r"^VmHWM:\s*(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1]) / 1000
