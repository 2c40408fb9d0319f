"""The sums that the summary of `locality accept` is made of."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from locality.accept.batch import ACCEPT, WAIT_KNOWN, AcceptBatch
from locality.accept.summary import AcceptSummary
from locality.accept.text import summary_lines
from locality.machine.topology import Distance, Topology

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pytest

CPUS = 4
MACHINE = Topology(
    CPUS, tuple(range(CPUS)), np.full((CPUS + 1, CPUS + 1), Distance.UNKNOWN, np.uint8)
)


def batch(rows: Sequence[tuple[int, int, int]], lost: int = 0) -> AcceptBatch:
    """Connections as (pid, cpu, rxcpu)."""
    records = np.zeros(len(rows), ACCEPT)
    for record, (pid, cpu, rxcpu) in zip(records, rows, strict=True):
        record["pid"], record["cpu"], record["rxcpu"] = pid, cpu, rxcpu
        record["comm"] = f"worker-{pid}".encode()
    return AcceptBatch(records, clock_offset=0, lost=lost)


# Bugs: a worker that moves between CPUs hides in one row; "no RX CPU" (-1) counts as local or
# lands on the last CPU's column; local is counted against the wrong worker.
def test_known_connections_give_known_sums() -> None:
    summary = AcceptSummary(MACHINE)
    summary.write(batch([(20, 1, 1), (10, 0, 1), (20, 1, 0)]))
    summary.write(batch([(20, 2, 2), (10, 0, -1), (10, 0, 0), (20, 1, 1)]))
    assert (summary.total, summary.local) == (7, 4)
    assert {
        key: (worker.comm, worker.accepts, worker.local) for key, worker in summary.workers.items()
    } == {
        (10, 0): (b"worker-10", 3, 1),
        (20, 1): (b"worker-20", 3, 2),
        (20, 2): (b"worker-20", 1, 1),
    }
    assert summary.matrix.tolist() == [
        [1, 1, 0, 0, 1],
        [1, 2, 0, 0, 0],
        [0, 0, 1, 0, 0],
        [0, 0, 0, 0, 0],
    ]


# Bug: the threads of one process are one worker, and where one of them accepts is not seen.
def test_threads_are_workers() -> None:
    threads = batch([(10, 0, 0), (10, 0, 1), (10, 0, 0)])
    threads.records["tid"] = [10, 11, 11]
    summary = AcceptSummary(MACHINE)
    summary.write(threads)
    assert [(one.pid, one.tid, one.accepts, one.local) for one in summary.workers.values()] == [
        (10, 10, 1, 1),
        (10, 11, 2, 1),
    ]


ROWS = st.lists(
    st.tuples(
        st.sampled_from([1, 7, 4194303]),
        st.integers(0, CPUS - 1),
        st.integers(-1, CPUS - 1),
    ),
    max_size=30,
)


# Bug: a sum depends on where the ring happened to be read; large pids collide in the key.
@settings(deadline=None)
@given(ROWS, st.integers(0, 30))
def test_any_cut_gives_the_same_sums(rows: list[tuple[int, int, int]], cut: int) -> None:
    summary = AcceptSummary(MACHINE)
    summary.write(batch(rows[:cut]))
    summary.write(batch(rows[cut:]))
    assert summary.total == len(rows)
    assert summary.local == sum(cpu == rxcpu for _, cpu, rxcpu in rows)
    accepts = {key: worker.accepts for key, worker in summary.workers.items()}
    assert accepts == Counter((pid, cpu) for pid, cpu, _ in rows)
    local = {key: worker.local for key, worker in summary.workers.items() if worker.local}
    assert local == Counter((pid, cpu) for pid, cpu, rxcpu in rows if cpu == rxcpu)
    pairs = Counter((cpu, rxcpu % (CPUS + 1)) for _, cpu, rxcpu in rows)
    assert {
        tuple(place): summary.matrix[tuple(place)] for place in np.argwhere(summary.matrix)
    } == (pairs)


# Bug: the batch's count of lost records, which is since the start, is added up again and again;
# or a loss told by a reading without records is forgotten.
def test_lost_is_the_last_count() -> None:
    summary = AcceptSummary(MACHINE)
    summary.write(batch([(1, 0, 0)], lost=3))
    summary.write(batch([(1, 0, 0)], lost=3))
    assert summary.lost == 3
    summary.write(batch([], lost=5))
    assert (summary.total, summary.lost) == (2, 5)


# Bug: waits that are not known are counted as 0 and pull the median down.
def test_only_known_waits_count() -> None:
    connections = batch([(1, 0, 0)] * 5)
    connections.records["wait"] = [0, 0, 0, 1000, 1000]
    connections.records["flags"] = [0, 0, 0, WAIT_KNOWN, WAIT_KNOWN | 2]
    summary = AcceptSummary(MACHINE)
    summary.write(connections)
    assert summary.waits.total == 2
    assert round(summary.waits.percentile(50) or 0, -2) == 1000


# Bugs: a server that forks for each connection fills the memory within days; a worker that has
# accepted all along is forgotten because it came first; accepts of the forgotten ones are lost.
def test_workers_that_accepted_long_ago_are_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("locality.summary.MOST_KEPT", 4)
    summary = AcceptSummary(MACHINE)
    for pid in range(100, 200):
        forked = batch([(1, 0, 0), (pid, 1, 1), (pid, 1, 2)])
        forked.records["cgroup"] = pid
        summary.write(replace(forked, cgroups={pid: f"/{pid}"}))
    assert len(summary.workers) <= 8
    assert summary.cgroups.keys() <= {worker.cgroup for worker in summary.workers.values()}
    assert summary.workers[1, 0].accepts == 100
    kept = summary.workers.values()
    assert summary.earlier + sum(worker.accepts for worker in kept) == summary.total == 300
    assert summary.earlier_local + sum(worker.local for worker in kept) == summary.local == 200
    others = f"{summary.earlier} accepts, 50.0% local"
    assert f"others, that accepted nothing for longest: {others}" in [*summary_lines(summary)]
