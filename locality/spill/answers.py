"""What the spill program answers, computed from its table without a kernel.

The same rules as in `probes/spill.bpf.c`, which the tests compare with these. Where the program
asks some workers of many, from a random one on, there are several answers that it may give.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from itertools import groupby
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from locality.machine.topology import Distance
    from locality.spill.table import Table

ASKED = 4
"""As the probe's."""


class Kind(Enum):
    """Why a socket was chosen, or none."""

    KEPT = "kept"
    """The CPU's own worker: its queue is short enough."""
    KEPT_LONG = "kept, no shorter queue"
    """The CPU's own worker: its queue is long, but no worker that was asked has a shorter one."""
    SPILLED = "spilled"
    """Another worker."""
    HASHED = "hashed"
    """No socket: the kernel's hash chooses."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer of the program.

    Attributes:
        socket: The inode; None where the hash chooses.
        distance: Of its worker from the CPU; None where the hash chooses.
    """

    kind: Kind
    socket: int | None = None
    distance: Distance | None = None


def possible(table: Table, cpu: int, queues: Mapping[int, int]) -> list[Answer]:
    """Every answer that the program may give on a CPU, each once.

    Args:
        table: What it was told.
        cpu: Where the SYN is processed.
        queues: How many connections wait for each socket's accept(), by inode. A socket that is
            missing has left the group.
    """
    row = table.row(cpu)
    if not row or row[0][0] not in queues:
        return [Answer(Kind.HASHED)]
    (own, near), others = row[0], row[1:]
    if queues[own] <= table.bound:
        return [Answer(Kind.KEPT, own, near)]
    answers: dict[Answer, None] = {}
    for distance, here in groupby(others, lambda choice: choice[1]):
        sockets = [socket for socket, _ in here]
        on = False
        for asked in _samples(sockets):
            shorter = _shortest(asked, queues, queues[own])
            if shorter is None:
                on = True
            else:
                answers[Answer(Kind.SPILLED, shorter, distance)] = None
        if not on:
            return [*answers]
    return [*answers, Answer(Kind.KEPT_LONG, own, near)]


def _samples(sockets: Sequence[int]) -> Iterator[Sequence[int]]:
    """The sockets of one distance that one run may ask, in order."""
    starts = range(len(sockets)) if len(sockets) > ASKED else range(1)
    for start in starts:
        yield [*sockets[start:], *sockets[:start]][:ASKED]


def _shortest(asked: Sequence[int], queues: Mapping[int, int], than: int) -> int | None:
    """The first of those with the shortest queue, if that is shorter."""
    there = [socket for socket in asked if socket in queues]
    best = min(there, key=lambda socket: queues[socket], default=None)
    return best if best is not None and queues[best] < than else None
