"""Replay: the sinks are given what they were given when it was recorded, in time."""

from __future__ import annotations

import itertools
from dataclasses import fields, replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pytest

import locality
from locality.accept.batch import ACCEPT, WAIT_KNOWN, AcceptBatch
from locality.accept.recording import AcceptRecorder, timed_accepts
from locality.errors import LocalityError
from locality.recording.events import TICK
from locality.recording.info import Info
from locality.recording.reader import Reader
from locality.recording.replay import play
from locality.skb.interval import Flow, Interval
from locality.skb.recording import SkbRecorder, timed_intervals
from locality.skb.stored import stored_rows
from tests.unit.recordings import META, OFFSET, SKB_META, in_first_format, without

if TYPE_CHECKING:
    from pathlib import Path

    from locality.accept.batch import Records
    from locality.recording.format import Meta


def accepts(times: list[float]) -> Records:
    """Connections at so many seconds after the recording's start; no two are alike."""
    count = len(times)
    rng = np.random.default_rng(count)
    records = np.zeros(count, ACCEPT)
    for name in ("pid", "tid", "listen_fd", "fd", "netns", "lport", "rport", "cgroup"):
        records[name] = rng.integers(0, 1 << 15, count)
    records["time"] = [10**9 + round(time * 10**9) for time in times]
    records["cpu"] = rng.integers(0, 2, count)
    records["rxcpu"] = rng.integers(-1, 2, count)
    records["family"] = rng.choice([4, 6], count)
    for name in ("laddr", "raddr"):
        records[name] = rng.integers(0, 256, (count, 16))
        records[name][records["family"] == 4, 4:] = 0
    records["comm"] = [rng.bytes(15) for _ in range(count)]
    records["flags"] = rng.choice([0, WAIT_KNOWN], count)
    records["wait"] = rng.integers(0, 1 << 40, count) * records["flags"]
    return records


def accept_recording(path: Path, *batches: Records, meta: Meta = META) -> Reader:
    with AcceptRecorder(path, meta) as recorder:
        for lost, batch in enumerate(batches, 1):
            recorder.write(AcceptBatch(batch, OFFSET, lost))
            recorder._flush()  # noqa: SLF001 - what a second would do
    return Reader(path)


# Bugs: a recording of a version that knew no cgroups is refused, or its connections are lost; what
# it does not tell passes for cgroup 0 by name.
def test_accepts_of_an_older_version(tmp_path: Path) -> None:
    path, older = tmp_path / "new.arrows", tmp_path / "older.arrows"
    known = accepts([0.5, 0.7, 1.2])
    accept_recording(path, known).close()
    without(path, older, "cgroup", "cgroup_path")
    known["cgroup"] = 0
    with Reader(older) as reader:
        (batch,) = [some for _, some in timed_accepts(reader) if len(some)]
    assert batch.records.tobytes() == known.tobytes()
    assert batch.cgroups == {}
    frame = locality.load(older).accepts
    assert frame.cgroup.tolist() == [0, 0, 0]
    assert frame.cgroup_path.isna().all()


def intervals(count: int) -> list[Interval]:
    """Intervals as a clock gives their ends: floats of no round number."""
    rng = np.random.default_rng(count)
    ends = 1_700_000_001.1234567 + np.cumsum(rng.random(count))
    return [
        Interval(
            time=float(end),
            seconds=float(rng.random() + 0.01),
            rung=SKB_META.rung,
            lost=number,
            rx=Flow(100, 50, number if number % 2 else None, 3, 4),
            tx=Flow(200, None, 1, None, 0),
            delivered=None if number % 2 else 7,
            delivered_local=None if number % 2 else 6,
            by_pair=rng.integers(0, 2, (2, 3, 3)) * number,
            apart=(1, 2),
            together=(3, 4),
        )
        for number, end in enumerate(ends)
    ]


def figures(interval: Interval) -> dict[str, object]:
    """All of an interval but its array, which == compares item by item in Python 3.13 and later."""
    names = {field.name for field in fields(interval)} - {"by_pair"}
    return {name: getattr(interval, name) for name in names}


# Bugs: a field that the sinks print differs from the live run: a name's bytes, an address, a time
# rounded, a wait that was not valid.
def test_connections_come_back_exactly(tmp_path: Path) -> None:
    known = [accepts([0.1, 0.2, 0.15]), accepts([1.5])]
    with accept_recording(tmp_path / "one.arrows", *known) as reader:
        found = [batch for _, batch in timed_accepts(reader)]
    assert [batch.lost for batch in found] == [1, 2]
    assert [batch.clock_offset for batch in found] == [OFFSET] * 2
    for one, other in zip(found, known, strict=True):
        assert one.records.tobytes() == other.tobytes()


# Bugs: a replay of packets differs from the run; an interval without any packet between two CPUs is
# left out.
def test_intervals_come_back_exactly(tmp_path: Path) -> None:
    known = intervals(50)
    path = tmp_path / "skb.arrows"
    with SkbRecorder(path, SKB_META) as recorder:
        for one in known:
            recorder.write(one)
    with Reader(path) as reader:
        found = list(timed_intervals(reader))
    assert len(found) == len(known)
    for (seconds, one), other in zip(found, known, strict=True):
        assert figures(one) == figures(other)
        assert one.matrix.tolist() == other.matrix.tolist()
        assert seconds == pytest.approx(other.time - META.started / 10**9, abs=1e-6)


# Bugs: a recording of the first format is refused; a pair of CPUs is lost, or is another; a figure
# that was not seen reads as 0; an export has other rows than before.
def test_packets_of_the_first_format(tmp_path: Path) -> None:
    known = intervals(5)
    path, older = tmp_path / "new.arrows", tmp_path / "older.arrows"
    with SkbRecorder(path, SKB_META) as recorder:
        for one in known:
            recorder.write(one)
    in_first_format(path, older)
    with Reader(older) as reader:
        assert reader.meta.distances == SKB_META.distances
        found = [one for _, one in timed_intervals(reader)]
    for one, other in zip(found, known, strict=True):
        assert figures(one) == figures(other)
        assert one.matrix.tolist() == other.matrix.tolist()
    for name in ("skb", "skb_totals"):
        frames = [getattr(locality.load(file), name) for file in (path, older)]
        assert frames[0].equals(frames[1])
    exports = []
    for file in (path, older):
        with Reader(file) as reader:
            exports.append(pa.Table.from_batches(reader.rows()).to_pylist())
        with Reader(file) as reader:
            assert Info(reader).rows == len(exports[-1])
    assert exports[0] == exports[1]


# Bugs: a second's connections come all at once, or in another order; one is lost at a border; time
# stands still where nothing was accepted, and a dashboard with it; the speed counts twice.
@pytest.mark.parametrize("speed", [1.0, 4.0])
def test_connections_come_when_they_came(tmp_path: Path, speed: float) -> None:
    times = [0.01, 0.02, 0.9, 0.89, 0.91], [1.0, 1.01, 2.5]
    known = [accepts(list(some)) for some in times]
    with accept_recording(tmp_path / "one.arrows", *known) as reader:
        found = list(timed_accepts(reader, speed))
    came = [(due, (time - 10**9) / 10**9) for due, batch in found for time in batch.records["time"]]
    assert [time for _, time in came] == pytest.approx([*times[0], *times[1]])
    # No sooner than it came, and no more than a tick late; but for those out of order.
    assert all(0 <= due - time <= TICK * speed + 0.02 for due, time in came)
    dues = [due for due, _ in found]
    assert max(late - early for early, late in itertools.pairwise(dues)) <= TICK * speed * 1.001
    assert dues == sorted(dues)
    assert [batch.lost for _, batch in found if len(batch)][-1] == 2


# Bug: the clock went back, or the file is damaged, and the replay waits for centuries, or fails.
def test_connections_from_before_the_start(tmp_path: Path) -> None:
    meta = replace(META, started=META.started + 5 * 10**9)
    with accept_recording(tmp_path / "one.arrows", accepts([0.5, 1.5]), meta=meta) as reader:
        found = list(timed_accepts(reader, 1.0))
    assert [(due, len(batch)) for due, batch in found] == [(TICK, 2)]


class Kept:
    """A sink that keeps what it is given."""

    def __init__(self) -> None:
        self.batches: list[Interval] = []

    def write(self, batch: Interval) -> None:
        self.batches.append(batch)


# Bugs: a sink is left out or given a batch twice; speed 0 waits for a year-old recording's times.
def test_every_sink_gets_every_batch() -> None:
    known = intervals(3)
    sinks = [Kept(), Kept()]
    play([(1e9, one) for one in known], sinks)
    assert all(sink.batches == known for sink in sinks)


# Bug: a recording whose rows lack a direction is shown as an interval of other totals.
@pytest.mark.parametrize("rows", [slice(0, 0), slice(0, 1), slice(1, None)])
def test_an_interval_without_totals_is_damaged(tmp_path: Path, rows: slice) -> None:
    whole = stored_rows(intervals(2)[1])
    path = tmp_path / "skb.arrows"

    class Damaging(SkbRecorder):
        def write(self, batch: Interval) -> None:
            del batch
            self._append(whole.slice(rows.start, None if rows.stop is None else rows.stop))

    with Damaging(path, SKB_META) as recorder:
        recorder.write(intervals(1)[0])
    with Reader(path) as reader:
        if rows.stop == 0:  # an empty batch says nothing
            assert list(timed_intervals(reader)) == []
            return
        with pytest.raises(LocalityError, match="damaged"):
            list(timed_intervals(reader))
