"""A contestant that runs: from exec to attached, its memory, its CPU time, its BPF programs."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import program_stats
from locality.errors import LocalityError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.peers.contestants import Contestant

PATIENCE_S = 400.0
POLL_S = 0.002
POLL_SHARE = 0.01
#: Without more output for so long, what was to be printed is printed.
QUIET_S = 2.0
CLOCK_TICK = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Spent:
    """What a tracer has used so far.

    Attributes:
        user: Seconds of its process in user space.
        system: And in the kernel.
        programs: Nanoseconds of its BPF programs, in whosoever's time they ran.
    """

    user: float
    system: float
    programs: int

    def __sub__(self, earlier: Spent) -> Spent:
        return Spent(
            self.user - earlier.user,
            self.system - earlier.system,
            self.programs - earlier.programs,
        )


@dataclass
class Running:
    """A contestant that is attached."""

    contestant: Contestant
    process: subprocess.Popen[bytes]
    output: Path
    seconds: float
    """From exec to attached."""
    cpu_seconds: float
    """Its CPU time until then, its children's with it."""
    program_ids: frozenset[int]

    @property
    def peak_mb(self) -> float:
        """Its largest resident size."""
        return self._memory("VmHWM:")

    @property
    def resident_mb(self) -> float:
        """Its resident size now."""
        return self._memory("VmRSS:")

    def _memory(self, name: str) -> float:
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith(name)).split()[1]) / 1000

    def spent(self) -> Spent:
        """What it has used so far."""
        user, system = _cpu_seconds(self.process.pid)
        now = program_stats.programs()
        spent = sum(now[one].ns for one in self.program_ids if one in now)
        return Spent(user, system, spent)

    def runs(self) -> dict[int, program_stats.Runs]:
        """Its BPF programs."""
        now = program_stats.programs()
        return {one: now[one] for one in self.program_ids if one in now}

    @property
    def program_types(self) -> set[int]:
        """Numbers of `enum bpf_prog_type`."""
        return {one.type for one in self.runs().values()}

    def events(self, expected: int) -> int:
        """Lines for events so far: as soon as all are there, or no more come."""
        size, quiet_since = -1, time.monotonic()
        while (seen := count_events(self.output, self.contestant.event)) < expected:
            if size != (size := self.output.stat().st_size):
                quiet_since = time.monotonic()
            elif time.monotonic() > quiet_since + QUIET_S:
                break
            time.sleep(QUIET_S / 10)
        return seen

    def stop(self) -> str:
        """End it as Ctrl-C does; returns the end of what it printed."""
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        with self.output.open("rb") as file:
            file.seek(max(0, self.output.stat().st_size - 4000))
            return file.read().decode(errors="replace")


def count_events(output: Path, event: bytes) -> int:
    """Lines of a file that are for events."""
    with output.open("rb") as file:
        return sum(event in line for line in file)


@contextmanager
def running(contestant: Contestant, scratch: Path) -> Iterator[Running]:
    """Start a contestant and wait until it is attached; the end of the block ends it.

    Args:
        contestant: Who.
        scratch: Where its output goes.

    Raises:
        LocalityError: It was not attached in time, or ended.
    """
    label = "".join(letter if letter.isalnum() else "-" for letter in contestant.name)
    output, ready = scratch / f"{label}.output", scratch / f"{label}.ready"
    ready.unlink(missing_ok=True)
    command = list(contestant.command)
    if contestant.attached is None:
        command.append(str(ready))
    # As an installed package has it: bytecode that an earlier start left.
    environment = {**os.environ, **contestant.environment}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    with ExitStack() as stack:
        file = stack.enter_context(output.open("wb"))
        begin = time.perf_counter()
        process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
        )
        stack.callback(_end, process)
        while not _is_attached(contestant, output, ready):
            if process.poll() is not None or time.perf_counter() > begin + PATIENCE_S:
                answer = output.read_text(errors="replace")[-400:]
                raise LocalityError(f"{contestant.name} was not attached: {answer}")
            # Where a start takes minutes, looking must not take a CPU from it.
            time.sleep(max(POLL_S, (time.perf_counter() - begin) * POLL_SHARE))
        seconds = time.perf_counter() - begin
        cpu_seconds = sum(_cpu_seconds(process.pid, with_children=True))
        programs = _programs_of(process.pid)
        yield Running(contestant, process, output, seconds, cpu_seconds, programs)


def _is_attached(contestant: Contestant, output: Path, ready: Path) -> bool:
    if contestant.attached is None:
        return ready.exists()
    return contestant.attached in output.read_bytes()


def _programs_of(pid: int) -> frozenset[int]:
    """Ids of the BPF programs that a process holds; others may load some, too."""
    found = set()
    for entry in Path(f"/proc/{pid}/fdinfo").iterdir():
        with suppress(OSError):
            lines = entry.read_text().splitlines()
            found |= {int(line.split()[1]) for line in lines if line.startswith("prog_id:")}
    return frozenset(found)


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.kill()
        process.wait()


def _cpu_seconds(pid: int, *, with_children: bool = False) -> tuple[float, float]:
    """User and system."""
    stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:15]
    user, system, waited_user, waited_system = (int(ticks) / CLOCK_TICK for ticks in stat)
    if with_children:
        return user + waited_user, system + waited_system
    return user, system
