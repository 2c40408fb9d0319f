"""Switching a tracer on and off, so that turns with and without it can alternate.

Ours runs in a process that attaches and detaches when told to. A peer cannot be told: where all
its programs are kprobes, the kernel is, which then disarms every kprobe of the machine (debugfs,
kprobes/enabled), so nobody else may have some; and where starting it takes next to no time, it is
started anew. While off, its process still runs.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from benchmarks.peers.running import running
from locality.errors import LocalityError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.peers.contestants import Contestant
    from benchmarks.peers.running import Running

ALL_KPROBES = Path("/sys/kernel/debug/kprobes/enabled")
_KPROBE = 2  # BPF_PROG_TYPE_KPROBE
_PERF_EVENT = 7  # BPF_PROG_TYPE_PERF_EVENT: a script's timer, of no weight
SOON_S = 4.0


class Switch(Protocol):
    """A tracer that can be on or off."""

    def turn(self, *, on: bool) -> None:
        """Have it so before this returns."""


class KprobeSwitch:
    """All kprobes of the machine."""

    def turn(self, *, on: bool) -> None:
        """Arm or disarm them."""
        ALL_KPROBES.write_text("1" if on else "0")


class Restart:
    """A contestant that is started anew."""

    def __init__(self, contestant: Contestant, scratch: Path) -> None:
        self._contestant, self._scratch = contestant, scratch
        self._stack = ExitStack()

    def turn(self, *, on: bool) -> None:
        """Start or stop it."""
        self._stack.close()
        if on:
            self._stack.enter_context(running(self._contestant, self._scratch))


class Told:
    """One of our own commands in a process that does as it is told: `switched.py`."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def turn(self, *, on: bool) -> None:
        """Attach or detach its programs."""
        assert self._process.stdin
        assert self._process.stderr
        print("on" if on else "off", file=self._process.stdin, flush=True)
        if not self._process.stderr.readline().startswith("done"):
            raise LocalityError("a tracer that is switched on and off has ended")


@contextmanager
def _told(alive: Running, scratch: Path) -> Iterator[Told]:
    alive.stop()
    with (
        (scratch / "switched.output").open("w") as output,
        subprocess.Popen(
            [sys.executable, "-m", "benchmarks.peers.switched", alive.contestant.switched],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.PIPE,
            text=True,
        ) as process,
    ):
        try:
            assert process.stderr
            process.stderr.readline()
            yield Told(process)
        finally:
            process.send_signal(signal.SIGINT)


@contextmanager
def _armed_again() -> Iterator[KprobeSwitch]:
    try:
        yield KprobeSwitch()
    finally:
        ALL_KPROBES.write_text("1")


def of(alive: Running, scratch: Path) -> AbstractContextManager[Switch] | None:
    """How a running contestant is switched; None if it cannot be, or is ours in another form.

    It may have been stopped then, for another process to take its place.
    """
    if alive.contestant.switched:
        return _told(alive, scratch)
    if _KPROBE in alive.program_types <= {_KPROBE, _PERF_EVENT} and ALL_KPROBES.exists():
        return _armed_again()
    if alive.seconds < SOON_S and not alive.contestant.is_ours:
        return _restart(alive, scratch)
    return None


@contextmanager
def _restart(alive: Running, scratch: Path) -> Iterator[Restart]:
    alive.stop()
    switch = Restart(alive.contestant, scratch)
    try:
        yield switch
    finally:
        switch.turn(on=False)
