"""How long a queue may be before a connection is sent to another worker, from what is measured.

The smaller the bound, the shorter are the waits, and the fewer connections are local. Where a map
alone would make some worker hot, the smallest bound is taken that keeps nine tenths of the
locality. Where it would not, as with even RX queues, there is little to gain, and the smallest
bound that keeps 99 hundredths is taken.

Which one that is depends on when connections come, on which CPUs, and on how long a worker is busy
between two calls of accept(). All of this is seen in the records of accepts. What the hash, a map
and each bound would have done with these very connections is computed.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from locality.text import percent

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from locality.arrays import Array

LEAST = 0
"""With 0 each connection is spilled that comes while another one waits."""
USUAL = 1
"""Where there is too little to choose by."""
KEPT, KEPT_EVEN = 0.9, 0.99
"""Of what would be local without any bound: where a map makes a worker hot, and where it does not.
"""
HOT = 1.3
"""A map makes a worker hot if connections wait so many times as long with it as with the hash."""
FEWEST = 200
"""Connections to choose by."""
MOST = 10_000
"""The newest are enough."""
PART_OF_LIMIT = 4
"""At most a quarter of what the accept queue holds: it must not overflow before it spills."""
USUAL_LIMIT = 128
MANY_TIMES = 100
_HASHED_SO_OFTEN = 5
"""One draw of the hash may be lucky."""


class Bound(NamedTuple):
    """A bound, and how it was chosen, in words."""

    connections: int
    why: str


class Course(NamedTuple):
    """What would have become of connections.

    Attributes:
        local: The part of them that their own worker would get.
        waited: How long they would wait for accept() on average, ns.
    """

    local: float
    waited: float


@dataclass(frozen=True)
class Arrivals:
    """Connections that were accepted, in the order in which they came.

    Attributes:
        came: (connections,) when each was established, ns.
        accepted: (connections,) when it was accepted, ns.
        sockets: (connections,) where it was accepted: a number for each socket.
        rx_cpus: (connections,) the CPU that received it.
    """

    came: Array
    accepted: Array
    sockets: Array
    rx_cpus: Array

    def busy(self) -> Array:
        """How long workers took until the next accept(), ns, while others waited for them.

        In the order of time, for a worker that was kept from running is late several times in a
        row.
        """
        gaps, ends = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
        for accepted, came in self._by_socket():
            waited = came[1:] < accepted[:-1]
            gaps.append(np.diff(accepted)[waited])
            ends.append(accepted[1:][waited])
        busy: Array = np.concatenate(gaps)[np.argsort(np.concatenate(ends), kind="stable")]
        return busy

    def on_the_way(self) -> int:
        """How long a connection takes to the accept() of a worker that has nothing to do, ns.

        Of connections that came when no other one waited, the worker may still have been busy. So
        this is the lower quartile of their waits.
        """
        waits = [np.zeros(0, np.int64)]
        for accepted, came in self._by_socket():
            alone = came[1:] >= accepted[:-1]
            waits.append((accepted - came)[1:][alone])
        found = np.concatenate(waits)
        return int(np.percentile(found, 25)) if len(found) else 0

    def _by_socket(self) -> list[tuple[Array, Array]]:
        """When the connections of each socket were accepted, ascending, and when they came."""
        pairs = []
        for socket in np.unique(self.sockets):
            here = self.sockets == socket
            order = np.argsort(self.accepted[here], kind="stable")
            pairs.append((self.accepted[here][order], self.came[here][order]))
        return pairs


def choose(seen: Arrivals, own: Mapping[int, int], workers: int, limits: Sequence[int]) -> Bound:
    """Choose a bound.

    Args:
        seen: What was accepted while the bound was sought, whatever steered it.
        own: The index of its own worker, by RX CPU.
        workers: How many there are.
        limits: How many connections may wait at each socket, as far as that is known.
    """
    known = np.isin(seen.rx_cpus, np.array([*own], np.int64))
    came, cpus = seen.came[known][-MOST:], seen.rx_cpus[known][-MOST:]
    if len(came) < FEWEST:
        return Bound(
            USUAL,
            f"{len(came)} connections were seen, too few to choose by; {USUAL} is taken then",
        )
    busy = seen.busy()
    if not len(busy):
        return Bound(
            USUAL,
            f"none of {len(came)} connections waited behind another; {USUAL} is taken then",
        )
    most = max(USUAL, min(limits, default=USUAL_LIMIT) // PART_OF_LIMIT)
    lasting = busy[np.arange(len(came)) * len(busy) // len(came)].tolist()
    times, mine = came.tolist(), [own[cpu] for cpu in cpus.tolist()]
    way = seen.on_the_way()

    def with_bound(bound: int) -> Course:
        return course(times, mine, lasting, workers, bound, way)

    draw = np.random.default_rng(len(came))
    hashed = [draw.integers(0, workers, len(came)).tolist() for _ in range(_HASHED_SO_OFTEN)]
    without = [course(times, one, lasting, workers, len(came), way).waited for one in hashed]
    longer = with_bound(len(came)).waited / max(float(np.mean(without)), 1.0)
    kept = KEPT if longer >= HOT else KEPT_EVEN
    unbounded = min(with_bound(most).local, _served(times, mine, lasting, workers))
    bound, found = LEAST, with_bound(LEAST).local
    while found < kept * unbounded and bound < most:
        bound += 1
        found = with_bound(bound).local
    typical = float(np.median(busy)) / 1e6
    times_longer = f"{longer:.1f} times" if longer < MANY_TIMES else f"over {MANY_TIMES} times"
    return Bound(
        bound,
        f"the least that keeps {percent(100 * kept, 0)} of the locality, because with a map alone "
        f"connections would wait {times_longer} as long as with the hash; "
        f"{percent(100 * found)} of {len(came)} connections seen would be local with {bound}, and "
        f"{percent(100 * unbounded)} can be at most (a worker was busy for {typical:.2g} ms "
        "between two accepts)",
    )


def _served(came: Sequence[int], own: Sequence[int], lasting: Sequence[int], workers: int) -> float:
    """The part of connections that their own workers have time for, in the time in which they came.

    In a queue without a bound all of them are local, but some are not served: it grows.
    """
    each = (came[-1] - came[0]) / max(float(np.mean(lasting)), 1.0)
    per_worker = np.bincount(own, minlength=workers)
    return float(np.minimum(per_worker, each).sum()) / len(came)


def course(  # noqa: PLR0917 - what decides it
    came: Sequence[int],
    own: Sequence[int],
    lasting: Sequence[int],
    workers: int,
    bound: int,
    on_the_way: int = 0,
) -> Course:
    """What would have become of connections with a bound.

    Args:
        came: When each comes, ascending, ns.
        own: The index of its own worker.
        lasting: How long a worker is busy with it, ns.
        workers: How many there are; each takes one connection after the other.
        bound: As `Table.bound`.
        on_the_way: How long it takes to the accept() of a worker that has nothing to do, ns.
    """
    free = [0] * workers
    queues = [deque[int]() for _ in range(workers)]  # when each that waits is accepted

    def length(index: int, now: int) -> int:
        queue = queues[index]
        while queue and queue[0] <= now:
            queue.popleft()
        return len(queue)

    def shortest(mine: int, queued: int, now: int) -> int:
        best, least = mine, queued
        for step in range(1, workers):
            if not least:
                break
            index = (mine + step) % workers
            if (found := length(index, now)) < least:
                best, least = index, found
        return best

    kept = waited = 0
    for time, mine, long in zip(came, own, lasting, strict=True):
        queued = length(mine, time)
        chosen = shortest(mine, queued, time) if queued > bound else mine
        kept += chosen == mine
        accepted = max(free[chosen], time + on_the_way)
        waited += accepted - time
        queues[chosen].append(accepted)
        free[chosen] = accepted + long
    return Course(kept / len(came), waited / len(came))
