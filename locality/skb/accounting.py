"""From counters to figures: what the numbers of `locality skb` mean.

The kernel side counts facts (see probes/skb_counters.h); what they add up to depends on
what the rung can see. Each rung's way is one small function here, and a figure that a
rung cannot give is None, never a guess.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from locality.skb.interval import RX, TX, Flow

if TYPE_CHECKING:
    from locality.arrays import Array
    from locality.skb.cells import Grown
    from locality.skb.pairs import Matrix


#: `struct row`: one for each CPU. Pairs are (RX, TX).
ROW = np.dtype(
    [
        ("handled", "u8"),
        ("why", "u8"),
        ("deferred_cb", "u8"),
        ("udp", "u8"),
        ("freed_home", "u8", (2,)),
        ("delivered", "u8"),
        ("delivered_home", "u8"),
        ("deferred", "u8", (2,)),
        ("clones", "u8"),
        ("merged", "u8"),
        ("neither", "u8"),
        ("udp_received", "u8"),
        ("returned", "u8", (2,)),
        ("udp_returned", "u8"),
        ("unknown", "u8", (2,)),
        ("not_told", "u8", (2,)),
        ("udp_not_told", "u8"),
        ("sends", "u8"),
        ("owners_found", "u8"),
        ("address", "u8"),
        ("outlived", "u8"),
        ("acked", "u8"),
        ("acked_from", "u8"),
        ("acked_to", "u8"),
        ("segment", "u8"),
        ("segment_side", "u8"),
        ("told", "u8"),
        ("told_side", "u8"),
        ("acked_side", "u8"),
        ("deferred_to", "u8", (2,)),
        ("unused", "u8", (4,)),
    ]
)


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


class Difference(NamedTuple):
    """What the counters grew by during an interval; int64, deferred may shrink.

    Attributes:
        consumed: Packets by this CPU and alloc CPU.
        rows: dtype like `ROW`, shape (CPUs,).
    """

    consumed: Grown
    rows: dict[str, Array]

    @classmethod
    def between(cls, consumed: Grown, new: Array, old: Array) -> Difference:
        """Of the rows field by field, as signed numbers."""
        rows = {name: (new[name] - old[name]).view(np.int64) for name in new.dtype.names or ()}
        return cls(consumed, rows)


class Figures(NamedTuple):
    """What an accounting gives: `Interval` without its circumstances."""

    rx: Flow
    tx: Flow
    delivered: int | None
    delivered_local: int | None
    by_pair: Matrix
    apart: tuple[int, int] = (0, 0)
    together: tuple[int, int] = (0, 0)
    not_told: tuple[int, int] = (0, 0)


class FunctionAccount:
    """For the rungs that hook functions (fentry, kprobe): every packet's end is seen.

    Args:
        flush_is_seen: Whether the kernel side knows a flush of a deferred list when it
            sees one. If not, it took the free that follows for a local consumption, which
            is taken back here: exact in sum, late by what is on the lists.
        defers: Whether this kernel defers frees: the function that does is also where
            readers of TCP let go, so without it delivery is not seen either.
        selects: Only some packets are counted. What a flush frees is not told apart then, so
            neither is what was freed where it was allocated.
    """

    def __init__(self, *, flush_is_seen: bool, defers: bool, selects: bool = False) -> None:
        self._flush_is_seen = flush_is_seen
        self._defers = defers
        self._selects = selects
        self._debt = Debt()
        self._freed_later, self._taken_back = Debt(), Debt()

    def figures(self, grown: Difference) -> Figures:
        """The figures of one interval."""
        consumed, rows = grown.consumed, grown.rows
        if not self._flush_is_seen:
            consumed.set_local(self._debt.settle(consumed.local(), rows["deferred_to"]))
        unknown = rows["unknown"].sum(axis=0)
        packets = consumed.sums() + unknown
        # Of packets that were consumed earlier, perhaps: no more in one interval than it has.
        freed = rows["freed_home"].sum(axis=0)
        freed_local = packets - self._freed_later.settle(packets, freed)
        # Taken back when the list was full, perhaps just after the interval began.
        sent_home = rows["deferred"].sum(axis=0)
        sent_home = self._taken_back.settle(np.maximum(sent_home, 0), np.maximum(-sent_home, 0))
        local = consumed.local().sum(axis=0)
        flows = [
            Flow(
                packets=int(packets[direction]),
                local=int(local[direction]),
                freed_local=None if self._selects else int(freed_local[direction]),
                deferred=int(sent_home[direction]) if self._defers else None,
                unknown=int(unknown[direction]),
            )
            for direction in (RX, TX)
        ]
        return Figures(
            rx=flows[RX],
            tx=flows[TX],
            delivered=int(rows["delivered"].sum()) if self._defers else None,
            delivered_local=int(rows["delivered_home"].sum()) if self._defers else None,
            by_pair=consumed.by_pair(),
            not_told=_not_told(grown),
        )


def _not_told(grown: Difference) -> tuple[int, int]:
    rx, tx = grown.rows["not_told"].sum(axis=0).tolist()
    return rx, tx


class TracepointAccount:
    """For raw tracepoints: freed memory is not seen, datagrams only in sum.

    Args:
        udp_is_deferred: This kernel defers datagrams: those read are counted by
            `udp_received`, and the ones that were not local by `udp_returned`, when the
            flush frees them. None: not known, because none was read yet.
        remote_udp_is_seen: Whether a remote datagram is deferred at all
            (net.core.skb_defer_max above 0). If not, where datagrams were allocated is unknown.
        sees_originals: Whether the slab cache of TCP's originals was learnt.
        selects: Only some packets are counted. What a flush frees is not told apart, so for
            received packets `deferred` is not seen, and where datagrams were allocated is unknown.

    The first and the last may be learnt in time, and set then.
    """

    def __init__(
        self,
        *,
        udp_is_deferred: bool | None,
        remote_udp_is_seen: bool,
        sees_originals: bool,
        selects: bool = False,
    ) -> None:
        self.udp_is_deferred = udp_is_deferred
        self._remote_udp_is_seen = remote_udp_is_seen and not selects
        self._selects = selects
        self.sees_originals = sees_originals
        self._debt = Debt()
        self._acked = Debt()
        self._flushed_later = Debt()

    def figures(self, grown: Difference) -> Figures:
        """The figures of one interval."""
        consumed = grown.consumed
        unknown = grown.rows["unknown"].sum(axis=0)
        # Those seen at the ACK were counted there; their end comes later.
        outlived, acked = (np.asarray(grown.rows[name].sum()) for name in ("outlived", "acked"))
        not_told = grown.rows["not_told"].sum(axis=0)
        if self.udp_is_deferred:  # else they are told apart where they are freed
            not_told[RX] += grown.rows["udp_not_told"].sum()
        unseen = not_told if self._selects else unknown
        unseen[TX] += self._acked.settle(outlived, acked)
        returned = grown.rows["returned"].sum(axis=0)
        datagrams = int(grown.rows["udp_received"].sum()) if self.udp_is_deferred else 0
        udp_local, udp_unknown = datagrams, 0
        if not self._remote_udp_is_seen:
            udp_local, udp_unknown = 0, datagrams
        remote = grown.rows["udp_returned"].sum()
        udp_local = int(self._debt.settle(np.asarray(udp_local), np.asarray(remote)))
        packets, local = consumed.sums(), consumed.local().sum(axis=0)
        delivered, delivered_home = (
            int(grown.rows[name].sum()) for name in ("delivered", "delivered_home")
        )
        received = np.asarray(packets[RX] + unknown[RX] + datagrams)
        rx = Flow(
            packets=int(received),
            local=int(local[RX]) + udp_local,
            freed_local=None,
            # Seen when they come home: no more in one interval than it has packets.
            deferred=None
            if self._selects
            else int(received - self._flushed_later.settle(received, returned[RX])),
            unknown=int(unknown[RX]) + udp_unknown,
        )
        tx = Flow(
            packets=int(packets[TX] + unknown[TX] + returned[TX]),
            # TX completion defers from CPUs other than the alloc CPU only, so all are remote.
            local=int(local[TX]) if self.sees_originals else None,
            freed_local=None,
            deferred=int(returned[TX]),
            unknown=int(unknown[TX]),
        )
        # Datagrams that UDP frees itself pass no tracepoint of delivery; a share of TCP
        # alone would be taken for that of all.
        readers_are_seen = self.udp_is_deferred is not False and not udp_unknown
        return Figures(
            rx=rx,
            tx=tx,
            delivered=delivered + datagrams if readers_are_seen else None,
            delivered_local=delivered_home + udp_local if readers_are_seen else None,
            by_pair=consumed.by_pair(),
            apart=(datagrams - udp_local - udp_unknown, int(returned[TX])),
            together=(udp_local, 0),
            not_told=(int(not_told[RX]), int(not_told[TX])),
        )
