"""Connections as JSON, CSV, lines and a summary."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console

from locality.accept.columns import NAMES as ACCEPT_NAMES
from locality.connections.batch import CONNECTION
from locality.connections.columns import NAMES
from locality.connections.dashboard import ConnectionDashboard
from locality.connections.recording import ConnectionRecorder
from locality.connections.records import CsvConnections, JsonConnections
from locality.connections.summary import ConnectionSummary
from locality.connections.text import MOST_READERS, TextConnections, summary_lines
from locality.dashboard.screen import Header
from locality.report import write_report
from tests.unit.connections.made_up import batch, connections
from tests.unit.recordings import META, OFFSET

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from locality.accept.batch import Records

MACHINE = replace(META).machine
OWN_NAMES = [
    *("lifetime_ns", "end", "received", "sent", "retransmits", "rtt_ns", "reads", "local_reads"),
    *("read", "reader_pid", "reader_tid", "reader_comm", "reader_cpu", "reader_rxcpu"),
    *("read_after_ns", "read_wait_ns"),
]


def example() -> Records:
    """One connection that was read, and one that was not."""
    records = np.zeros(2, CONNECTION)
    accepts = records["accept"]
    accepts["time"], accepts["comm"], accepts["family"] = 2_000_000_000, b"acceptor", 4
    accepts["pid"], accepts["tid"] = 100, 100
    accepts["cgroup"] = [4711, 4712]
    accepts["raddr"][:, :4], accepts["rport"] = [192, 0, 2, 7], 54321
    records["ended"] = 3_200_000_000
    one = records[0]
    one["received"], one["sent"], one["retransmits"], one["srtt"] = 79, 850, 2, 361
    one["reads"], one["local_reads"], one["read"] = 8, 7, 79
    one["reader_pid"], one["reader_tid"], one["reader_comm"] = 100, 101, b"reader"
    one["reader_cpu"], one["reader_rxcpu"], one["end"] = 1, 0, 1
    one["first_read"], one["last_packet"] = 2_000_012_300, 2_000_002_000
    return records


def printed(make: type[JsonConnections | CsvConnections | TextConnections]) -> str:
    out = io.StringIO()
    make(out, MACHINE).write(batch(example()))
    return out.getvalue()


# Bugs: a column renamed, dropped or moved; the accept's columns differ from those of locality
# accept; a figure in another unit; no first read given as one by thread 0.
def test_json() -> None:
    first, second = map(json.loads, printed(JsonConnections).splitlines())
    assert [*first] == [*second] == [*NAMES] == [*ACCEPT_NAMES[:-2], *OWN_NAMES, *ACCEPT_NAMES[-2:]]
    assert (first["cgroup"], first["cgroup_path"]) == (4711, "/web.slice")
    assert first["time"] == (2_000_000_000 + OFFSET) / 1e9
    assert {name: first[name] for name in OWN_NAMES} == {
        "lifetime_ns": 1_200_000_000,
        "end": "server",
        "received": 79,
        "sent": 850,
        "retransmits": 2,
        "rtt_ns": 45_125,
        "reads": 8,
        "local_reads": 7,
        "read": 79,
        "reader_pid": 100,
        "reader_tid": 101,
        "reader_comm": "reader",
        "reader_cpu": 1,
        "reader_rxcpu": 0,
        "read_after_ns": 12_300,
        "read_wait_ns": 10_300,
    }
    unread = {name for name in NAMES if second[name] is None}
    assert unread == {
        *("wait_ns", "rtt_ns", "reader_pid", "reader_tid", "reader_cpu", "reader_rxcpu"),
        *("read_after_ns", "read_wait_ns", "cgroup_path"),
    }


# Bug: the two formats drift apart.
def test_csv_has_the_same_columns_and_values() -> None:
    header, *rows = csv.reader(io.StringIO(printed(CsvConnections)))
    assert header == [*NAMES]
    objects = map(json.loads, printed(JsonConnections).splitlines())
    assert rows == [
        ["" if value is None else str(value) for value in one.values()] for one in objects
    ]


# Bug: a field swapped with its neighbour; a connection that was not read has a reader.
def test_lines() -> None:
    *heading, first, second = printed(TextConnections).splitlines()
    assert max(map(len, heading)) <= 80
    assert re.match(r"\d\d:\d\d:\d\d ", first)
    assert first[9:] == (
        "192.0.2.7:54321 1.2s server 79/850B rtt=45.1us retransmits=2 reads=8 local=87.5% "
        "reader/100/101 cpu=1 12.3us"
    )
    assert second[9:] == "192.0.2.7:54321 1.2s client 0/0B rtt=? retransmits=0 reads=0"


# Bugs: a part of the records is left out of a sum; connections that were never read count as handed
# off; a loss for want of room is not told from others.
def test_a_known_summary() -> None:
    summary = ConnectionSummary(MACHINE)
    summary.write(batch(example(), lost=5, unplaced=4, still_open=3))
    summary.write(batch(example()[:1], lost=6, unplaced=4, still_open=2))
    lines = [*summary_lines(summary)]
    assert lines[:5] == [
        "3 ended, 2 still open, 6 lost",
        "4 of the lost found the table full: give a larger --table",
        "closed first by the client 1, by the server 2; reset 0",
        "received 158 bytes, sent 1700 bytes, 4 retransmits",
        "lifetime: median 1.2s, p99 1.2s",
    ]
    assert lines[5] == "16 reads, 87.50% on the RX CPU"
    assert "first read by another thread than the accept: 100.0% of 2" in lines
    assert lines[-1].split() == ["reader", "100/101", "2", "16", "87.5%"]
    assert max(map(len, lines)) <= 80


# Bug: nothing ended, or nothing was read, and a share of nothing is a traceback.
def test_summaries_of_nothing() -> None:
    summary = ConnectionSummary(MACHINE)
    summary.write(batch(connections(0), still_open=2))
    assert [*summary_lines(summary)] == ["0 ended, 2 still open, 0 lost"]
    summary.write(batch(example()[1:]))
    assert [*summary_lines(summary)][-1] == "nothing was read"


# Bug: a server with a thread a connection floods the terminal at the end.
def test_many_readers() -> None:
    records = connections(3 * MOST_READERS)
    records["reader_tid"] *= np.arange(len(records), dtype=np.uint32)
    summary = ConnectionSummary(MACHINE)
    summary.write(batch(records))
    lines = [*summary_lines(summary)]
    assert lines[-1] == f"… and {len(summary.readers) - MOST_READERS} more"


# Bugs: a server with a thread a connection fills the memory; what is not kept any more is lost.
def test_readers_of_long_ago_are_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("locality.summary.MOST_KEPT", 4)
    records = connections(60)
    records["reader_tid"] = np.arange(1, 61) * (records["reads"] > 0)
    summary = ConnectionSummary(MACHINE)
    for first in range(0, 60, 3):
        summary.write(batch(records[first : first + 3]))
    assert len(summary.readers) <= 8
    kept = sum(reader.connections for reader in summary.readers.values())
    assert summary.earlier + kept == summary.read == 40
    assert [*summary_lines(summary)][-1] == (
        f"others, that were not the first reader for longest: {summary.earlier} connections"
    )


# Bugs: the dashboard shows nothing, or goes on drawing what has not changed.
def test_the_dashboard() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=100, height=30)
    header = Header("host", "6.1.0", "kprobe", "port 80")
    with ConnectionDashboard(MACHINE, header, console) as dashboard:
        dashboard.write(batch(connections(0)))
        first = "".join(part.text for part in console.render(dashboard))
        dashboard.write(batch(example(), still_open=3))
        second = "".join(part.text for part in console.render(dashboard))
    assert "no connection has ended yet" in first
    for text in ("2 ended, 3 still open, 0 lost", "local 87.5%", "reader", "100/101"):
        assert text in second


# Bug: the report knows nothing of the kind, or fails where nothing was read.
def test_the_report(tmp_path: Path) -> None:
    paths = []
    for name, records in (
        ("before", connections(90)),
        ("after", connections(120)),
        ("x", example()[1:]),
    ):
        paths.append(tmp_path / f"{name}.arrows")
        with ConnectionRecorder(paths[-1], replace(META, kind="connections", label="")) as recorder:
            recorder.write(batch(records, lost=2))
    for number, some in enumerate([paths[:2], paths[2:]]):
        out = tmp_path / f"{number}.md"
        write_report(some, out, format="md")
        text = out.read_text()
        assert "2 connections lost" in text
        assert ("90 connections ended" in text) == (number == 0)
        assert ("Before and after: reads" in text) == (number == 0)
