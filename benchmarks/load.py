"""How long `locality.load` takes for ten million accepted connections, and how large they are."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.accepts import synthetic
from benchmarks.measure import Figure, Goal, take_turns
from locality.accept.batch import AcceptBatch
from locality.accept.recording import AcceptRecorder
from locality.accept.source import RUNGS
from locality.bpf.ladder import Attachment
from locality.machine import topology
from locality.recording.format import Meta
from locality.recording.frames import load

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from locality.machine.topology import Topology

ROWS = 10_000_000
#: A second at full load.
BATCH = 100_000
ROUNDS = 5


def run(scratch: Path) -> Iterator[Figure]:
    path = scratch / "accepts.arrows"
    begin = time.perf_counter()
    record(path, topology.read())
    yield Figure("record", [ROWS / (time.perf_counter() - begin) / 1000], "k rows/s")
    yield Figure("size on disk", [path.stat().st_size / ROWS], "bytes/row")

    def once() -> float:
        begin = time.perf_counter()
        assert len(load(path).accepts) == ROWS
        return time.perf_counter() - begin

    (times,) = take_turns({"load": once}, rounds=ROUNDS).values()
    yield Figure("load 10 million accepts", times, "s", Goal(high=3))


def record(path: Path, machine: Topology) -> None:
    """Write ROWS connections in batches of a second."""
    records = synthetic(BATCH, machine.online)
    nowhere = Attachment(None, RUNGS[0], (), ())  # type: ignore[arg-type] # no probe is needed
    meta = Meta.here("accept", nowhere, machine, clock_offset=0)
    with AcceptRecorder(path, meta) as recorder:
        for second in range(ROWS // BATCH):
            records["time"] = second * 10**9 + np.arange(BATCH) * 10_000
            recorder.write(AcceptBatch(records.copy(), clock_offset=0, lost=0))
