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

from benchmarks.measure import Figure, take_turns
from locality import topology
from locality.accept import ACCEPT, WAIT_KNOWN, AcceptBatch
from locality.accept_summary import AcceptSummary
from locality.sinks.classic import ClassicAccept
from locality.sinks.csv_rows import CsvAccept
from locality.sinks.json_lines import JsonAccept
from locality.sinks.text import TextAccept

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from locality.stream import Sink

BATCH = 1_000
RECORDS = 10 * BATCH
ROUNDS = 11
CLIENTS = 500


def run(scratch: Path) -> Iterator[Figure]:  # noqa: ARG001 - others need one
    machine = topology.read()
    batches = _batches(machine.online)
    with ExitStack() as stack:
        out = stack.enter_context(open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123
        sinks: dict[str, Sink[AcceptBatch]] = {
            "classic": ClassicAccept(out),
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
    """Connections from some hundred clients to one server with a worker on each CPU."""
    chance = np.random.default_rng(2017)
    records = np.zeros(RECORDS, ACCEPT)
    worker = chance.integers(len(cpus), size=RECORDS)
    records["time"] = np.arange(RECORDS) * 50_000
    records["wait"] = chance.exponential(20_000, RECORDS)
    records["flags"] = WAIT_KNOWN
    records["cpu"] = np.array(cpus)[worker]
    records["rxcpu"] = chance.choice(cpus, RECORDS)
    records["pid"] = records["tid"] = 29_333 + worker
    records["comm"] = b"nginx"
    records["listen_fd"] = 3 + worker
    records["fd"] = chance.integers(8, 72, RECORDS)
    records["family"] = 4
    records["laddr"][:, :4] = (198, 18, 0, 1)
    records["lport"] = 8080
    client = chance.integers(CLIENTS, size=RECORDS)
    records["raddr"][:, :4] = np.stack(
        [np.full(RECORDS, 198), np.full(RECORDS, 18), 1 + client // 250, client % 250], axis=1
    )
    records["rport"] = chance.integers(1024, 65536, RECORDS)
    records["netns"] = 4_026_531_840
    return [
        AcceptBatch(records[first : first + BATCH], clock_offset=1_700_000_000 * 10**9, lost=0)
        for first in range(0, RECORDS, BATCH)
    ]
