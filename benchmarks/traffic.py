"""A ping-pong that is played when asked: 32 bytes to and fro between two pinned processes."""

from __future__ import annotations

import os
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.programs import SOURCES, compile_native
from locality.errors import LocalityError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: Two data packets a round trip; a bare ACK is not counted as one here.
PACKETS = 2


@dataclass(frozen=True)
class Played:
    """One turn of the ping-pong."""

    round_trips: int
    ns: float
    """How long one took."""


@dataclass(frozen=True)
class PingPong:
    """Two processes, connected and waiting.

    Attributes:
        process: The client.
        ports: Of both ends.
        pids: Of both ends.
    """

    process: subprocess.Popen[str]
    ports: tuple[int, ...]
    pids: tuple[int, ...]

    def play(self, seconds: float) -> Played:
        """Play for so long."""
        assert self.process.stdin
        assert self.process.stdout
        print(round(seconds * 1000), file=self.process.stdin, flush=True)
        line = self.process.stdout.readline()
        if not line:
            raise LocalityError("the ping-pong ended early")
        round_trips, ns = line.split()
        return Played(int(round_trips), float(ns))


@contextmanager
def ping_pong(protocol: str, placement: str, scratch: Path) -> Iterator[PingPong]:
    """Start a ping-pong; it waits until it is asked to play.

    Args:
        protocol: tcp or udp.
        placement: ``same CPU`` or ``cross CPU``: the first and the last this process may use.
        scratch: Where the program is built, once.

    Raises:
        LocalityError: There is only one CPU to cross.
    """
    cpus = sorted(os.sched_getaffinity(0))
    server, client = cpus[0], cpus[-1] if placement == "cross CPU" else cpus[0]
    if placement == "cross CPU" and server == client:
        raise LocalityError("a ping-pong across CPUs needs two of them")
    program = scratch / "pingpong"
    if not program.exists():
        compile_native(SOURCES / "pingpong.c", scratch)
    with subprocess.Popen(
        [str(program), protocol, str(server), str(client)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout
        numbers = tuple(map(int, process.stdout.readline().split()))
        yield PingPong(process, numbers[:2], numbers[2:])
