"""What a report adds up batch by batch, against the same of whole DataFrames."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import locality
from locality.accept import numbers as accept_numbers
from locality.accept import workers as accept_workers
from locality.accept.batch import ACCEPT, WAIT_KNOWN, AcceptBatch
from locality.accept.recording import AcceptRecorder
from locality.accept.workers import NO_MISSES, NO_RX_CPU, WorkerCounts
from locality.connections.recording import ConnectionRecorder
from locality.recording.recording import Recording, add_up
from locality.reporting.over_time import EventBins, binned
from locality.skb import numbers as skb_numbers
from locality.skb.interval import RX, TX
from tests.unit.connections.made_up import batch as ended
from tests.unit.connections.made_up import connections
from tests.unit.recordings import CPUS, META, STARTED, in_first_format, meta, packets

if TYPE_CHECKING:
    from pathlib import Path

    from locality.skb.numbers import Direction


DIRECTIONS: tuple[tuple[int, Direction], ...] = ((RX, "rx"), (TX, "tx"))


def added_up(path: Path) -> Recording:
    recording = add_up(path)
    assert recording is not None
    return recording


# Bugs: events of one batch are lost or counted twice when slots become longer; a bin begins
# elsewhere; a recording longer than the slots ends in an error.
@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.lists(st.integers(0, 10**6), min_size=1, max_size=20), min_size=1, max_size=10).map(
        lambda batches: [sorted(batch) for batch in batches]
    ),
    st.sampled_from([1, 1000, 10**7, 10**9]),
)
def test_bins_of_batches(batches: list[list[int]], unit: int) -> None:
    batches.sort(key=lambda batch: batch[0])
    bins = EventBins()
    for batch in batches:
        times = np.array(batch, np.int64) * unit + STARTED
        bins.add(times, np.full(len(times), 3), times % 2)
    times = np.concatenate([np.array(batch, np.int64) * unit + STARTED for batch in batches])
    found, exact = bins.over_time(), binned(times, np.full(len(times), 3), times % 2)
    assert found.seconds.tolist() == pytest.approx(exact.seconds.tolist())
    assert found.series is not None
    assert exact.series is not None
    assert found.events.sum() == exact.events.sum()
    assert found.series.local.sum() == exact.series.local.sum()
    # An event at a border may be in the neighbour's bin.
    apart = np.abs(np.cumsum(found.events) - np.cumsum(exact.events))
    edges = (np.arange(1, len(apart) + 1) * exact.seconds[0]) * 1e9 + times.min()
    slot = max(1.0, (times.max() - times.min()) / 2**16)
    near = [int(3 * (np.abs(times - edge) <= slot).sum()) for edge in edges]
    assert (apart <= near).all()


def accepts(path: Path, *batches: int) -> None:
    """A recording of so many connections in each batch; some without an RX CPU."""
    chance = np.random.default_rng(3)
    begin = 0
    with AcceptRecorder(path, meta("accept")) as recorder:
        for count in batches:
            records = np.zeros(count, ACCEPT)
            records["time"] = begin + np.sort(chance.integers(0, 10**9, count))
            records["cpu"] = chance.integers(0, CPUS, count)
            records["rxcpu"] = chance.integers(-1, CPUS, count)
            records["pid"] = records["tid"] = chance.integers(100, 103, count)
            # A batch has names of its own, so their numbers in it differ.
            records["comm"] = chance.choice([b"one", b"two", f"of {begin}".encode()], count)
            records["family"] = 4
            records["wait"] = chance.integers(0, 10**6, count)
            records["flags"] = chance.choice([0, WAIT_KNOWN], count)
            begin += 10**9
            recorder.write(AcceptBatch(records, STARTED, 0))
            recorder._flush()  # noqa: SLF001 - what a second would do


# Bugs: a batch is left out; a name or a CPU is that of another batch; a wait that was not seen is
# taken for one of 0.
def test_accepts_add_up_to_the_frame(tmp_path: Path) -> None:
    path = tmp_path / "a.arrows"
    accepts(path, 500, 1, 300, 700)
    frame = locality.load(path).accepts
    sums = added_up(path).aggregate
    assert sums.count == len(frame)
    assert sums.local == (frame.cpu == frame.rxcpu).sum()
    assert (sums.matrix[:-1] == accept_numbers.accept_matrix(frame, CPUS)).all()
    assert sums.matrix[-1].sum() == (frame.rxcpu < 0).sum()
    words = frame.distance.value_counts()
    assert {one.word: count for one, count in sums.by_distance.items()} == {
        one.word: words.get(one.word, 0) for one in sums.by_distance
    }
    waits = frame.wait_ns.dropna()
    assert sums.waits.total == len(waits)
    for rank in (50, 99):
        exact = np.percentile(waits, rank, method="inverted_cdf")
        assert sums.waits.percentile(rank) == pytest.approx(exact, rel=0.002)
    ascending = sums.waits.ascending(10)
    assert (np.diff(ascending) >= 0).all()
    assert ascending[[0, -1]] == pytest.approx([waits.min(), waits.max()], rel=0.002)
    workers = sums.workers.table()
    for place in range(len(workers.pid)):
        mine = frame[(frame.pid == workers.pid[place]) & (frame.cpu == workers.cpu[place])]
        assert workers.comm[place].decode() == mine.comm.iloc[0]
        assert workers.accepts[place] == len(mine)
        assert workers.local[place] == (mine.cpu == mine.rxcpu).sum()
        away = mine.rxcpu[mine.rxcpu != mine.cpu].value_counts()
        assert away[workers.missed_from[place]] == away.max()
    assert workers.accepts.sum() == len(frame)
    assert (np.diff(workers.accepts) <= 0).all()


# Bug: a server that forks for each connection fills the memory; the busiest are those that go.
def test_workers_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accept_workers, "MOST_KEPT", 100)
    counts = WorkerCounts()
    for batch in range(20):
        pids = np.concatenate([np.arange(50) + 1000 * batch + 10, np.full(50, 7)])
        comm = np.where(pids == 7, 1, 0)
        counts.add(pids, np.zeros(100, int), np.full(100, -1), comm, [b"child", b"main"])
    found = counts.table()
    assert len(found.pid) <= 100
    assert (found.pid[0], found.comm[0], found.accepts[0]) == (7, b"main", 20 * 50)
    assert found.accepts.sum() + found.others == 20 * 100
    assert found.others > 0
    assert set(found.comm[1:]) == {b"child"}
    assert set(found.missed_from.tolist()) == {NO_RX_CPU}


# Bug: a worker of which all connections were local is said to miss some.
def test_a_worker_without_misses() -> None:
    counts = WorkerCounts()
    here = np.array([2, 2, 3])
    counts.add(np.array([5, 5, 5]), here, here, np.zeros(3, int), [b"x"])
    found = counts.table()
    assert found.missed_from.tolist() == [NO_MISSES] * 2
    assert found.local.tolist() == found.accepts.tolist() == [2, 1]


# Bugs: a batch is left out; a connection that was not read counts as read by another thread, or in
# the times of first reads; ends are counted by another batch's words.
def test_connections_add_up_to_the_frame(tmp_path: Path) -> None:
    path = tmp_path / "c.arrows"
    with ConnectionRecorder(path, replace(META, kind="connections")) as recorder:
        for count in (100, 1, 37):
            recorder.write(ended(connections(count), lost=0, unplaced=0, still_open=0))
            recorder._flush()  # noqa: SLF001 - what a second would do
    frame = locality.load(path).connections
    sums = added_up(path).aggregate
    assert sums.count == len(frame)
    assert sums.reads == (frame.reads.sum(), frame.local_reads.sum())
    read = frame[frame.reader_tid.notna()]
    assert 0 < len(read) < len(frame)
    assert sums.read == (len(read), (read.reader_tid != read.tid).sum())
    ends = frame.end.value_counts()
    assert sums.ends == {word: ends.get(word, 0) for word in sums.ends}
    for name, histogram in sums.times.items():
        known = frame[name].dropna()
        assert histogram.total == len(known)
        exact = np.percentile(known, 50, method="inverted_cdf")
        assert histogram.percentile(50) == pytest.approx(exact, rel=0.002)
    times = frame.time.to_numpy("datetime64[ns]").view(np.int64) + frame.lifetime_ns.to_numpy()
    exact = binned(times, frame.reads.to_numpy(), frame.local_reads.to_numpy())
    found = sums.over_time.over_time()
    assert found.events.sum() == exact.events.sum() == frame.reads.sum()
    assert found.seconds.tolist() == pytest.approx(exact.seconds.tolist())


# Bugs: an interval is left out; directions are exchanged; what one interval did not see is taken
# for seen; the first format reads otherwise.
@pytest.mark.parametrize("seen", [True, False])
def test_packets_add_up_to_the_frames(tmp_path: Path, *, seen: bool) -> None:
    path, older = tmp_path / "s.arrows", tmp_path / "older.arrows"
    packets(path, 7, 0.3, seen=seen)
    in_first_format(path, older)
    whole = locality.load(path)
    for sums in (added_up(path).aggregate, added_up(older).aggregate):
        for direction, name in DIRECTIONS:
            matrix = skb_numbers.skb_matrix(whole.skb, name, CPUS)
            assert (sums.matrix[direction] == matrix).all()
            distances = skb_numbers.skb_distances(
                whole.skb, whole.skb_totals, name, whole.meta.distances
            )
            assert sums.by_distance(direction) == distances
            for part in ("local", "freed_local", "delivered_local"):
                run = sums.totals(direction).over_time(part)
                exact = skb_numbers.skb_over_time(whole.skb_totals, name, part)
                assert run.at.tolist() == exact.at.tolist()
                assert run.events.tolist() == exact.events.tolist()
                assert (run.series is None) == (exact.series is None)
                if run.series and exact.series:
                    assert run.series.local.tolist() == exact.series.local.tolist()
                    assert run.series.total.tolist() == exact.series.total.tolist()
            assert (sums.totals(direction).share("freed_local") is None) == (not seen)
