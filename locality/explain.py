"""Why were connections not accepted where they were received? One cause for each.

Every accept is told by who made it (process and listening descriptor, so the socket and
its index in the group), on which CPU, and on which CPU it was received. Put beside the
group's order, its program and its workers' CPUs, that leaves one cause:

    it could have been local, the scheduler chose   the worker may run on the RX CPU too, or
                                                    ran where it may not: it is not pinned
    no worker may run on the RX CPU                 no program can make it local
    no program                                      the hash chose, and knows no CPUs
    the program answered past the group's end       so the hash chose after all
    the program chose this socket for this RX CPU   and its worker is elsewhere
    the program would have chosen another socket    it saw another CPU: the SYN was processed
                                                    there, and the ACK on this one

The kernel runs the program where the SYN is processed; the RX CPU of an accept is that of
the last packet, the ACK (reuseport_select_sock, and sk_incoming_cpu_update).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from locality import cbpf

if TYPE_CHECKING:
    from collections.abc import Mapping

    from locality.accept import AcceptBatch
    from locality.reuseport import Group


class Cause(Enum):
    """What kept a connection from being accepted on its RX CPU."""

    NOT_PINNED = "the worker may run on the RX CPU, and ran elsewhere"
    NO_WORKER = "no worker runs on the RX CPU"
    NO_PROGRAM = "no program: the hash chose the worker"
    OUT_OF_RANGE = "the program answers past the group's end: hashed"
    WRONG_WORKER = "the program sends the RX CPU to a worker elsewhere"
    SYN_ELSEWHERE = "SYN and ACK were processed on different CPUs"
    OTHER = "cannot be told"


class Accepted(NamedTuple):
    """Who accepted, on which CPU, and on which CPU it was received."""

    pid: int
    listen_fd: int
    cpu: int
    rxcpu: int


@dataclass
class Tally:
    """A sink that counts connections by what matters here.

    Attributes:
        counts: Connections by `Accepted`.
        lost: Records the ring had no room for.
    """

    counts: Counter[Accepted] = field(default_factory=Counter)
    lost: int = 0

    def write(self, batch: AcceptBatch) -> None:
        """Add a batch."""
        self.lost = batch.lost
        keys = batch.records[["pid", "listen_fd", "cpu", "rxcpu"]]
        different, counts = np.unique(keys, return_counts=True)
        for key, count in zip(different.tolist(), counts.tolist(), strict=True):
            self.counts[Accepted(*key)] += count

    @property
    def total(self) -> int:
        """All connections."""
        return self.counts.total()

    @property
    def local(self) -> int:
        """Those accepted on their RX CPU."""
        return sum(count for one, count in self.counts.items() if one.cpu == one.rxcpu)

    def received(self) -> Counter[int]:
        """Connections by RX CPU."""
        by_cpu: Counter[int] = Counter()
        for one, count in self.counts.items():
            by_cpu[one.rxcpu] += count
        return by_cpu


@dataclass(frozen=True, slots=True)
class Place:
    """A listening socket: its group, and its index there."""

    group: Group
    index: int


@dataclass(frozen=True)
class Attribution:
    """Why connections were not local.

    Attributes:
        total: All connections.
        local: Those accepted on their RX CPU.
        causes: The others, by cause; they add up to total - local.
        examples: For each cause, the accept that stands for most of its connections.
    """

    total: int
    local: int
    causes: Counter[Cause]
    examples: dict[Cause, Accepted]


def attribute(tally: Tally, places: Mapping[tuple[int, int], Place]) -> Attribution:
    """Give every connection that was not local its cause.

    Args:
        tally: What was counted.
        places: The listening socket behind each (pid, listening fd).
    """
    causes: Counter[Cause] = Counter()
    examples: dict[Cause, Accepted] = {}
    for one, count in tally.counts.most_common():
        if one.cpu != one.rxcpu:
            cause = cause_of(one, places.get((one.pid, one.listen_fd)))
            causes[cause] += count
            examples.setdefault(cause, one)
    return Attribution(tally.total, tally.local, causes, examples)


def cause_of(one: Accepted, place: Place | None) -> Cause:  # noqa: PLR0911 - one for each cause
    """The cause of one connection that was not local; see the top of this file."""
    if place is None or one.rxcpu < 0:
        return Cause.OTHER
    group, index = place.group, place.index
    cpus = group.members[index].cpus
    if cpus and (one.rxcpu in cpus or one.cpu not in cpus):
        return Cause.NOT_PINNED
    if not any(one.rxcpu in member.cpus for member in group.members):
        return Cause.NO_WORKER
    if group.attached is False:
        return Cause.NO_PROGRAM
    if group.program is None or group.program.reads != {"cpu"} or not group.order_known:
        return Cause.OTHER
    answer = cbpf.evaluate(group.program, cbpf.Packet(cpu=one.rxcpu))
    if answer >= len(group.members):
        return Cause.OUT_OF_RANGE
    return Cause.WRONG_WORKER if answer == index else Cause.SYN_ELSEWHERE
