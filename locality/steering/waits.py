"""How long connections waited for accept(), from records of accepts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from locality.spill.bound import Arrivals

if TYPE_CHECKING:
    from locality.arrays import Array

_KNOWN = 1  # WAIT_KNOWN of locality/accept/source.py


@dataclass
class Waits:
    """Connections, as they were accepted.

    Attributes:
        readings: For each reading, (4, connections): the socket, as pid and descriptor; the RX
            CPU; when it was accepted and how long it had waited, ns. Without those whose wait is
            not known.
    """

    readings: list[Array] = field(default_factory=list)

    def write(self, records: Array) -> None:
        """Add records of accepts."""
        known = records[(records["flags"] & _KNOWN) != 0]
        sockets = known["pid"].astype(np.int64) << 32 | known["listen_fd"]
        columns = (sockets, known["rxcpu"], known["time"], known["wait"])
        self.readings.append(np.stack([column.astype(np.int64) for column in columns]))

    @property
    def _all(self) -> Array:
        return (
            np.concatenate(self.readings, axis=1) if self.readings else np.zeros((4, 0), np.int64)
        )

    @property
    def waits(self) -> Array:
        """(connections,) ns that each waited."""
        waited: Array = self._all[3]
        return waited

    def longer_than(self, limit: float) -> tuple[Array, Array]:
        """How many waited longer than so many ns in each reading, and how many there were."""
        longer = [int((one[3] > limit).sum()) for one in self.readings]
        count = [one.shape[1] for one in self.readings]
        return np.array(longer, np.int64), np.array(count, np.int64)

    @property
    def arrivals(self) -> Arrivals:
        """The connections in the order in which they came."""
        sockets, rx_cpus, accepted, waited = self._all
        came = accepted - waited
        order = np.argsort(came, kind="stable")
        return Arrivals(came[order], accepted[order], sockets[order], rx_cpus[order])
