"""From counters to figures: what the numbers of `locality skb` mean.

The kernel side counts facts (see probes/skb_counters.h); what they add up to depends on
what the rung can see. Each rung's way is one small function here, and a figure that a
rung cannot give is None, never a guess.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from locality.arrays import Array

#: Index of a direction in every array.
RX, TX = 0, 1

#: `struct cell`: one for each (CPU, alloc CPU). Pairs are (RX, TX).
CELL = np.dtype(
    [
        ("consumed", "u8", (2,)),
        ("freed", "u8", (2,)),
        ("deferred", "u8", (2,)),
        ("delivered", "u8"),
        ("reserved", "u8"),
    ]
)

#: `struct row`: one for each CPU.
ROW = np.dtype(
    [
        ("unknown", "u8", (2,)),
        ("returned", "u8", (2,)),
        ("udp_received", "u8"),
        ("udp_returned", "u8"),
        ("clones", "u8"),
        ("merged", "u8"),
        ("neither", "u8"),
        ("handled", "u8"),
        ("why", "u8"),
        ("udp", "u8"),
        ("outlived", "u8"),
        ("acked", "u8"),
        ("acked_from", "u8"),
        ("acked_to", "u8"),
    ]
)


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
        delivered_local: Of these, the ones taken on their alloc CPU.
        matrix: (2, CPUs, CPUs) packets by direction, alloc CPU and consume CPU: those of
            which both are known.
        apart: Packets by direction whose two CPUs are known to differ, but not both by
            number: in `packets`, not in the matrix.
        together: Packets by direction known to be local, but not on which CPU: likewise.
    """

    time: float
    seconds: float
    rung: str
    lost: int
    rx: Flow
    tx: Flow
    delivered: int | None
    delivered_local: int | None
    matrix: Array
    apart: tuple[int, int] = (0, 0)
    together: tuple[int, int] = (0, 0)

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
            matrix=self.matrix + later.matrix,
            apart=(self.apart[RX] + later.apart[RX], self.apart[TX] + later.apart[TX]),
            together=(
                self.together[RX] + later.together[RX],
                self.together[TX] + later.together[TX],
            ),
        )


def _sum(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else one + other


def share(part: int | None, whole: int | None) -> float | None:
    """A percentage, or None where a figure is missing or nothing was counted."""
    return None if part is None or not whole else 100 * part / whole


@dataclass
class Debt:
    """Amounts that are counted in one interval and settled in a later one.

    A packet that was deferred in this interval may be freed in the next. Taking all of
    it back at once could make a count negative, so the rest waits.
    """

    owed: Array = field(default_factory=lambda: np.zeros(()))

    def settle(self, credit: Array, claims: Array) -> Array:
        """Subtract old and new claims from a credit, no further than to zero."""
        due = self.owed + claims
        paid = np.minimum(due, credit)
        self.owed = due - paid
        return np.asarray(credit - paid)


@dataclass(frozen=True)
class Difference:
    """What the counters grew by during an interval; int64, deferred may shrink.

    Attributes:
        cells: dtype like `CELL`, shape (CPUs, CPUs) by this CPU and alloc CPU.
        rows: dtype like `ROW`, shape (CPUs,).
    """

    cells: dict[str, Array]
    rows: dict[str, Array]

    @classmethod
    def between(cls, new: tuple[Array, Array], old: tuple[Array, Array]) -> Difference:
        """Field by field, as signed numbers."""
        cells, rows = (
            {name: (after[name] - before[name]).view(np.int64) for name in after.dtype.names or ()}
            for after, before in zip(new, old, strict=True)
        )
        return cls(cells, rows)


def _local(cells: Array) -> Array:
    """The sum of the diagonal, by direction if there is one: (CPUs, CPUs[, 2]) to ([2])."""
    return np.asarray(np.trace(cells))


@dataclass(frozen=True)
class Figures:
    """What an accounting gives: `Interval` without its circumstances."""

    rx: Flow
    tx: Flow
    delivered: int | None
    delivered_local: int | None
    matrix: Array
    apart: tuple[int, int] = (0, 0)
    together: tuple[int, int] = (0, 0)


class FunctionAccount:
    """For the rungs that hook functions (fentry, kprobe): every packet's end is seen.

    Args:
        flush_is_seen: Whether the kernel side knows a flush of a deferred list when it
            sees one. If not, it took the free that follows for a local consumption, which
            is taken back here: exact in sum, late by what is on the lists.
        defers: Whether this kernel defers frees: the function that does is also where
            readers of TCP let go, so without it delivery is not seen either.
    """

    def __init__(self, *, flush_is_seen: bool, defers: bool) -> None:
        self._flush_is_seen = flush_is_seen
        self._defers = defers
        self._debt = Debt()

    def figures(self, grown: Difference) -> Figures:
        """The figures of one interval."""
        consumed, freed = grown.cells["consumed"].copy(), grown.cells["freed"]
        deferred = grown.cells["deferred"]
        if not self._flush_is_seen:
            home = np.arange(len(consumed))
            consumed[home, home] = self._debt.settle(consumed[home, home], deferred.sum(axis=0))
        unknown = grown.rows["unknown"].sum(axis=0)
        packets = consumed.sum(axis=(0, 1)) + unknown
        flows = [
            Flow(
                packets=int(packets[direction]),
                local=int(_local(consumed)[direction]),
                freed_local=int(_local(freed)[direction]),
                # Taken back when the list was full, perhaps just after the interval began.
                deferred=max(0, int(deferred.sum(axis=(0, 1))[direction]))
                if self._defers
                else None,
                unknown=int(unknown[direction]),
            )
            for direction in (RX, TX)
        ]
        delivered = grown.cells["delivered"]
        return Figures(
            rx=flows[RX],
            tx=flows[TX],
            delivered=int(delivered.sum()) if self._defers else None,
            delivered_local=int(_local(delivered)) if self._defers else None,
            matrix=consumed.transpose(2, 1, 0),
        )


class TracepointAccount:
    """For raw tracepoints: freed memory is not seen, datagrams only in sum.

    Args:
        udp_is_deferred: This kernel defers datagrams: those read are counted by
            `udp_received`, and the ones that were not local by `udp_returned`, when the
            flush frees them.
        remote_udp_is_seen: Whether a remote datagram is deferred at all
            (net.core.skb_defer_max above 0). If not, where datagrams were allocated is unknown.
        sees_originals: Whether the slab cache of TCP's originals was learnt.
    """

    def __init__(
        self, *, udp_is_deferred: bool, remote_udp_is_seen: bool, sees_originals: bool
    ) -> None:
        self._udp_is_deferred = udp_is_deferred
        self._remote_udp_is_seen = remote_udp_is_seen
        self._sees_originals = sees_originals
        self._debt = Debt()
        self._acked = Debt()

    def figures(self, grown: Difference) -> Figures:
        """The figures of one interval."""
        consumed = grown.cells["consumed"]
        unknown = grown.rows["unknown"].sum(axis=0)
        # Those seen at the ACK were counted there; their end comes later.
        outlived, acked = (np.asarray(grown.rows[name].sum()) for name in ("outlived", "acked"))
        unknown[TX] += self._acked.settle(outlived, acked)
        returned = grown.rows["returned"].sum(axis=0)
        datagrams = int(grown.rows["udp_received"].sum()) if self._udp_is_deferred else 0
        udp_local, udp_unknown = datagrams, 0
        if not self._remote_udp_is_seen:
            udp_local, udp_unknown = 0, datagrams
        remote = grown.rows["udp_returned"].sum()
        udp_local = int(self._debt.settle(np.asarray(udp_local), np.asarray(remote)))
        packets, local = consumed.sum(axis=(0, 1)), _local(consumed)
        delivered = grown.cells["delivered"]
        rx = Flow(
            packets=int(packets[RX] + unknown[RX]) + datagrams,
            local=int(local[RX]) + udp_local,
            freed_local=None,
            deferred=int(returned[RX]),
            unknown=int(unknown[RX]) + udp_unknown,
        )
        tx = Flow(
            packets=int(packets[TX] + unknown[TX] + returned[TX]),
            # TX completion defers from CPUs other than the alloc CPU only, so all are remote.
            local=int(local[TX]) if self._sees_originals else None,
            freed_local=None,
            deferred=int(returned[TX]),
            unknown=int(unknown[TX]),
        )
        # Datagrams that UDP frees itself pass no tracepoint of delivery; a share of TCP
        # alone would be taken for that of all.
        readers_are_seen = self._udp_is_deferred and not udp_unknown
        return Figures(
            rx=rx,
            tx=tx,
            delivered=int(delivered.sum()) + datagrams if readers_are_seen else None,
            delivered_local=int(_local(delivered)) + udp_local if readers_are_seen else None,
            matrix=consumed.transpose(2, 1, 0),
            apart=(datagrams - udp_local - udp_unknown, int(returned[TX])),
            together=(udp_local, 0),
        )
