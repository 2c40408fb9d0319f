"""From exec to attached, and memory: the tracing commands, beside Python and its packages alone.

The clock runs from before the process is made until its ready-file is written. The
ready-file is a pipe, so nobody polls. CPU time and memory are read at that moment;
CPU time is the better figure on a busy machine. It is that of all threads, to the nanosecond, for
/proc/PID/stat counts in ticks of 10 ms. Of commands that end, it is all that they took. A first
start, not counted, leaves the compiled bytecode, as an installed package has it.

What a start cannot do without is measured beside it: Python, click, and numpy as the command
line imports it, with one thread for linear algebra.
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
SECONDS = 25.0
PATIENCE_S = 30.0

#: CPU time until the first reading, and of commands that end, in seconds.
GOALS = {"accept": 0.12, "skb": 0.125, "groups": 0.11, "--help": 0.05}
ENDING = ("groups", "--help")
#: Python alone, and with what every command imports, or every one that measures.
FLOORS = {
    "python": "pass",
    "click": "import click",
    "numpy": "import os; os.environ['OPENBLAS_NUM_THREADS'] = '1'; import numpy",
}


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
        name: [sys.executable, "-c", ready_after(statement), str(ready)]
        for name, statement in FLOORS.items()
    }
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(scratch / "bytecode")}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    starts: dict[str, list[Start]] = {name: [] for name in commands}

    def start(name: str) -> float:
        starts[name].append(started(commands[name], environment, ready))
        return starts[name][-1].seconds

    ended: dict[str, list[float]] = {name: [] for name in ENDING}

    def end(name: str) -> float:
        command = [sys.executable, "-m", "locality", name]
        ended[name].append(_cpu_seconds_of(command, environment))
        return ended[name][-1]

    turns = {name: partial(start, name) for name in commands}
    turns |= {name: partial(end, name) for name in ENDING}
    for name, turn in turns.items():
        turn()
        (starts[name] if name in starts else ended[name]).clear()
    seconds = take_turns(turns, rounds=ROUNDS, seconds=SECONDS)
    yield Figure("accept / import numpy", ratios(seconds["accept"], seconds["numpy"]), "x")
    yield Figure("skb / import numpy", ratios(seconds["skb"], seconds["numpy"]), "x")
    for name, found in starts.items():
        fast, small = (Goal(high=0.2), Goal(high=60)) if name == "accept" else (None, None)
        yield Figure(f"{name}: ready after", [one.seconds for one in found], "s", fast)
        goal = Goal(high=GOALS[name]) if name in GOALS else None
        yield Figure(f"{name}: CPU time", [one.cpu_seconds for one in found], "s", goal)
        yield Figure(f"{name}: largest resident size", [one.mb for one in found], "MB", small)
    for name, values in ended.items():
        yield Figure(f"{name}: CPU time to its end", values, "s", Goal(high=GOALS[name]))


def ready_after(statement: str) -> str:
    """A Python program that is ready after one statement."""
    return f"import signal, sys; {statement}; open(sys.argv[1], 'w').write('x'); signal.pause()"


def started(command: Sequence[str], environment: dict[str, str], ready: Path) -> Start:
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
            cpu_seconds = time.clock_gettime(_cpu_clock_of(process.pid))
        finally:
            process.kill()
            os.close(pipe)
    peak = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return Start(seconds, cpu_seconds, int(peak.split()[1]) / 1000)


def _cpu_clock_of(pid: int) -> int:
    """The clock of what all threads of a process took: see clock_getcpuclockid(3).

    Source: make_process_cpuclock() with CPUCLOCK_SCHED, include/linux/posix-timers.h.
    """
    return ~pid << 3 | 2


def _cpu_seconds_of(command: Sequence[str], environment: dict[str, str]) -> float:
    """Run a command to its end; what it took in user space and in the kernel.

    Raises:
        LocalityError: It failed.
    """
    nowhere = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0) for fd in range(3)]
    pid = os.posix_spawn(command[0], [*command], environment, file_actions=nowhere)
    _, status, usage = os.wait4(pid, 0)
    if status:
        raise LocalityError(f"{command[1:]} failed: status {status}")
    return usage.ru_utime + usage.ru_stime
