"""Recordings of connections: replay is what was recorded; what no recorder writes is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pytest

from locality.connections.batch import CONNECTION
from locality.connections.recording import (
    ConnectionRecorder,
    connection_rows,
    require,
    timed_connections,
)
from locality.errors import LocalityError
from locality.recording.frames import load
from locality.recording.reader import Reader
from tests.unit.connections.made_up import batch, connections
from tests.unit.recordings import META

if TYPE_CHECKING:
    from pathlib import Path

    from locality.accept.batch import Records

CONNECTIONS_META = replace(META, kind="connections")


def recorded(path: Path, *parts: Records) -> Path:
    with ConnectionRecorder(path, CONNECTIONS_META) as recorder:
        for number, records in enumerate(parts, 1):
            recorder.write(batch(records, lost=number, unplaced=number, still_open=10 - number))
            recorder._flush()  # noqa: SLF001 - what a second would do
    return path


# Bugs: a field that the sinks print differs from the live run; a first read that was not made
# comes back as one at the start of the clock; how many were open at the end is forgotten.
def test_connections_come_back_exactly(tmp_path: Path) -> None:
    known = [connections(7), connections(100), connections(0)]
    with Reader(recorded(tmp_path / "one.arrows", *known)) as reader:
        found = [some for _, some in timed_connections(reader)]
    assert np.concatenate([some.records for some in found]).tobytes() == (
        np.concatenate(known).tobytes()
    )
    assert [(some.lost, some.unplaced, some.still_open) for some in found] == [
        (1, 1, 9),
        (2, 2, 8),
        (3, 3, 7),
    ]


# Bug: a replay shows connections when they were accepted, not when they ended.
def test_they_come_when_they_ended(tmp_path: Path) -> None:
    records = connections(2)
    records["accept"]["time"] = 10**9
    records["ended"] = [10**9 + 10**8, 10**9 + 5 * 10**8]
    with Reader(recorded(tmp_path / "one.arrows", records)) as reader:
        came = [due for due, some in timed_connections(reader, 1.0) if len(some)]
    assert came == pytest.approx([0.1, 0.5], abs=0.051)


# Bug: what was not seen is a number in the DataFrame.
def test_the_frame(tmp_path: Path) -> None:
    frame = load(recorded(tmp_path / "one.arrows", connections(9))).connections
    unread = frame["reads"] == 0
    assert unread.sum() == 3
    for name in ("reader_pid", "reader_tid", "reader_cpu", "read_after_ns", "read_wait_ns"):
        assert (frame[name].isna() == unread).all()
    assert set(frame.loc[unread, "reader_comm"]) == {""}
    assert set(frame.loc[~unread, "reader_comm"]) == {"reads"}
    assert set(frame["end"]) <= {"client", "server", "reset"}


# Bug: a damaged recording becomes a traceback, or a connection with half of a first read.
def test_what_no_recorder_writes_is_damaged() -> None:
    rows = connection_rows(connections(6), CONNECTIONS_META, {})
    require(rows)
    place = rows.schema.get_field_index("reader_cpu")
    cut = rows.set_column(place, rows.schema.field(place), pa.nulls(6, pa.int32()))
    with pytest.raises(LocalityError, match="a first read is not complete"):
        require(cut)
    place = rows.schema.get_field_index("end")
    word = pa.DictionaryArray.from_arrays(pa.array([0] * 6, pa.int8()), pa.array(["never"]))
    with pytest.raises(LocalityError, match="ended in no known way"):
        require(rows.set_column(place, rows.schema.field(place), word))


# Bug: nothing has ended, and the recording or its frame breaks.
def test_no_connection(tmp_path: Path) -> None:
    path = recorded(tmp_path / "one.arrows", np.zeros(0, CONNECTION))
    assert len(load(path).connections) == 0
    with Reader(path) as reader:
        assert [len(some) for _, some in timed_connections(reader, 1.0)] == [0]
