"""How long a queue may be before a connection is sent to another worker, from what is measured.

The smaller the bound, the shorter are the waits, and the fewer connections are local. So the
smallest bound is taken that keeps nine tenths of the locality. Which one that is depends on when
connections come, on which CPUs, and on how long a worker is busy between two calls of accept().
All of this is seen in the records of accepts. What each bound would have done with these very
connections is computed.
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

LEAST = 1
"""With 0, each connection that comes while another one is on its way to accept() is spilled."""
KEPT = 0.9
"""Of what would be local without any bound."""
FEWEST = 200
"""Connections to choose by."""
MOST = 10_000
"""The newest are enough."""
PART_OF_LIMIT = 4
"""At most a quarter of what the accept queue holds: it must not overflow before it spills."""
USUAL_LIMIT = 128


class Bound(NamedTuple):
    """A bound, and how it was chosen, in words."""

    connections: int
    why: str


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
        for socket in np.unique(self.sockets):
            here = self.sockets == socket
            order = np.argsort(self.accepted[here], kind="stable")
            accepted, came = self.accepted[here][order], self.came[here][order]
            waited = came[1:] < accepted[:-1]
            gaps.append(np.diff(accepted)[waited])
            ends.append(accepted[1:][waited])
        busy: Array = np.concatenate(gaps)[np.argsort(np.concatenate(ends), kind="stable")]
        return busy


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
            LEAST,
            f"{len(came)} connections were seen, too few to choose by; {LEAST} is the least that "
            "is chosen",
        )
    busy = seen.busy()
    if not len(busy):
        return Bound(
            LEAST,
            f"none of {len(came)} connections waited behind another; {LEAST} is the least that is "
            "chosen",
        )
    most = max(LEAST, min(limits, default=USUAL_LIMIT) // PART_OF_LIMIT)
    lasting = busy[np.arange(len(came)) * len(busy) // len(came)].tolist()
    times, mine = came.tolist(), [own[cpu] for cpu in cpus.tolist()]
    unbounded = local_share(times, mine, lasting, workers, most)
    bound, share = LEAST, 0.0
    while (share := local_share(times, mine, lasting, workers, bound)) < KEPT * unbounded:
        if bound >= most:
            break
        bound += 1
    typical = float(np.median(busy)) / 1e6
    return Bound(
        bound,
        f"the least that keeps {percent(100 * KEPT, 0)} of the locality: {percent(100 * share)} of "
        f"{len(came)} connections seen would be local with it, {percent(100 * unbounded)} with "
        f"{most} (a worker was busy for {typical:.2g} ms between two accepts)",
    )


def local_share(
    came: Sequence[int], own: Sequence[int], lasting: Sequence[int], workers: int, bound: int
) -> float:
    """The part of connections that their own worker would get.

    Args:
        came: When each comes, ascending.
        own: The index of its own worker.
        lasting: How long a worker is busy with it.
        workers: How many there are; each takes one connection after the other.
        bound: As `Table.bound`.
    """
    free = [0] * workers
    queues = [deque[int]() for _ in range(workers)]  # when each that waits is accepted
    kept = 0
    for time, mine, long in zip(came, own, lasting, strict=True):
        for queue in queues:
            while queue and queue[0] <= time:
                queue.popleft()
        chosen = mine
        if len(queues[mine]) > bound:
            shortest = min(range(workers), key=lambda index: len(queues[index]))
            if len(queues[shortest]) < len(queues[mine]):
                chosen = shortest
        kept += chosen == mine
        accepted = max(free[chosen], time)
        queues[chosen].append(accepted)
        free[chosen] = accepted + long
    return kept / len(came)
