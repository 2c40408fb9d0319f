"""Who reads what was accepted: a server may hand a connection to another thread.

The accepts and the reads of a port are put together by the two ends of the connection. Where the
first read is by another thread than the accept, the CPU of the accept says nothing about where
the connection is served.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from locality.arrays import Array
    from locality.steering.count import Handled

#: What is noted; the connection by what records of accepts and of reads have in common.
_NOTED = np.dtype(
    [
        (
            "connection",
            [
                ("netns", "u4"),
                ("lport", "u2"),
                ("rport", "u2"),
                ("laddr", "u1", (16,)),
                ("raddr", "u1", (16,)),
            ],
        ),
        ("time", "u8"),
        ("tid", "u4"),
        ("local", "?"),
    ]
)
#: From this part on a server is one that hands its connections off.
MOST = 0.5


@dataclass(frozen=True)
class HandOff:
    """How many connections were first read by another thread than the one that accepted them.

    Attributes:
        connections: Those that were seen to be accepted and read.
        elsewhere: Those of them whose first read was by another thread.
        reads: All reads on the port, also of connections from before.
        local: The reads on the CPU that received last.
        threads: The threads that read.
    """

    connections: int = 0
    elsewhere: int = 0
    reads: int = 0
    local: int = 0
    threads: frozenset[int] = frozenset()

    @property
    def is_usual(self) -> bool:
        """Whether the server hands most of its connections off."""
        return self.connections > 0 and self.elsewhere >= MOST * self.connections


@dataclass
class Connections:
    """A sink that notes of each accept, or read: which connection, which thread, was it local.

    Takes records of dtype `locality.accept.batch.ACCEPT` or `locality.reads.tcp.TCP_READ`.
    """

    _parts: list[Array] = field(default_factory=list)

    def write(self, batch: Handled) -> None:
        """Note a batch."""
        records = batch.records
        noted = np.zeros(len(records), _NOTED)
        names = noted["connection"].dtype.names or ()
        for name in names:
            noted["connection"][name] = records[name]
        noted["time"], noted["tid"] = records["time"], records["tid"]
        noted["local"] = records["cpu"] == records["rxcpu"]
        self._parts.append(noted)

    def noted(self) -> Array:
        """All of it in order: dtype `_NOTED`."""
        return np.concatenate(self._parts) if self._parts else np.zeros(0, _NOTED)


def hand_off(accepts: Connections, reads: Connections) -> HandOff:
    """Put accepts and reads of a port together."""
    accepted, read = accepts.noted(), reads.noted()
    # Ends are used again by later connections: a read is of the accept that was last before it.
    both = np.concatenate([accepted, read])
    is_read = np.arange(len(both)) >= len(accepted)
    _, name = np.unique(_names(both), return_inverse=True)
    order = np.lexsort((is_read, both["time"], name))
    name, is_read, tid = name[order], is_read[order], both["tid"][order]
    first_read = is_read[1:] & ~is_read[:-1] & (name[1:] == name[:-1])
    other = first_read & (tid[1:] != tid[:-1])
    return HandOff(
        connections=int(first_read.sum()),
        elsewhere=int(other.sum()),
        reads=len(read),
        local=int(read["local"].sum()),
        threads=frozenset(np.unique(read["tid"]).tolist()),
    )


def _names(noted: Array) -> Array:
    """(records,) each connection as one value that can be compared."""
    connections = np.ascontiguousarray(noted["connection"])
    return connections.view(f"V{connections.dtype.itemsize}").reshape(-1)
