"""Connections over loopback, so many as are asked for, as fast as they can be accepted."""

from __future__ import annotations

import subprocess
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.programs import SOURCES, compile_native
from locality.errors import LocalityError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@dataclass(frozen=True)
class Storm:
    """The processes that make them, waiting."""

    process: subprocess.Popen[str]

    def make(self, connections: int) -> float:
        """Make so many; returns the seconds it took."""
        assert self.process.stdin
        assert self.process.stdout
        print(connections, file=self.process.stdin, flush=True)
        line = self.process.stdout.readline()
        if not line:
            raise LocalityError("the storm of connections ended early")
        return float(line) / 1000


@contextmanager
def storm(threads: int, scratch: Path) -> Iterator[Storm]:
    """Start it; it waits until it is asked to make connections.

    Args:
        threads: Each with a listener of its own, on a CPU of its own.
        scratch: Where the program is built, once.
    """
    program = scratch / "storm"
    if not program.exists():
        compile_native(SOURCES / "storm.c", scratch)
    with subprocess.Popen(
        [str(program), str(threads)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield Storm(process)
