"""Accepted connections as the kernel reports them: one record each, many to a batch.

The record is the probe's `struct accept_event` (probes/accept_record.h). This module knows no
kernel, for recordings are read where there is none.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

#: One accepted connection, as `struct accept_event` of the probe.
#: time: CLOCK_MONOTONIC, ns. wait: ns in the accept queue, valid with `WAIT_KNOWN`. cgroup: the
#: thread's, by its id (v2); 0 if not known.
#: rxcpu: -1 if the stack never noted one. Addresses: network order, IPv4 in 4 bytes.
ACCEPT = np.dtype(
    [
        ("time", "u8"),
        ("wait", "u8"),
        ("cgroup", "u8"),
        ("cpu", "u4"),
        ("rxcpu", "i4"),
        ("pid", "u4"),
        ("tid", "u4"),
        ("listen_fd", "i4"),
        ("fd", "i4"),
        ("netns", "u4"),
        ("lport", "u2"),
        ("rport", "u2"),
        ("laddr", "u1", (16,)),
        ("raddr", "u1", (16,)),
        ("comm", "S16"),
        ("family", "u1"),
        ("flags", "u1"),
        ("pad", "u1", (6,)),
    ]
)
WAIT_KNOWN = 1

Records = np.ndarray[tuple[int], np.dtype[np.void]]


@dataclass(frozen=True)
class AcceptBatch:
    """What one reading of the ring gave.

    Attributes:
        records: dtype `ACCEPT`, perhaps empty.
        clock_offset: Add it to a record's time for UTC, ns since the epoch.
        lost: Records the ring had no room for, and runs of the probes that the kernel skipped,
            some of which may have been for connections; since the source was opened.
        cgroups: Paths of the threads' cgroups, by id; of those that could be told.
    """

    records: Records
    clock_offset: int
    lost: int
    cgroups: Mapping[int, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.records)

    def first(self, count: int) -> AcceptBatch:
        """The same with its first `count` records."""
        return replace(self, records=self.records[:count])
