"""How long connections waited for accept(), and how many they found waiting when they came.

Both from records of accepts alone: each tells when it was accepted and how long it had waited.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from locality.arrays import Array

_KNOWN = 1  # WAIT_KNOWN of locality/accept/source.py


@dataclass
class Waits:
    """Connections, as they were accepted.

    Attributes:
        readings: For each reading: the sockets, as pid and descriptor; when each connection was
            accepted and how long it had waited, ns.
    """

    readings: list[tuple[Array, Array, Array]] = field(default_factory=list)

    def write(self, records: Array) -> None:
        """Add records of accepts; those whose wait is not known are left out."""
        known = records[(records["flags"] & _KNOWN) != 0]
        sockets = known["pid"].astype(np.uint64) << np.uint64(32)
        sockets |= known["listen_fd"].astype(np.uint64)
        self.readings.append(
            (sockets, known["time"].astype(np.int64), known["wait"].astype(np.int64))
        )

    @property
    def waits(self) -> Array:
        """(connections,) ns that each waited."""
        parts = [waited for _, _, waited in self.readings]
        return np.concatenate(parts) if parts else np.zeros(0, np.int64)

    def longer_than(self, limit: float) -> tuple[Array, Array]:
        """How many waited longer than so many ns in each reading, and how many there were."""
        longer = [int((waited > limit).sum()) for _, _, waited in self.readings]
        return np.array(longer, np.int64), np.array(
            [len(waited) for _, _, waited in self.readings], np.int64
        )

    def queues_met(self) -> list[Array]:
        """For each socket: how many connections waited there when each of its own came."""
        if not self.readings:
            return []
        sockets, accepted, waited = (
            np.concatenate(columns) for columns in zip(*self.readings, strict=True)
        )
        return [
            _met(accepted[sockets == one], waited[sockets == one]) for one in np.unique(sockets)
        ]


def _met(accepted: Array, waited: Array) -> Array:
    """How many had come before each, less those that had been accepted by then."""
    came = np.sort(accepted - waited)
    gone = np.searchsorted(np.sort(accepted), came, side="right")
    met: Array = np.maximum(np.arange(len(came)) - gone, 0)
    return met
