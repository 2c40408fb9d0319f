"""What one interval of `locality skb` showed, in packets (sk_buffs)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from locality.machine.topology import Distance
from locality.skb.pairs import added, dense, packets_apart

if TYPE_CHECKING:
    from locality.arrays import Array
    from locality.machine.distance import Counts
    from locality.machine.topology import Topology
    from locality.skb.pairs import Matrix


#: Index of a direction in every array.
RX, TX = 0, 1


@dataclass(frozen=True)
class Flow:
    """One direction during one interval, in packets (sk_buffs).

    Attributes:
        packets: All that ended, among them `unknown`.
        local: Consumed on the CPU that allocated them; None where not seen.
        freed_local: Their memory went back on the CPU that allocated them (the
            definition of 2017); None where not seen.
        deferred: Sent back to the alloc CPU to be freed there; None where not seen.
        unknown: Seen, but not on which CPU they were consumed.
    """

    packets: int
    local: int | None
    freed_local: int | None
    deferred: int | None
    unknown: int

    @property
    def known(self) -> int:
        """The packets of which it is known where they were consumed."""
        return self.packets - self.unknown

    def __add__(self, other: Flow) -> Flow:
        """Both together; what one of them did not see, the sum has not seen."""
        return Flow(
            packets=self.packets + other.packets,
            local=_sum(self.local, other.local),
            freed_local=_sum(self.freed_local, other.freed_local),
            deferred=_sum(self.deferred, other.deferred),
            unknown=self.unknown + other.unknown,
        )


@dataclass(frozen=True)
class Interval:
    """What one interval showed.

    Attributes:
        time: Its end, UTC, seconds since the epoch.
        seconds: Its length.
        rung: The rung that saw it.
        lost: Probe runs the kernel skipped, since the start: each may be a packet missed.
        rx: Received packets.
        tx: Sent packets.
        delivered: Received packets that a reader took; None where not seen.
        delivered_local: Received packets that a reader took on their alloc CPU.
        by_pair: Packets by direction, alloc CPU and consume CPU: those of which both are known.
        apart: Packets by direction whose two CPUs are known to differ, but not both by
            number: in `packets`, not in `by_pair`.
        together: Packets by direction known to be local, but not on which CPU: in `packets`, not
            in `by_pair`.
        not_told: Packets by direction of which it is not known whether they are among those that
            were asked for: not in `packets`.
    """

    time: float
    seconds: float
    rung: str
    lost: int
    rx: Flow
    tx: Flow
    delivered: int | None
    delivered_local: int | None
    by_pair: Matrix
    apart: tuple[int, int] = (0, 0)
    together: tuple[int, int] = (0, 0)
    not_told: tuple[int, int] = (0, 0)

    @property
    def matrix(self) -> Array:
        """(2, CPUs, CPUs) the same with all its zeros: of thousands of CPUs, hundreds of MB."""
        return dense(self.by_pair)

    def __len__(self) -> int:
        """An interval is one event, however many packets it counted."""
        return 1

    def first(self, count: int) -> Interval:
        """Itself: an interval cannot be cut."""
        del count
        return self

    def __add__(self, later: Interval) -> Interval:
        """This interval and the one after it, as one."""
        return Interval(
            time=later.time,
            seconds=self.seconds + later.seconds,
            rung=later.rung,
            lost=later.lost,
            rx=self.rx + later.rx,
            tx=self.tx + later.tx,
            delivered=_sum(self.delivered, later.delivered),
            delivered_local=_sum(self.delivered_local, later.delivered_local),
            by_pair=added(self.by_pair, later.by_pair),
            apart=(self.apart[RX] + later.apart[RX], self.apart[TX] + later.apart[TX]),
            together=(
                self.together[RX] + later.together[RX],
                self.together[TX] + later.together[TX],
            ),
            not_told=(
                self.not_told[RX] + later.not_told[RX],
                self.not_told[TX] + later.not_told[TX],
            ),
        )


def _sum(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else one + other


def packets_by_distance(interval: Interval, direction: int, machine: Topology) -> Counts | None:
    """Packets of one direction by how far alloc CPU and consume CPU are apart.

    They add up to the packets whose consume CPU is known, and those on the same CPU are the
    local ones. Unknown are packets known to have left their CPU, but not for which.

    Returns:
        None where the rung does not see what is local.
    """
    if (interval.rx, interval.tx)[direction].local is None:
        return None
    counts = packets_apart(interval.by_pair, direction, machine.distances)
    counts[Distance.CPU] += interval.together[direction]
    counts[Distance.UNKNOWN] += interval.apart[direction]
    return counts
