"""Connections made up for tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from locality.accept.batch import WAIT_KNOWN
from locality.connections.batch import CONNECTION, ConnectionBatch
from tests.unit.recordings import OFFSET

if TYPE_CHECKING:
    from locality.accept.batch import Records


def connections(count: int) -> Records:
    """So many connections, of which no two are alike; of every third nothing was read."""
    rng = np.random.default_rng(count)
    records = np.zeros(count, CONNECTION)
    accepts = records["accept"]
    for name in ("pid", "tid", "listen_fd", "fd", "netns", "lport", "rport", "cgroup"):
        accepts[name] = rng.integers(0, 1 << 15, count)
    accepts["time"] = 10**9 + np.sort(rng.integers(0, 10**9, count))
    accepts["cpu"] = rng.integers(0, 2, count)
    accepts["rxcpu"] = rng.integers(-1, 2, count)
    accepts["family"] = 4
    accepts["raddr"][:, :4] = rng.integers(0, 256, (count, 4))
    accepts["comm"] = b"accepts"
    accepts["flags"] = WAIT_KNOWN
    accepts["wait"] = rng.integers(0, 1 << 40, count)
    for name in ("received", "sent", "retransmits", "srtt"):
        records[name] = rng.integers(0, 1 << 20, count)
    records["ended"] = accepts["time"] + rng.integers(0, 1 << 30, count).astype(np.uint64)
    records["end"] = rng.integers(0, 3, count)
    read = np.arange(count) % 3 < 2
    records["reads"] = rng.integers(2, 10, count) * read
    records["local_reads"] = records["reads"] // 2
    records["read"] = records["reads"] * 100
    for name in ("reader_pid", "reader_tid"):
        records[name] = rng.integers(1, 1 << 15, count) * read
    records["reader_cpu"] = rng.integers(0, 2, count) * read
    records["reader_rxcpu"] = rng.integers(-1, 2, count) * read
    records["reader_comm"] = np.where(read, b"reads", b"")
    after = accepts["time"] + rng.integers(1, 1 << 20, count).astype(np.uint64)
    records["first_read"] = after * read
    records["last_packet"] = (after - rng.integers(1, 1 << 20, count).astype(np.uint64)) * read
    return records


def batch(
    records: Records, lost: int = 0, unplaced: int = 0, still_open: int = 0
) -> ConnectionBatch:
    return ConnectionBatch(records, OFFSET, lost, unplaced, still_open, {4711: "/web.slice"})
