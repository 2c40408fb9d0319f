"""The units of a trial by connection: what was seen of each connection, by its arm."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from locality.accept.batch import WAIT_KNOWN
from locality.connections.columns import RTT_UNIT_NS, lifetimes, since_packet, was_read
from locality.text import share
from locality.trial.arms import NoArm, Sockets
from locality.trial.observation import NO_PAIR, A, B, Outcome, units_dtype

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from locality.accept.batch import Records
    from locality.arrays import Array
    from locality.trial.cpu_time import CpuHistory

OUTCOMES = (
    Outcome("receipt_to_read", "us", summary="p50", primary=True),
    Outcome("receipt_to_read", "us", summary="p99"),
    Outcome("queue_wait", "us", summary="p50"),
    Outcome("queue_wait", "us", summary="p99"),
    Outcome("rtt", "us", summary="p50"),
    Outcome("lifetime", "us", summary="p50"),
    Outcome("retransmits", "count"),
    Outcome("worker_cpu", "us"),
)
"""What is compared between connections."""

BEFORE = "established before the program was attached"
AFTER = "accepted after the program was taken away"
NOT_ENDED = "not ended by the end of the trial"
LATE = "accepted so late that those that last longer had no time to end"

_SEEN = np.dtype(
    [
        ("accepted", "u8"),
        ("established", "u8"),
        ("arm", "u1"),
        ("local", "u1"),
        ("receipt_to_read", "f4"),
        ("queue_wait", "f4"),
        ("rtt", "f4"),
        ("lifetime", "f4"),
        ("retransmits", "f4"),
    ]
)


class Span(NamedTuple):
    """The connections that count, by when they were accepted: the kernel's CLOCK_MONOTONIC, ns.

    Attributes:
        begin: Those established before are left out.
        end: Those accepted later are left out: the program was taken away.
        seen_until: Those accepted later are left out: others that were accepted with them have
            not ended yet, and what is left would be the short ones.
    """

    begin: int
    end: int
    seen_until: int


@dataclass
class ConnectionUnits:
    """A sink of connections that have ended.

    Args:
        arm_of: Chooses the arm of each, from its accept and its listening socket.
        sockets: Finds the listening socket.
    """

    arm_of: Callable[[Records, Array], Array]
    sockets: Sockets = field(default_factory=Sockets)
    _parts: list[Array] = field(default_factory=list)

    def write(self, records: Records) -> None:
        """Take records of dtype `locality.connections.source.CONNECTION`."""
        if len(records):
            accepts = records["accept"]
            self._parts.append(_seen(records, self.arm_of(accepts, self.sockets.of(accepts))))

    def accepted_within(self, begin: int, end: int) -> int:
        """How many were accepted in this time: the kernel's CLOCK_MONOTONIC, ns."""
        accepted = self._all()["accepted"]
        return int(((accepted >= begin) & (accepted < end)).sum())

    def units(
        self, span: Span, cpu: CpuHistory | None = None, lifetime_ns: float = 0.0
    ) -> tuple[Array, Mapping[str, int]]:
        """The units, and how many connections are left out, by the reason.

        Args:
            span: Which connections count.
            cpu: The CPU time of the workers.
            lifetime_ns: How long a connection usually lasts; see `CpuHistory.values`.
        """
        seen = self._all()
        seen = seen[np.argsort(seen["accepted"], kind="stable")]
        remaining = np.ones(len(seen), bool)
        left_out = Counter[str]()
        for reason, out in (
            (BEFORE, seen["established"] < span.begin),
            (AFTER, seen["accepted"] >= span.end),
            (LATE, seen["accepted"] >= span.seen_until),
            *((why.reason, seen["arm"] == why) for why in NoArm),
        ):
            if reason != AFTER:  # it was over by then
                left_out[reason] += int((remaining & out).sum())
            remaining &= ~out
        return _units(seen[remaining], span, cpu, lifetime_ns), +left_out

    def accept_local(self, arm: int) -> float | None:
        """The percentage of an arm's connections that were accepted on their RX CPU."""
        seen = self._all()
        of_arm = seen["local"][seen["arm"] == arm]
        return share(int(of_arm.sum()), len(of_arm))

    def _all(self) -> Array:
        return np.concatenate(self._parts) if self._parts else np.zeros(0, _SEEN)


def random_arms(draw: np.random.Generator) -> Callable[[Records, Array], Array]:
    """Arms that say nothing: a coin of our own for each connection, for A/A."""
    return lambda accepts, _inodes: draw.integers(A, B, len(accepts), np.uint8, endpoint=True)


def _seen(records: Records, arms: Array) -> Array:
    accepts = records["accept"]
    seen = np.zeros(len(records), _SEEN)
    waited = (accepts["flags"] & WAIT_KNOWN) > 0
    seen["accepted"] = accepts["time"]
    seen["established"] = accepts["time"] - np.where(waited, accepts["wait"], 0)
    seen["arm"] = arms
    seen["local"] = accepts["cpu"] == accepts["rxcpu"]
    seen["receipt_to_read"] = np.where(was_read(records), since_packet(records) / 1000, np.nan)
    seen["queue_wait"] = np.where(waited, accepts["wait"] / 1000, np.nan)
    rtt = records["srtt"] * (RTT_UNIT_NS / 1000)
    seen["rtt"] = np.where(records["srtt"] > 0, rtt, np.nan)
    seen["lifetime"] = lifetimes(records) / 1000
    seen["retransmits"] = records["retransmits"]
    return seen


def _units(seen: Array, span: Span, cpu: CpuHistory | None, lifetime_ns: float) -> Array:
    units = np.zeros(len(seen), units_dtype(OUTCOMES))
    units["time"] = (seen["accepted"] - np.uint64(span.begin)) / 1e9
    units["pair"] = NO_PAIR
    units["arm"] = seen["arm"]
    units["weight"] = 1
    for outcome in OUTCOMES:
        if outcome.name in (_SEEN.names or ()):
            units[outcome.label] = seen[outcome.name]
    units["worker_cpu"] = np.nan
    if cpu is not None:
        units["worker_cpu"] = cpu.values(seen["accepted"], lifetime_ns)
    return units
