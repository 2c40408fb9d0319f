"""Recordings made up for tests, written by the real recorder, and what others are of."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from locality.accept.batch import ACCEPT, WAIT_KNOWN, AcceptBatch
from locality.accept.recording import AcceptRecorder
from locality.machine.topology import Distance
from locality.recording.format import FORMAT_VERSION, KEY, Meta, schema_of
from locality.recording.reader import Reader
from locality.skb.interval import RX, TX, Flow, Interval
from locality.skb.recording import SkbRecorder

if TYPE_CHECKING:
    from collections.abc import Sequence


STARTED = 1_790_000_000 * 10**9
CPUS = 4
LENGTH_S = 2.0

#: CPUs 0 and 1 share a cache, 2 is on another node; the last row is "no CPU".
_DISTANCES = [
    [Distance.CPU, Distance.LLC, Distance.REMOTE, Distance.UNKNOWN],
    [Distance.LLC, Distance.CPU, Distance.REMOTE, Distance.UNKNOWN],
    [Distance.REMOTE, Distance.REMOTE, Distance.CPU, Distance.UNKNOWN],
    [Distance.UNKNOWN] * 4,
]
#: No round number: as a float it would be another.
OFFSET = 1_700_000_000_123_456_789
META = Meta(
    format=FORMAT_VERSION,
    tool="0.1.0",
    host="lab",
    kernel="6.18.0",
    kind="accept",
    rung="tracepoint",
    refused=("fentry: Operation not permitted",),
    unseen="",
    filter="port 80",
    label="before",
    possible=3,
    online=(0, 1, 2),
    distances=[[int(distance) for distance in row] for row in _DISTANCES],
    clock_offset=OFFSET,
    started=OFFSET + 10**9,
)
SKB_META = replace(META, kind="skb", interval=0.5)
#: Packets, written by the version that had format 2.
FORMAT_2 = Path(__file__).parent / "skb" / "format-2.skb.arrows"


def without(path: Path, older: Path, *columns: str) -> None:
    """Write a recording as a version did that did not know these columns."""
    with pa.ipc.open_stream(path.read_bytes()) as stream, older.open("wb") as file:
        kept = [field for field in stream.schema if field.name not in columns]
        schema = pa.schema(kept, stream.schema.metadata)
        with pa.ipc.new_stream(file, schema) as out, suppress(StopIteration):
            while True:
                batch, said = stream.read_next_batch_with_custom_metadata()
                out.write_batch(batch.select(schema.names), custom_metadata=said)


def in_first_format(path: Path, older: Path) -> None:
    """Write a recording of packets as the first versions did: with a row for each pair of CPUs."""
    with Reader(path) as reader:
        said = vars(reader.meta) | {"format": 1}
        schema = schema_of(reader.meta.columns).with_metadata({KEY: json.dumps(said).encode()})
        with pa.ipc.new_stream(str(older), schema) as out:
            for rows in reader.rows():
                told = {KEY: json.dumps({"lost": reader.lost}).encode()}
                out.write_batch(rows, custom_metadata=told)


def meta(kind: str, *, host: str = "web1", label: str = "", filter_: str = "everything") -> Meta:
    """Of a machine with four CPUs, two to a last-level cache."""
    distances = np.full((CPUS + 1, CPUS + 1), Distance.UNKNOWN, np.uint8)
    distances[:CPUS, :CPUS] = Distance.NODE
    distances[:2, :2] = distances[2:CPUS, 2:CPUS] = Distance.LLC
    np.fill_diagonal(distances[:CPUS, :CPUS], Distance.CPU)
    return Meta(
        format=FORMAT_VERSION,
        tool="0",
        host=host,
        kernel="6.1.0",
        kind=kind,
        rung="fentry",
        refused=(),
        unseen="",
        filter=filter_,
        label=label,
        possible=CPUS,
        online=tuple(range(CPUS)),
        distances=distances.tolist(),
        clock_offset=STARTED,
        started=STARTED,
        interval=None if kind == "accept" else 0.1,
    )


def accepts(
    path: Path,
    count: int,
    local: float,
    *,
    seed: int = 1,
    comms: Sequence[bytes] = (b"nginx",),
    lost: int = 0,
    **about: str,
) -> Path:
    """Two seconds of so many accepts, such a part of them local; CPU = worker, named in turn."""
    draw = np.random.default_rng(seed)
    records = np.zeros(count, ACCEPT)
    records["time"] = np.sort(draw.integers(0, int(LENGTH_S * 1e9), count))
    records["cpu"] = draw.integers(0, CPUS, count)
    elsewhere = (records["cpu"] + draw.integers(1, CPUS, count)) % CPUS
    records["rxcpu"] = np.where(draw.random(count) < local, records["cpu"], elsewhere)
    records["pid"] = records["tid"] = 1000 + records["cpu"]
    records["family"] = 4
    records["comm"] = np.resize(comms, CPUS)[records["cpu"]]
    records["wait"] = draw.exponential(20_000, count)
    records["flags"] = WAIT_KNOWN
    with AcceptRecorder(path, meta("accept", **about)) as recorder:
        recorder.write(AcceptBatch(records, STARTED, lost))
    return path


def packets(
    path: Path, intervals: int, local: float, *, seen: bool = True, seed: int = 1, **about: str
) -> Path:
    """So many intervals of a thousand packets received and sent.

    Args:
        path: The recording.
        intervals: How many.
        local: The part consumed on the alloc CPU.
        seen: Whether the rung sees what is freed, and sent packets' consume CPU.
        seed: Of the noise.
        about: Of `meta`.
    """
    draw = np.random.default_rng(seed)
    with SkbRecorder(path, meta("skb", **about)) as recorder:
        for number in range(intervals):
            here = int(draw.binomial(1000, local))
            matrix = np.zeros((2, CPUS, CPUS), np.int64)
            matrix[:, 1, 1] = here
            # What was received leaves the cache, what was sent does not.
            matrix[RX, 1, 2] = matrix[TX, 1, 0] = 1000 - here
            flow = Flow(1007, here, 900 if seen else None, 50, 7)
            sent = Flow(1007, here if seen else None, 900 if seen else None, 50, 7)
            end = STARTED / 1e9 + (number + 1) * 0.1
            recorder.write(Interval(end, 0.1, "fentry", 0, flow, sent, 500, here // 2, matrix))
    return path
