"""Recordings that no recorder wrote: damaged, or made to do harm. One line says so, and no more."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest

from locality.errors import LocalityError
from locality.kinds import COST, KINDS, SKB, TOP, UDP
from locality.recording.columns import MOST
from locality.recording.format import KEY, schema_of
from locality.recording.frames import load
from locality.recording.message import next_batch_grows
from locality.recording.reader import Reader
from locality.skb.interval import Flow, Interval
from locality.skb.packing import pack
from locality.skb.stored import COUNTS, PLACES, TOTALS
from tests.unit import udp_intervals
from tests.unit.cost import made_up as cost_made_up
from tests.unit.recordings import CPUS, FORMAT_2, SKB_META, accepts, packets
from tests.unit.top import made_up as top_made_up

if TYPE_CHECKING:
    from pathlib import Path

    from locality.kinds import Kind

#: A row of packets in memory, at least.
BYTES_OF_A_ROW = 80
NUMBERS = {"uint8", "uint16", "uint32", "int32", "int64"}


def rewritten(path: Path, changes: dict[str, Any]) -> None:
    """Write a recording again with other metadata."""
    with pa.OSFile(str(path)) as file:
        reader = pa.ipc.open_stream(file)
        said = json.loads(reader.schema.metadata[KEY])
        batches = []
        try:
            while True:
                batches.append(reader.read_next_batch_with_custom_metadata())
        except StopIteration:
            pass
    said |= changes
    schema = reader.schema.with_metadata({KEY: json.dumps(said).encode()})
    with pa.ipc.new_stream(str(path), schema) as writer:
        for batch, custom in batches:
            writer.write_batch(batch, custom_metadata=custom)


def recorded(path: Path, kind: str) -> Path:
    """A recording made by the real recorder."""
    if kind == "accept":
        return accepts(path, 8, 0.5)
    return packets(path, 2, 0.5)


# Bugs: an infinity, a negative number, one of a thousand digits, text where a number belongs or a
# number where text does, is a traceback; CPUs that no machine has ask for gigabytes.
@pytest.mark.parametrize(
    "changes",
    [
        {"format": math.inf},
        {"format": 1.5},
        {"format": True},
        {"possible": 10**30},
        {"possible": 0},
        {"possible": -1},
        {"possible": "4"},
        {"started": math.nan},
        {"started": -1},
        {"started": 1 << 63},
        {"clock_offset": 1 << 64},
        {"clock_offset": None},
        {"online": [99]},
        {"online": 3},
        {"online": []},
        {"interval": math.inf},
        {"interval": 0},
        {"interval": "soon"},
        {"distances": [[0]]},
        {"distances": [[0, 1], [2]]},
        {"distances": 5},
        {"kind": "spread"},
        {"kind": ["accept"]},
        {"refused": 7},
    ],
    ids=str,
)
def test_damaged_metadata_are_one_line(tmp_path: Path, changes: dict[str, Any]) -> None:
    path = recorded(tmp_path / "x.arrows", "accept")
    rewritten(path, changes)
    with pytest.raises(LocalityError, match="damaged"):
        load(path)


# Bug: a recording that says that it ended in a time of four hundred digits, or lost less than
# nothing, ends `locality report` with a traceback.
@pytest.mark.parametrize("said", [{"ended": 10**400}, {"lost": -1}, {"count": 1.5}], ids=str)
def test_a_damaged_end_is_none(tmp_path: Path, said: dict[str, Any]) -> None:
    path = tmp_path / "x.arrows"
    with Reader(recorded(tmp_path / "real", "accept")) as reader:
        batch = next(iter(reader))
        schema = batch.schema.with_metadata(reader.schema.metadata)
    told = {"lost": 0, "ended": 1, "count": 8} | said
    with pa.ipc.new_stream(str(path), schema) as writer:
        writer.write_batch(batch, custom_metadata={KEY: b'{"lost": 0}'})
        writer.write_batch(batch.slice(0, 0), custom_metadata={KEY: json.dumps(told).encode()})
    recording = load(path)
    assert len(recording.accepts) == len(batch)
    assert (recording.lost, recording.meta.ended) == (0, None)
    assert recording.torn


# Bug: JSON of ten thousand brackets ends Python's reader with a RecursionError.
def test_metadata_nested_too_deeply(tmp_path: Path) -> None:
    schema = schema_of(KINDS["accept"].columns.get()).with_metadata({KEY: b"[" * 100_000})
    with pa.ipc.new_stream(str(tmp_path / "x"), schema):
        pass
    with pytest.raises(LocalityError, match="damaged"):
        Reader(tmp_path / "x")


def values(kind: str, tmp_path: Path) -> tuple[pa.Schema, list[dict[str, Any]]]:
    """The first rows of a real recording; of packets, also as the first format has them."""
    with Reader(recorded(tmp_path / "real", kind.partition(" ")[0])) as reader:
        batch = next(reader.rows() if kind == "skb format 1" else iter(reader))
        return batch.schema.with_metadata(reader.schema.metadata), batch.to_pylist()


def hostile() -> list[tuple[str, str, Any]]:
    """Every number of every kind beyond its range, and nothing where something must be."""
    cases: list[tuple[str, str, Any]] = []
    for kind, columns in (
        ("accept", KINDS["accept"].columns.get()),
        ("skb", TOTALS),
        ("skb format 1", KINDS["skb"].columns.get()),
    ):
        for column in columns:
            if not column.may_be_null():
                cases.append((kind, column.name, None))
            if column.type in NUMBERS and not column.type.startswith("u"):
                cases.append((kind, column.name, column.least - 1))
            if column.is_cpu:
                cases.append((kind, column.name, 10_000))
            if column.most is not None and column.type == "int64":
                cases.append((kind, column.name, column.most + 1))
            if column.type == "float64":
                cases += [(kind, column.name, value) for value in (0.0, math.inf, math.nan, -1.0)]
    return cases


# Bugs: a traceback; memory beyond a matrix is written to; a sum wraps round; a share of nothing.
@pytest.mark.parametrize(("kind", "column", "value"), hostile())
def test_a_value_that_no_recorder_writes(
    tmp_path: Path, kind: str, column: str, value: object
) -> None:
    schema, rows = values(kind, tmp_path)
    rows[0][column] = value
    path = tmp_path / "x.arrows"
    batch = pa.RecordBatch.from_pylist(rows, schema=schema)
    with pa.ipc.new_stream(str(path), schema) as writer:
        writer.write_batch(batch, custom_metadata={KEY: b'{"lost": 0}'})
    with pytest.raises(LocalityError, match="damaged"):
        load(path)
    with Reader(path) as reader, pytest.raises(LocalityError, match="damaged"):
        list(reader)


def require_damaged(path: Path, rows: list[dict[str, Any]], schema: pa.Schema) -> None:
    """Write a batch of these rows, and read it."""
    with pa.ipc.new_stream(str(path), schema) as writer:
        changed = pa.RecordBatch.from_pylist(rows, schema=schema)
        writer.write_batch(changed, custom_metadata={KEY: b'{"lost": 0}'})
    with pytest.raises(LocalityError, match="damaged"):
        load(path)
    with Reader(path) as reader, pytest.raises(LocalityError, match="damaged"):
        list(reader)


# Bugs: a pair of CPUs of another machine, or one that stands there twice, is written to memory
# beyond the matrix; places wrap round; a pair without packets; an interval without its pairs.
@pytest.mark.parametrize(
    "pairs",
    [
        None,
        [None],
        [{"step": 0}],
        [{}, {"step": 0}],
        [{"step": CPUS**2 + 1}],
        [{"step": CPUS}] * (CPUS + 1),
        [{"step_8": 2**32 - 1}] * 3,
        [{"packets": 0}],
        [{"packets_24": 2**32 - 1}],
        [{"packets": None}],
    ],
    ids=str,
)
def test_pairs_of_format_2_that_no_recorder_writes(
    tmp_path: Path, pairs: list[dict[str, int | None] | None] | None
) -> None:
    with Reader(FORMAT_2) as reader:
        batch = next(iter(reader))
        schema = batch.schema.with_metadata(reader.schema.metadata)
    rows = batch.to_pylist()
    one: dict[str, int | None] = {
        "step": 1,
        "step_8": 0,
        "packets": 1,
        "packets_8": 0,
        "packets_24": 0,
    }
    rows[1]["pairs"] = pairs and [pair if pair is None else one | pair for pair in pairs]
    require_damaged(tmp_path / "x.arrows", rows, schema)


def listed(*steps: int, length: int | None = None) -> bytes:
    """Places of pairs, as a recorder writes them; the length may be another one."""
    many = len(steps) if length is None else length
    return many.to_bytes(4, "little") + pack(np.array(steps, np.int64))


def counts(*packets: int) -> bytes:
    return pack(np.array(packets, np.int64))


# Bugs: as above; a length that is beyond the machine takes gigabytes; a list that is shorter than
# the other one is read beyond its end.
@pytest.mark.parametrize(
    ("places", "packets"),
    [
        (None, counts(1)),
        (listed(1), None),
        (listed(0), counts(1)),
        (listed(1, 0), counts(1, 1)),
        (listed(CPUS**2 + 1), counts(1)),
        (listed(*[CPUS] * (CPUS + 1)), counts(*[1] * (CPUS + 1))),
        (listed(MOST, MOST, MOST), counts(1, 1, 1)),
        (listed(1), counts(0)),
        (listed(1), counts(MOST + 1)),
        (listed(1), counts(1, 1)),
        (listed(1, 1), counts(1)),
        (listed(1, length=2), counts(1, 1)),
        (listed(*[1] * 17), counts(*[1] * 17)),
        ((1 << 31).to_bytes(4, "little") + bytes(100), counts(1)),
        (listed(1)[:3], counts(1)),
        (b"", b""),
        (b"", counts(*[1] * (CPUS**2 - 2))),
        (b"", counts(*[1] * (CPUS**2 + 1))),
        (b"", counts(*[MOST + 1] * CPUS**2)),
    ],
    ids=str,
)
def test_pairs_that_no_recorder_writes(
    tmp_path: Path, places: bytes | None, packets: bytes | None
) -> None:
    with Reader(recorded(tmp_path / "real", "skb")) as reader:
        batch = next(iter(reader))
        schema = batch.schema.with_metadata(reader.schema.metadata)
    rows = batch.to_pylist()
    rows[1] |= {PLACES: places, COUNTS: packets}
    require_damaged(tmp_path / "x.arrows", rows, schema)


# Bug: some kilobytes of zeros, compressed, take gigabytes of memory before anything is checked.
def test_a_batch_that_grows_without_measure(tmp_path: Path) -> None:
    schema = schema_of(KINDS["skb"].columns.get()).with_metadata(SKB_META.schema().metadata)
    rows = 3_000_000
    arrays = [
        pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, "i1")), pa.array(["rx"]))
        if pa.types.is_dictionary(field.type)
        else pa.array(np.zeros(rows, "i8")).cast(field.type)
        for field in schema
    ]
    path = tmp_path / "bomb.arrows"
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    batch = pa.RecordBatch.from_arrays(arrays, schema=schema)
    with pa.ipc.new_stream(str(path), schema, options=options) as writer:
        writer.write_batch(batch, custom_metadata={KEY: b'{"lost": 0}'})
    del batch, arrays
    script = """
import sys
from pathlib import Path
from locality.errors import LocalityError
from locality.recording.reader import Reader
try:
    print(sum(len(batch) for batch in Reader(Path(sys.argv[1]))))
except LocalityError as error:
    print(error)
(peak,) = (line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(peak.split()[1])
"""
    command = [sys.executable, "-c", script, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    said, memory = done.stdout.splitlines()
    assert "damaged" in said
    assert int(memory) * 1024 < rows * BYTES_OF_A_ROW


# Bug: the bound is derived from what the file says of itself, and not from what is there.
def test_the_size_of_a_batch_is_what_arrow_makes_of_it(tmp_path: Path) -> None:
    path = recorded(tmp_path / "x.arrows", "skb")
    descriptor = os.open(path, os.O_RDONLY)
    with pa.OSFile(str(path)) as file:
        reader = pa.ipc.open_stream(file)
        while True:
            stored, grown = next_batch_grows(descriptor, file.tell())
            before = file.tell()
            try:
                batch = reader.read_next_batch()
            except StopIteration:
                break
            whole = batch.nbytes
            # Padding of each buffer is all that may differ.
            assert abs(grown - whole) <= 64 * len(batch.columns) or not len(batch)
            assert 0 <= stored <= file.tell() - before
    os.close(descriptor)


# Bugs: a FIFO under the name of a recording holds the program up until it is killed; a device is
# read for ever.
def test_what_is_no_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "fifo", tmp_path, "/dev/zero"):
        with pytest.raises(LocalityError, match="no regular file"):
            load(path)


# Bug: a recording whose name is no UTF-8 cannot be read.
def test_a_name_of_any_bytes(tmp_path: Path) -> None:
    odd = tmp_path / os.fsdecode(b"caf\xe9\x1b.arrows")
    recorded(tmp_path / "x.arrows", "accept").rename(odd)
    assert len(load(odd).accepts) == 8


FLOW = Flow(packets=4, local=2, freed_local=2, deferred=0, unknown=0)


# Bug: what a recording calls its probe type reaches the terminal as escape sequences, or a
# spreadsheet as a formula.
@pytest.mark.parametrize(
    ("kind", "seen"),
    [
        (SKB, Interval(1.0, 1.0, "fentry", 0, FLOW, FLOW, 1, 1, np.ones((2, 2, 2), "i8"))),
        (UDP, udp_intervals.interval(udp_intervals.sockets(1))),
        (TOP, top_made_up.interval(top_made_up.reader(1, cpu=1))),
        (COST, cost_made_up.interval((cost_made_up.reader(1), [cost_made_up.Times(100, 1)]))),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_a_hostile_probe_type(kind: Kind, seen: Any) -> None:  # noqa: ANN401 - each kind's own
    hostile = replace(seen, rung="=\x1b[2J\n")
    machine = SKB_META.machine
    summary = kind.summary.get()(machine)
    summary.write(hostile)
    out = io.StringIO()
    kind.outputs["csv"].get()(out, machine).write(hostile)
    assert [row["rung"] for row in csv.DictReader(io.StringIO(out.getvalue()))] == ["'=\\x1b[2J\\n"]
    assert "\x1b" not in out.getvalue() + "".join(kind.summary_lines.get()(summary))
