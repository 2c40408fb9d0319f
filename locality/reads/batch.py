"""One record for each read of a socket, whatever its protocol.

The sources of a protocol give batches of these: `locality.udp.reads` for datagrams. The records of
`locality.reads.tcp` have more fields.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from locality.arrays import Array

#: So many of the CPUs that a reader's remote reads were received on are kept, the most frequent.
SOURCES = 4

#: One read that took data, as `struct read_event` of the probes.
#: inode: the socket's. netns: inode of its network namespace. pid, tid: of the reading thread.
#: cpu: the CPU that the thread ran on. rxcpu: the CPU on which the stack processed what was
#: read, -1 where that is not known. lport: the socket's port.
READ = np.dtype(
    [
        ("inode", "u8"),
        ("netns", "u4"),
        ("pid", "u4"),
        ("tid", "u4"),
        ("cpu", "u4"),
        ("rxcpu", "i4"),
        ("lport", "u2"),
        ("pad", "u1", (2,)),
    ]
)


@dataclass(frozen=True)
class ReadBatch:
    """What one reading of the ring gave.

    Attributes:
        records: dtype `READ`, in the order in which the reads ended; perhaps empty.
        lost: Records for which the ring had no room, and runs of the probes that the kernel
            skipped, some of which may have been for reads; since the source was opened.
    """

    records: Array
    lost: int

    def __len__(self) -> int:
        return len(self.records)

    def first(self, count: int) -> ReadBatch:
        """The same with its first `count` records."""
        return replace(self, records=self.records[:count])
