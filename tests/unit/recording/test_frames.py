"""DataFrames of some columns, or piece by piece; and what whole ones will take."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd
import pytest

import locality
from locality.accept.recording import AcceptRecorder
from locality.errors import LocalityError
from locality.kinds import KINDS
from locality.recording import size
from locality.recording.info import Info
from locality.recording.reader import Reader
from locality.recording.size import frames_size
from tests.unit.recording.test_writer import accepts, record
from tests.unit.recordings import META, packets, without

if TYPE_CHECKING:
    from pathlib import Path


# Bugs: a column is that of another name, or not in the frame; a name is bytes, as in the file.
def test_some_columns(tmp_path: Path) -> None:
    path = tmp_path / "a.arrows"
    record(path, accepts(40), accepts(90)[40:])
    whole = locality.load(path).accepts
    some = locality.load(path, columns=["wait_ns", "comm", "raddr", "time"]).accepts
    # In the order that is documented.
    assert list(some) == ["time", "comm", "raddr", "wait_ns"]
    pd.testing.assert_frame_equal(some, whole[list(some)])
    one = locality.load(path, columns=["cgroup_path"]).accepts
    pd.testing.assert_frame_equal(one, whole[["cgroup_path"]])


# Bug: columns that an older version did not record bring all others with them.
def test_columns_that_are_not_in_the_file(tmp_path: Path) -> None:
    path, older = tmp_path / "a.arrows", tmp_path / "older.arrows"
    record(path, accepts(7))
    without(path, older, "cgroup", "cgroup_path")
    frame = locality.load(older, columns=["cgroup_path", "cgroup"]).accepts
    assert list(frame) == ["cgroup", "cgroup_path"]
    assert frame.cgroup.tolist() == [0] * 7
    assert frame.cgroup_path.isna().all()


# Bugs: a recording of nothing has other columns; a misspelt name is left out in silence.
def test_columns_that_are_not_there(tmp_path: Path) -> None:
    path = tmp_path / "a.arrows"
    record(path)
    assert locality.load(path, columns=["cpu"]).accepts.empty
    for columns in (["cpu", "nosuch"], []):
        with pytest.raises(LocalityError, match="it has time, cpu, rxcpu"):
            locality.load(path, columns=columns)
    with pytest.raises(LocalityError, match="rows are events"):
        locality.load(packets(tmp_path / "s.arrows", 1, 0.5), columns=["packets"])


# Bugs: a row is lost or there twice where pieces meet; the end of the recording is not that of the
# last piece; a recording of nothing gives no piece, so that its frames are not to be had.
@pytest.mark.parametrize("rows", [1, 45, 90, 1000])
def test_pieces_make_the_whole(tmp_path: Path, rows: int) -> None:
    path = tmp_path / "a.arrows"
    record(path, accepts(40), accepts(50)[40:], accepts(90)[50:], lost=3)
    whole = locality.load(path)
    pieces = list(locality.load_chunks(path, rows=rows, columns=["tid", "cpu"]))
    tids = [tid for piece in pieces for tid in piece.accepts.tid]
    assert tids == whole.accepts.tid.tolist()
    assert all(len(piece.accepts) >= rows for piece in pieces[:-1])
    assert len(pieces) == {1: 3, 45: 2, 90: 1, 1000: 1}[rows]
    assert (pieces[-1].meta, pieces[-1].lost) == (whole.meta, 3)
    record(tmp_path / "nothing.arrows")
    (piece,) = locality.load_chunks(tmp_path / "nothing.arrows")
    assert piece.accepts.empty
    intervals = packets(tmp_path / "s.arrows", 5, 0.5)
    totals = [piece.skb_totals for piece in locality.load_chunks(intervals, rows=1)]
    assert [len(one) for one in totals] == [2] * 5


# Bug: frames that do not fit end the program, or the machine's other ones, instead of a message.
def test_frames_that_do_not_fit_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.arrows"
    record(path, accepts(90))
    memory = tmp_path / "meminfo"
    memory.write_text("MemTotal: 900000 kB\nMemAvailable: 16 kB\n")
    monkeypatch.setattr(size, "MEMORY", memory)
    with pytest.raises(LocalityError, match=r"16 kB of memory are available. Use .*load_chunks"):
        locality.load(path)
    assert len(locality.load(path, columns=["cpu"]).accepts) == 90
    # Of packets it is known when they are read.
    many = packets(tmp_path / "s.arrows", 200, 0.5)
    with pytest.raises(LocalityError, match=r"first \d+% of it take .* 16 kB of memory"):
        locality.load(many)
    memory.write_text("MemAvailable: 16000 kB\n")
    assert len(locality.load(path).accepts) == 90
    assert len(locality.load(many).skb_totals) == 400


# Bugs: rows of pairs are counted as intervals, so that what takes gigabytes is said to take none;
# columns of other rows are counted, too.
def test_what_frames_take(tmp_path: Path) -> None:
    path = tmp_path / "a.arrows"
    with AcceptRecorder(path, META):
        pass
    record(tmp_path / "b.arrows", accepts(5000))
    frame = locality.load(tmp_path / "b.arrows").accepts
    with Reader(tmp_path / "b.arrows") as reader:
        found = frames_size(KINDS["accept"], Info(reader).rows)
    assert found is not None
    assert found.rows == 5000
    # Few categories take less than the four bytes that many take.
    assert 0.7 * found.bytes < frame.memory_usage(index=False).sum() <= found.bytes * 1.1
    intervals = packets(tmp_path / "s.arrows", 5, 0.5)
    with Reader(intervals) as reader:
        found = frames_size(KINDS["skb"], Info(reader).rows)
    assert found is not None
    assert found.rows == 5 * 2 * (1 + 2)
    assert frames_size(KINDS["udp"], 100) is None
