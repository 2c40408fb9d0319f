"""What a phase of the experiment must show: the limits of each share."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from math import sqrt

SPREAD = 15.0
"""How far, in percentage points, a hash of many connections may be from an even share."""
DEVIATIONS = 4.0
"""Of few connections it may be further: so many standard deviations."""


class Figure(Enum):
    """A share that the experiment measures on the server."""

    ACCEPT = "accept"
    """Connections accepted on the CPU that received them."""
    DELIVERED = "delivered"
    """Received packets that a reader took, consumed on the CPU that allocated them."""
    SENT = "sent"
    """Sent packets consumed on the CPU that allocated them."""


class Expected(Enum):
    """What the choice of the worker makes of a share."""

    EVEN = "the hash: one of N workers is the local one"
    ALL = "the local worker always"
    NONE = "another worker always"


@dataclass(frozen=True)
class Limits:
    """The smallest and the largest share that is right, in percent."""

    lowest: float
    highest: float

    def allow(self, share: float | None) -> bool:
        """Whether a share is within; None, of nothing, is not."""
        return share is not None and self.lowest <= share <= self.highest

    def __str__(self) -> str:
        if self.highest >= 100:  # noqa: PLR2004 - percent
            return f">={self.lowest:.0f}%"
        if self.lowest <= 0:
            return f"<={self.highest:.0f}%"
        return f"{self.lowest:.0f}-{self.highest:.0f}%"


# What opens and closes a connection is sent by the stack on the RX CPU, whichever worker accepts.
_ALL = {Figure.ACCEPT: 99.0, Figure.DELIVERED: 97.0, Figure.SENT: 95.0}
_NONE = {Figure.ACCEPT: 1.0, Figure.DELIVERED: 3.0, Figure.SENT: 3.0}


def limits(expected: Expected, figure: Figure, workers: int, connections: int) -> Limits:
    """The limits of one share.

    Args:
        expected: What it must be.
        figure: Which share.
        workers: N.
        connections: How many were accepted: a share of few scatters.
    """
    if expected is Expected.ALL:
        return Limits(_ALL[figure], 100.0)
    if expected is Expected.NONE:
        return Limits(0.0, _NONE[figure])
    even = 1 / workers
    deviation = sqrt(even * (1 - even) / max(connections, 1))
    margin = max(SPREAD, DEVIATIONS * 100 * deviation)
    return Limits(max(100 * even - margin, 1.0), min(100 * even + margin, 99.0))
