"""How many accepted connections a second each output format can write.

One batch for each 50 ms of 20,000 connections/s, to /dev/null.
"""

from __future__ import annotations

import os
import time
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.accepts import synthetic
from benchmarks.measure import Figure, take_turns
from locality.accept.batch import AcceptBatch
from locality.accept.records import CsvAccept, JsonAccept
from locality.accept.summary import AcceptSummary
from locality.accept.text import ClassicAccept, TextAccept
from locality.machine import topology

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from locality.stream import Sink

BATCH = 1_000
RECORDS = 10 * BATCH
ROUNDS = 11


def run(scratch: Path) -> Iterator[Figure]:  # noqa: ARG001 - others need one
    machine = topology.read()
    batches = _batches(machine.online)
    with ExitStack() as stack:
        out = stack.enter_context(open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123
        sinks: dict[str, Sink[AcceptBatch]] = {
            "classic": ClassicAccept(out, machine),
            "text": TextAccept(out, machine),
            "json": JsonAccept(out, machine),
            "csv": CsvAccept(out, machine),
            "summary": AcceptSummary(machine),
        }

        def rate(sink: Sink[AcceptBatch]) -> float:
            begin = time.perf_counter()
            for batch in batches:
                sink.write(batch)
            return BATCH * len(batches) / (time.perf_counter() - begin) / 1000

        found = take_turns(
            {name: partial(rate, sink) for name, sink in sinks.items()}, rounds=ROUNDS
        )
    for name, values in found.items():
        yield Figure(name, values, "k events/s")


def _batches(cpus: tuple[int, ...]) -> list[AcceptBatch]:
    """The connections, 50 us apart, cut as they would be read."""
    records = synthetic(RECORDS, cpus)
    records["time"] = np.arange(RECORDS) * 50_000
    return [
        AcceptBatch(records[first : first + BATCH], clock_offset=1_700_000_000 * 10**9, lost=0)
        for first in range(0, RECORDS, BATCH)
    ]
