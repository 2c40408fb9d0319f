"""Why were connections not accepted, or datagrams not read, where they were received?

Every accept is told by who made it (process and listening descriptor, so the socket and
its index in the group), on which CPU, and on which CPU it was received; every read of a datagram
in the same way. Put beside the group's order, its program and its workers' CPUs, that leaves one
cause for each, in this order:

    it could have been local, the scheduler chose   the worker may run on the RX CPU too, or
                                                    ran where it may not: it is not pinned, or
                                                    several threads serve this socket and
                                                    another one woke first
    no worker may run on the RX CPU                 no program can make it local
    no program                                      the hash chose, and knows no CPUs
    the program does not look at the CPU            it spreads, wherever workers run
    the program answered past the group's end       so the hash chose after all
    the program chose this socket for this RX CPU   and its worker is elsewhere
    the program spills (attach-cbpf --spill)        the queue of the RX CPU's worker was long
    the program would have chosen another socket    it saw another CPU: the SYN was processed
                                                    there, and a later packet on this one

The kernel runs the program where the SYN is processed; the RX CPU of an accept is that of
the last packet before it (reuseport_select_sock, and sk_incoming_cpu_update). Where there
is no program, SO_INCOMING_CPU of the listeners chooses, and is judged like one.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from locality import cbpf
from locality.errors import LocalityError
from locality.reuseport.evidence import task
from locality.steering.count import ACCEPTS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from locality.reuseport.group import Group
    from locality.reuseport.survey import FoundGroup
    from locality.steering.count import Handled, Measured


class Cause(Enum):
    """What kept a connection from being accepted on its RX CPU."""

    NOT_PINNED = "the worker may run on the RX CPU, or moved: not pinned"
    ONE_LISTENER = "one socket without SO_REUSEPORT: whichever thread wakes first"
    SHARED = "several threads serve one socket: whichever wakes first"
    MOVES = "threads that move between CPUs serve one socket (Go)"
    NO_WORKER = "no worker runs on the RX CPU"
    NO_PROGRAM = "no program: the hash chose the worker"
    BLIND = "the program does not look at the CPU"
    OUT_OF_RANGE = "the program answers past the group's end: hashed"
    SPILLED = "the queue of the RX CPU's worker was long: spilled to another"
    WRONG_WORKER = "the program sends the RX CPU to a worker elsewhere"
    SYN_ELSEWHERE = "SYN and ACK were processed on different CPUs"
    OTHER = "cannot be told"


class Accepted(NamedTuple):
    """Who accepted or read, on which CPU, and on which CPU it was received.

    Attributes:
        socket: The listening descriptor; for reads the inode of the socket.
    """

    pid: int
    tid: int
    socket: int
    cpu: int
    rxcpu: int

    @property
    def task(self) -> str:
        """``pid 7``, or ``pid 7 tid 9`` for a thread that is not the process's main one."""
        return task(self.pid, self.tid)


@dataclass
class Tally:
    """A sink that counts connections, or reads, by what matters here.

    Attributes:
        counts: Connections by `Accepted`.
        lost: Records the ring had no room for.
        measured: What is counted.
    """

    counts: Counter[Accepted] = field(default_factory=Counter)
    lost: int = 0
    measured: Measured = ACCEPTS

    def write(self, batch: Handled) -> None:
        """Add a batch."""
        self.lost = batch.lost
        keys = batch.records[["pid", "tid", self.measured.column, "cpu", "rxcpu"]]
        different, counts = np.unique(keys, return_counts=True)
        for key, count in zip(different.tolist(), counts.tolist(), strict=True):
            self.counts[Accepted(*key)] += count

    @property
    def total(self) -> int:
        """All of them."""
        return self.counts.total()

    @property
    def local(self) -> int:
        """Those handled on their RX CPU."""
        return sum(count for one, count in self.counts.items() if one.cpu == one.rxcpu)


@dataclass(frozen=True, slots=True)
class Place:
    """A socket: its group, and its index there.

    Attributes:
        moves: Whether the server is one whose work moves between threads.
    """

    found: FoundGroup
    index: int
    moves: bool = False

    @property
    def group(self) -> Group:
        """The group itself."""
        return self.found.group


Places = dict[tuple[int, int], Place]
"""The socket behind each (tid, `Accepted.socket`)."""


@dataclass(frozen=True)
class Attribution:
    """Why connections were not local.

    Attributes:
        total: All connections.
        local: Those accepted on their RX CPU.
        lost: Connections that were not recorded.
        causes: The others, by cause; they add up to total - local.
        examples: For each cause, the accept that stands for most of its connections.
    """

    total: int
    local: int
    lost: int
    causes: Counter[Cause]
    examples: dict[Cause, Accepted]


def attribute(tally: Tally, places: Mapping[tuple[int, int], Place]) -> Attribution:
    """Give every connection that was not local its cause."""
    causes: Counter[Cause] = Counter()
    examples: dict[Cause, Accepted] = {}
    for one, count in tally.counts.most_common():
        if one.cpu != one.rxcpu:
            cause = cause_of(one, places.get((one.tid, one.socket)))
            causes[cause] += count
            examples.setdefault(cause, one)
    return Attribution(tally.total, tally.local, tally.lost, causes, examples)


def cause_of(one: Accepted, place: Place | None) -> Cause:  # noqa: PLR0911 - one for each cause
    """The cause of one connection that was not local; see the top of this file."""
    if place is None or one.rxcpu < 0:
        return Cause.OTHER
    group, index = place.group, place.index
    cpus = group.members[index].cpus
    if not cpus:
        return Cause.OTHER
    if one.rxcpu in cpus or one.cpu not in cpus:
        return _chosen_by_the_scheduler(place)
    # A worker that was not seen may run there.
    if all(one.rxcpu not in member.cpus and member.cpus for member in group.members):
        return Cause.NO_WORKER
    answers = chosen(group, one.rxcpu)
    if answers is None:
        blind = group.program is not None and not group.program.reads <= {"cpu"}
        return Cause.BLIND if blind else Cause.OTHER
    if not answers:
        return Cause.OUT_OF_RANGE if group.attached else Cause.NO_PROGRAM
    if index in answers:
        return Cause.WRONG_WORKER
    if group.spill is not None:
        return Cause.SPILLED
    # A datagram has no SYN: it came to a connected socket, or waited there from before.
    return Cause.OTHER if place.found.protocol == "udp" else Cause.SYN_ELSEWHERE


def _chosen_by_the_scheduler(place: Place) -> Cause:
    """The cause where the socket could have been served on the RX CPU."""
    workers = place.group.members[place.index].workers
    if len(workers) < 2:  # noqa: PLR2004 - several
        return Cause.NOT_PINNED
    if place.moves:
        return Cause.MOVES
    return Cause.SHARED if place.found.shares else Cause.ONE_LISTENER


def chosen(group: Group, cpu: int) -> frozenset[int] | None:
    """The indexes that can get a connection whose SYN is processed on a CPU.

    Returns:
        An empty set where the hash chooses; None where it is not known, or does not depend on
        the CPU. Where it is not known whether the kernel selects by SO_INCOMING_CPU, the hash
        chooses for the CPUs that no socket asks for: it would in either case.
    """
    if group.attached is None or not group.order_known:
        return None
    if not group.attached:
        asking = [i for i, member in enumerate(group.members) if member.incoming_cpu == cpu]
        return None if asking and group.incoming_doubt else frozenset(asking)
    program = group.by_cpu
    if program is None and not group.is_opaque:
        return frozenset()  # one that spills, without any worker of the group
    if program is None or not program.reads <= {"cpu"}:
        return None
    try:
        answer = cbpf.evaluate(program, cbpf.Packet(cpu=cpu))
    except LocalityError:  # an instruction that is not evaluated
        return None
    return frozenset({answer}) if answer < len(group.members) else frozenset()


@dataclass(frozen=True)
class Share:
    """What one group accepted.

    Attributes:
        found: The group.
        counts: Connections by (index, RX CPU); those without an RX CPU are left out.
        local: Those accepted on their RX CPU.
        threads: The threads that accepted, by index.
    """

    found: FoundGroup
    counts: Counter[tuple[int, int]] = field(default_factory=Counter)
    local: Counter[bool] = field(default_factory=Counter)
    threads: defaultdict[int, set[int]] = field(default_factory=lambda: defaultdict(set))

    @property
    def received(self) -> Counter[int]:
        """Connections by RX CPU."""
        by_cpu: Counter[int] = Counter()
        for (_, rxcpu), count in self.counts.items():
            by_cpu[rxcpu] += count
        return by_cpu

    def agreement(self, cpu: int) -> float | None:
        """Which part of what a CPU received last had its SYN processed there too.

        The socket tells where the SYN was, as far as CPUs have different answers. A SYN that
        was elsewhere is taken to have been on the other CPUs in proportion to what they receive.

        Returns:
            0 to 1; None if it cannot be told.
        """
        received, answers = (
            self.received,
            {one: chosen(self.found.group, one) for one in self.received},
        )
        if self.found.group.spill is not None:
            return None  # where it went says how long queues were
        others = received.total() - received[cpu]
        alike = sum(n for one, n in received.items() if one != cpu and answers[one] == answers[cpu])
        if not all(answers.values()) or alike == others:
            return None
        hits = sum(self.counts[index, cpu] for index in answers[cpu] or ()) / received[cpu]
        by_chance = alike / others
        return max(0.0, (hits - by_chance) / (1 - by_chance))


def shares(tally: Tally, places: Mapping[tuple[int, int], Place]) -> list[Share]:
    """What each group accepted; groups that accepted nothing are left out."""
    by_group: dict[FoundGroup, Share] = {}
    for one, count in tally.counts.items():
        place = places.get((one.tid, one.socket))
        if place is not None and one.rxcpu >= 0:
            share = by_group.setdefault(place.found, Share(place.found))
            share.counts[place.index, one.rxcpu] += count
            share.local[one.cpu == one.rxcpu] += count
            share.threads[place.index].add(one.tid)
    return [*by_group.values()]
