"""How far CLOCK_REALTIME, by which packets are stamped, is from CLOCK_MONOTONIC of BPF programs.

The difference changes only when somebody sets the clock. Reading one clock between two readings of
the other gives it to within the time that this took; what many such readings agree on is narrower.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from locality.machine.clocks import namespace_offset

READINGS = 200
#: Readings at a later time, to see whether the clock was set.
FEW_READINGS = 20


@dataclass(frozen=True)
class Offset:
    """CLOCK_REALTIME less CLOCK_MONOTONIC: it lies between these two, ns."""

    low: int
    high: int

    @property
    def middle(self) -> int:
        """What to take for it."""
        return (self.low + self.high) // 2

    def agreed(self, other: Offset) -> Offset | None:
        """What both say of one offset; None if there are two: the clock was set in between."""
        low, high = max(self.low, other.low), min(self.high, other.high)
        return Offset(low, high) if low <= high else None


def measure(readings: int = READINGS) -> Offset:
    """Measure it now, as the kernel has it: also in a time namespace."""
    low, high = -(1 << 63), 1 << 63
    clock, real, monotonic = time.clock_gettime_ns, time.CLOCK_REALTIME, time.CLOCK_MONOTONIC
    for _ in range(readings):
        before, between, after = clock(monotonic), clock(real), clock(monotonic)
        # The clock was set just now, back or forward: what was read before is void.
        if between - before < low or between - after > high:
            low, high = -(1 << 63), 1 << 63
        low, high = max(low, between - after), min(high, between - before)
    shift = namespace_offset()
    return Offset(low + shift, high + shift)
