"""From exec to attached, and memory: the tracing commands, beside Python alone.

The clock runs from before the process is made until its ready-file is written. The
ready-file is a pipe, so nobody polls. CPU time and memory are read at that moment;
CPU time is the better figure on a busy machine. A first start, not counted, leaves the
compiled bytecode, as an installed package has it.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.measure import Figure, Goal, ratios, take_turns
from locality.errors import LocalityError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROUNDS = 15
SECONDS = 12.0
PATIENCE_S = 30.0
CLOCK_TICK = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Start:
    """How a process came up."""

    seconds: float
    cpu_seconds: float
    mb: float


def run(scratch: Path) -> Iterator[Figure]:
    ready = scratch / "ready"
    os.mkfifo(ready)
    commands = {
        name: [sys.executable, "-m", "locality", name, "--ready-file", str(ready)]
        for name in ("accept", "skb")
    } | {
        name: [sys.executable, "-c", _ready_after(statement), str(ready)]
        for name, statement in (("python", "pass"), ("numpy", "import numpy"))
    }
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(scratch / "bytecode")}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    starts: dict[str, list[Start]] = {name: [] for name in commands}

    def start(name: str) -> float:
        starts[name].append(_start(commands[name], environment, ready))
        return starts[name][-1].seconds

    for name in commands:
        start(name)
        starts[name].clear()
    seconds = take_turns(
        {name: partial(start, name) for name in commands}, rounds=ROUNDS, seconds=SECONDS
    )
    yield Figure("accept / import numpy", ratios(seconds["accept"], seconds["numpy"]), "x")
    yield Figure("skb / import numpy", ratios(seconds["skb"], seconds["numpy"]), "x")
    for name, found in starts.items():
        fast, small = (Goal(high=0.2), Goal(high=60)) if name == "accept" else (None, None)
        yield Figure(f"{name}: ready after", [one.seconds for one in found], "s", fast)
        yield Figure(f"{name}: CPU time", [one.cpu_seconds for one in found], "s")
        yield Figure(f"{name}: largest resident size", [one.mb for one in found], "MB", small)


def _ready_after(statement: str) -> str:
    """A Python program that is ready after one statement."""
    return f"import signal, sys; {statement}; open(sys.argv[1], 'w').write('x'); signal.pause()"


def _start(command: Sequence[str], environment: dict[str, str], ready: Path) -> Start:
    """Start a command, wait until it has written to its ready-file, and end it."""
    pipe = os.open(ready, os.O_RDONLY | os.O_NONBLOCK)
    quiet = subprocess.DEVNULL
    begin = time.perf_counter()
    with subprocess.Popen(
        command, env=environment, stdin=quiet, stdout=quiet, stderr=quiet
    ) as process:
        try:
            if not select.select([pipe], [], [], PATIENCE_S)[0]:
                raise LocalityError(f"{command[:4]} was not ready after {PATIENCE_S:.0f} s")
            seconds = time.perf_counter() - begin
            # Not ru_maxrss: that has the parent's size in it, from before the exec.
            status = Path(f"/proc/{process.pid}/status").read_text()
            stat = Path(f"/proc/{process.pid}/stat").read_text()
        finally:
            process.kill()
            os.close(pipe)
    peak = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    ticks = stat.rpartition(")")[2].split()[11:13]
    return Start(seconds, sum(map(int, ticks)) / CLOCK_TICK, int(peak.split()[1]) / 1000)
