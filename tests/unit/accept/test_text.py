"""Readable lines and summaries."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from locality.accept.batch import ACCEPT, WAIT_KNOWN, AcceptBatch
from locality.accept.summary import AcceptSummary
from locality.accept.text import MOST_WORKERS, TextAccept, summary_lines
from locality.machine.topology import Distance, Topology
from locality.recording.byte_lines import MANY
from locality.skb.interval import Flow, Interval
from locality.skb.text import TextSkb
from locality.skb.text import summary_lines as skb_summary_lines
from locality.summary import Summary
from locality.text import PAGE, WIDEST_MATRIX, duration, percent, printable, share

WIDTH = 80
HOSTILE = [
    b"<script>",
    b"[red]x[/red]",
    b"\x1b[31mred",
    b"a\nb",
    b"\xff\xfe",
    b"\r\x08",
    b"\xc2\x9b31m",
]


def machine(cpus: int) -> Topology:
    distances = np.full((cpus + 1, cpus + 1), Distance.NODE, np.uint8)
    np.fill_diagonal(distances, Distance.CPU)
    distances[cpus, :] = distances[:, cpus] = Distance.UNKNOWN
    return Topology(cpus, tuple(range(cpus)), distances)


def batch(count: int = 1, **fields: Any) -> AcceptBatch:  # noqa: ANN401 - any value of a record
    """Connections that are alike, or differ in a field given as a list."""
    records = np.zeros(count, ACCEPT)
    ordinary = {"comm": b"nginx", "pid": 29333, "family": 4, "listen_fd": 6, "fd": 30}
    for name, value in {**ordinary, **fields}.items():
        records[name] = value
    return AcceptBatch(records, clock_offset=1_700_000_000_000_000_000, lost=0)


def address(*values: int) -> list[int]:
    return [*values, *[0] * (16 - len(values))]


def text_of(connections: AcceptBatch, cpus: int = 32) -> str:
    raw = io.BytesIO()
    out = io.TextIOWrapper(raw, encoding="utf-8", newline="")
    TextAccept(out, machine(cpus)).write(connections)
    heading, arrived = raw.getvalue().decode().split("\n", 1)
    out.detach()
    assert len(heading) <= WIDTH
    return arrived


# Bugs: a field swapped with its neighbour (fd and listening fd, local and remote port); a line
# that stays in the buffer.
def test_an_accept_line() -> None:
    line = text_of(
        batch(
            cpu=12,
            rxcpu=19,
            raddr=address(10, 0, 0, 2),
            rport=54321,
            lport=80,
            wait=132_400,
            flags=WAIT_KNOWN,
        )
    )
    assert re.fullmatch(r"\d\d:\d\d:\d\d .*\n", line)
    assert line[9:] == "cpu=12 rxcpu=19 node   nginx/29333 6->30 10.0.0.2:54321 132.4us\n"


# Bug: the threads of one process cannot be told apart, or every process is said to be a thread.
def test_a_thread_is_named_where_it_is_not_the_main_one() -> None:
    assert " nginx/29333 6->30 " in text_of(batch(tid=29333))
    assert " nginx/29333/29340 6->30 " in text_of(batch(tid=29340))


# Bugs: the CPU's own number is called a distance; no RX CPU reads as local; an IPv6 address runs
# into its port; a wait that is not known is printed as 0.
@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"cpu": 3, "rxcpu": 3}, "rxcpu=3 local "),
        ({"cpu": 3, "rxcpu": -1}, "rxcpu=-1 unknown "),
        ({"wait": 5}, " ?\n"),
        ({"wait": 5, "flags": WAIT_KNOWN}, " 5ns\n"),
        ({"family": 6, "raddr": [*[0] * 15, 1], "rport": 443}, " [::1]:443 "),
    ],
)
def test_a_detail_of_a_line(fields: dict[str, Any], expected: str) -> None:
    assert expected in text_of(batch(**fields))


# Bug: an ordinary line wraps in an ordinary terminal and the columns are lost.
def test_ordinary_lines_fit_80_columns() -> None:
    connections = batch(
        cpu=31, rxcpu=19, raddr=address(10, 11, 12, 13), rport=65535, wait=1, flags=WAIT_KNOWN
    )
    for wait in (999, 999_000, 999_000_000):
        connections.records["wait"] = wait
        assert len(text_of(connections).rstrip("\n")) <= WIDTH


# Bugs: many lines at once differ from those of a few: a time is rounded the other way where it lies
# half way, a thread is left out, an address of the other IP version, a name with an escape.
@pytest.mark.parametrize("seed", range(4))
def test_many_lines_are_those_of_few(seed: int) -> None:
    chance = np.random.default_rng(seed)
    count = 3 * MANY
    records = np.zeros(count, ACCEPT)
    for name in ("cpu", "pid", "listen_fd", "fd", "rport"):
        records[name] = chance.integers(0, 2, count) * chance.integers(0, 1 << 15, count)
    records["cpu"] %= 2
    records["rxcpu"] = chance.integers(-1, 2, count)
    records["tid"] = records["pid"] * chance.integers(0, 2, count) + chance.integers(
        0, seed + 1, count
    )
    records["time"] = np.sort(chance.integers(0, 3 * 10**9, count))
    records["wait"] = 10 ** chance.uniform(0, 18, count)
    records["wait"][::2] = chance.integers(0, 40_000, len(records[::2])) * 50
    records["flags"] = chance.integers(0, 2, count) if seed % 2 else WAIT_KNOWN
    records["family"] = chance.choice([4, 6], count) if seed > 1 else 4
    records["raddr"] = chance.integers(0, 256, (count, 16))
    records["comm"] = chance.choice([b"nginx", b"a\x1bb", b"\xffhead", b""], count)
    whole, single = io.StringIO(), io.StringIO()
    TextAccept(whole, machine(2)).write(AcceptBatch(records, 10**18 + 7, 0))
    few = TextAccept(single, machine(2))
    for first in range(0, count, 7):
        few.write(AcceptBatch(records[first : first + 7], 10**18 + 7, 0))
    assert whole.getvalue() == single.getvalue()


# Bug: a process paints the terminal, or forges a line, by what it calls itself.
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_cannot_act(name: bytes) -> None:
    line = text_of(batch(comm=name))
    assert line.endswith("\n")
    assert line[:-1].isprintable()
    assert f" {printable(name)}/29333 " in line
    summary = AcceptSummary(machine(2))
    summary.write(batch(comm=name))
    assert all(line.isprintable() for line in summary_lines(summary))


# Bug: text that needs no escape is changed, or two different names look the same by accident.
@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"nginx: worker", "nginx: worker"),
        ("käse".encode(), "käse"),
        (b"<b>[red]", "<b>[red]"),
        (b"\x1b[2J", "\\x1b[2J"),
        (b"\xff", "\\xff"),
        ("\u202egnp.exe".encode(), "\\u202egnp.exe"),
        ("\ud800", "\\ud800"),
    ],
)
def test_printable(raw: bytes | str, expected: str) -> None:
    assert printable(raw) == expected


# Bug: the unit is chosen before the number is rounded: 1000.0us, 1000ns.
@pytest.mark.parametrize(
    ("ns", "expected"),
    [
        (None, "?"),
        (0, "0ns"),
        (870, "870ns"),
        (999.6, "1.0us"),
        (12_340, "12.3us"),
        (999_960, "1.0ms"),
        (4_500_000, "4.5ms"),
        (999_999_999, "1.0s"),
        (61_200_000_000, "61.2s"),
    ],
)
def test_durations(ns: float | None, expected: str) -> None:
    assert duration(ns) == expected


# Bug: "not seen" is printed as 0; 100.00% is printed though one of 25,000 was not local.
@pytest.mark.parametrize(
    ("value", "digits", "expected"),
    [
        (None, 1, "?"),
        (0.0, 1, "0.0%"),
        (98.72, 1, "98.7%"),
        (100.0, 2, "100.00%"),
        (99.996, 2, "99.99%"),
    ],
)
def test_percentages(value: float | None, digits: int, expected: str) -> None:
    assert percent(value, digits) == expected


# Bug: 29 of 10,000 is printed as 0.28%, because 0.29 has no exact binary fraction.
def test_exact_shares_are_printed_exactly() -> None:
    for part in range(10_001):
        assert percent(share(part, 10_000), 2) == f"{part // 100}.{part % 100:02}%"


# --- the summary of accept --------------------------------------------------------------


# Bugs: a total of the wrong thing; workers in the order of their first connection; a wait
# column of unknown values; RX CPUs as columns, where dashboard and report have them as rows.
def test_a_known_summary() -> None:
    summary = AcceptSummary(machine(2))
    summary.write(
        batch(
            5,
            pid=[10, 20, 20, 20, 20],
            cpu=[0, 1, 1, 1, 1],
            rxcpu=[1, 1, 1, 1, 0],
            wait=[2_000_000] * 5,
            flags=WAIT_KNOWN,
        )
    )
    total, distances, waits, *rest = summary_lines(summary)
    assert total == "5 accepted, 60.00% accept-local, 0 lost"
    assert distances == "same CPU 60.0%, same node 40.0%"
    assert waits == "queue wait: median 2.0ms, p99 2.0ms"
    assert [line.split() for line in rest] == [
        [],
        ["worker", "pid", "cpu", "accepts", "local"],
        ["nginx", "20", "1", "4", "75.0%"],
        ["nginx", "10", "0", "1", "0.0%"],
        [],
        ["RX\\accept", "#0", "#1"],
        ["#0", "0", "1"],
        ["#1", "1", "3"],
    ]


# Bugs: a worker in a container has the name of another one's; what is no container is named; a line
# is wider than a terminal.
def test_containers_of_workers() -> None:
    summary = AcceptSummary(machine(2))
    docker = f"/system.slice/docker-{'0123456789ab' + 'c' * 52}.scope"
    connections = batch(3, pid=[10, 20, 30], cgroup=[7, 8, 9])
    paths = {7: "/system.slice/nginx.service", 8: docker}
    summary.write(replace(connections, cgroups=paths))
    lines = [*summary_lines(summary)]
    table = [line.split() for line in lines if "nginx" in line or "worker" in line]
    assert table[0][-1] == "container"
    assert {words[1]: words[5:] for words in table[1:]} == {
        "10": [],
        "20": ["docker", "0123456789ab"],
        "30": [],
    }
    assert max(map(len, lines)) <= WIDTH


# Bugs: connections without an RX CPU are missing from the matrix, so that its sum is not the
# total; the row is there when nothing is in it; rows and columns are exchanged.
def test_a_row_for_no_rx_cpu_only_when_used() -> None:
    summary = AcceptSummary(machine(2))
    summary.write(batch(3, cpu=[0, 0, 1], rxcpu=[1, 1, 1]))
    assert [line.split() for line in summary_lines(summary)][-3:] == [
        ["RX\\accept", "#0", "#1"],
        ["#0", "0", "0"],
        ["#1", "2", "1"],
    ]
    summary.write(batch(1, cpu=1, rxcpu=-1))
    assert [line.split() for line in summary_lines(summary)][-2:] == [
        ["#1", "2", "1"],
        ["?", "0", "1"],
    ]


# Bug: dividing by no connections, a table of nobody, or a loss that goes unsaid.
def test_nothing_accepted() -> None:
    summary = AcceptSummary(machine(2))
    summary.write(AcceptBatch(np.zeros(0, ACCEPT), 0, lost=3))
    (line,) = summary_lines(summary)
    assert line.startswith("0 accepted, ")
    assert line.endswith(", 3 lost")


# Bug: a thread for each connection fills the screen, or the ones left out are not mentioned.
def test_many_workers_are_cut() -> None:
    summary = AcceptSummary(machine(WIDEST_MATRIX + 1))
    summary.write(batch(100, pid=list(range(100)), cpu=0))
    lines = list(summary_lines(summary))
    assert sum("nginx" in line for line in lines) == MOST_WORKERS
    assert lines[-1] == f"… and {100 - MOST_WORKERS} more"


# Bug: the widest matrix that is still printed wraps.
def test_summaries_fit_80_columns() -> None:
    summary = AcceptSummary(machine(WIDEST_MATRIX))
    summary.write(batch(9999, pid=4_194_303, comm=b"fifteen letters", cpu=0, rxcpu=-1))
    assert max(map(len, summary_lines(summary))) <= WIDTH


# Bugs: on a machine that has every distance the line of shares wraps; a connection without RX
# CPU is taken for a far one.
def test_the_summary_has_shares_by_distance() -> None:
    topology = machine(WIDEST_MATRIX)
    topology.distances[0, 1:4] = Distance.CORE, Distance.LLC, Distance.REMOTE
    summary = AcceptSummary(topology)
    summary.write(batch(6, cpu=0, rxcpu=[0, 1, 2, 3, 4, -1]))
    lines = list(summary_lines(summary))
    assert max(map(len, lines)) <= WIDTH
    assert " ".join(lines).split(" lost ")[1].split(" queue wait")[0] == (
        "same CPU 16.6%, same core 16.6%, same LLC 16.6%, same node 16.6%, other node 16.6%, "
        "not known how far 16.6%"
    )


# --- skb --------------------------------------------------------------------------------


def interval(cpus: int = 2, **changes: Any) -> Interval:  # noqa: ANN401 - any field of it
    fields: dict[str, Any] = {
        "time": 1_700_000_000.0,
        "seconds": 2.0,
        "rung": "fentry",
        "lost": 0,
        "rx": Flow(packets=10_000, local=2_500, freed_local=9_000, deferred=7_500, unknown=0),
        "tx": Flow(packets=8_000, local=None, freed_local=None, deferred=None, unknown=0),
        "delivered": 4_000,
        "delivered_local": 1_000,
        "by_pair": np.zeros((2, cpus, cpus), np.int64),
    }
    return Interval(**{**fields, **changes})


def skb_text(*intervals: Interval, matrix: bool = False) -> list[str]:
    raw = io.BytesIO()
    out = io.TextIOWrapper(raw, encoding="utf-8", newline="")
    sink = TextSkb(out, machine(2), matrix=matrix)
    for one in intervals:
        sink.write(one)
    lines = raw.getvalue().decode().splitlines()
    out.detach()
    return lines


# Bugs: a column under another one's heading; packets for the interval as if it were a second;
# not seen as 0.
def test_a_skb_line() -> None:
    _, heading, line = skb_text(interval(lost=3))
    assert heading.split() == [
        *("time", "local", "kpps", "deliv", "freed", "defer"),
        *("local", "kpps", "freed", "defer", "lost"),
    ]
    assert line.split()[1:] == [
        *("25.0%", "5.0", "25.0%", "90.0%", "75.0%"),
        *("?", "4.0", "?", "?", "3"),
    ]


# Bug: the percentage is of all packets, though of some the CPU is not known.
def test_unknown_packets_are_no_part_of_the_share() -> None:
    half = Flow(packets=1000, local=250, freed_local=0, deferred=0, unknown=500)
    nothing_known = Flow(packets=1000, local=0, freed_local=0, deferred=0, unknown=1000)
    line = skb_text(interval(rx=half, tx=nothing_known))[-1].split()
    assert (line[1], line[6]) == ("50.0%", "?")


# Bug: an idle interval divides by zero, or claims 0 % local.
def test_an_idle_interval() -> None:
    idle = Flow(0, 0, 0, 0, 0)
    line = skb_text(interval(rx=idle, tx=idle, delivered=0, delivered_local=0))[-1]
    assert line.split()[1:] == ["-", "0.0", "-", "-", "-", "-", "0.0", "-", "-", "0"]


# Bug: no heading after the first screen, or one above each line.
def test_the_heading_comes_again_each_page() -> None:
    lines = skb_text(*[interval()] * (2 * PAGE + 1))
    headings = [number for number, line in enumerate(lines) if line.startswith("time")]
    assert headings == [1, PAGE + 3, 2 * PAGE + 5]


# Bug: busy machines' lines wrap, or push numbers out from below their headings.
def test_skb_lines_fit_80_columns() -> None:
    all_of = 24_690_000
    busy = Flow(packets=all_of, local=all_of, freed_local=all_of, deferred=all_of, unknown=0)
    lines = skb_text(
        interval(rx=busy, tx=busy, delivered=all_of, delivered_local=all_of, lost=99_999)
    )
    assert max(map(len, lines)) <= WIDTH
    assert lines[2].index("100.0%") + len("100.0%") == lines[1].index("local") + len("local")


# Bugs: alloc and consume CPU exchanged; RX printed for TX; packets outside the matrix unsaid.
def test_the_matrix() -> None:
    matrix = np.array([[[1, 2], [3, 4]], [[5, 6], [7, 8]]])
    lines = skb_text(interval(by_pair=matrix, apart=(11, 0), together=(0, 12)), matrix=True)
    assert [line.split() for line in lines[3:]] == [
        ["received,", "packets:"],
        ["alloc\\consume", "#0", "#1"],
        ["#0", "1", "2"],
        ["#1", "3", "4"],
        ["and", "11", "on", "two", "different", "CPUs,", "not", "known", "which"],
        ["sent,", "packets:"],
        ["alloc\\consume", "#0", "#1"],
        ["#0", "5", "6"],
        ["#1", "7", "8"],
        ["and", "12", "on", "one", "CPU,", "not", "known", "which"],
    ]


# Bug: a matrix of 128 CPUs floods the terminal; the widest one allowed wraps.
def test_wide_matrices() -> None:
    too_wide = skb_text(interval(WIDEST_MATRIX + 1), matrix=True)
    assert len(too_wide) == 4
    assert "--format json" in too_wide[3]
    widest = interval(by_pair=np.full((2, WIDEST_MATRIX, WIDEST_MATRIX), 99_999))
    assert max(map(len, skb_text(widest, matrix=True))) <= WIDTH


# Bugs: averages of percentages instead of sums; what is not known unsaid.
def test_a_known_skb_summary() -> None:
    summary = Summary[Interval](machine(2))
    summary.write(interval(by_pair=np.array([[[2_500, 7_500], [0, 0]]] * 2)))
    one_more = Flow(packets=10_000, local=10_000, freed_local=10_000, deferred=0, unknown=0)
    other = Flow(packets=0, local=None, freed_local=None, deferred=None, unknown=0)
    diagonal = np.array([[[4_000, 0], [0, 6_000]]] * 2)
    summary.write(
        interval(
            rx=one_more,
            tx=other,
            delivered=1000,
            delivered_local=1000,
            lost=2,
            by_pair=diagonal,
        )
    )
    words = " ".join(" ".join(skb_summary_lines(summary)).split())
    for expected in (
        "4.0 s on rung fentry, 2 probe runs lost",
        "received: 20000 packets 62.50% consumed-local, 95.00% freed-local, 37.50% deferred",
        "deferred same CPU 62.5%, same node 37.5% sent:",
        "sent: 8000 packets ? consumed-local, ? freed-local, ? deferred same CPU ?, same node ?",
        "delivered to readers: 5000 packets, 40.00% consumed-local",
    ):
        assert expected in words


# Bug: the lines at the end of a busy run wrap.
def test_the_skb_summary_fits_80_columns() -> None:
    summary = Summary[Interval](machine(2))
    busy = Flow(packets=24_690_000, local=24_690_000, freed_local=0, deferred=0, unknown=0)
    summary.write(interval(rx=busy, tx=busy, delivered=24_690_000, delivered_local=24_690_000))
    assert max(map(len, skb_summary_lines(summary))) <= WIDTH


# Bug: packets of unknown CPU disappear from the summary.
def test_the_skb_summary_names_the_unknown() -> None:
    summary = Summary[Interval](machine(2))
    some = Flow(packets=10, local=5, freed_local=None, deferred=None, unknown=4)
    summary.write(interval(rx=some, delivered=None, delivered_local=None))
    lines = list(skb_summary_lines(summary))
    assert "  4 of them consumed on a CPU not known" in lines
    assert not any("delivered" in line for line in lines)


# Bug: packets of which no CPU is known, and those that are known to have left their CPU, are told
# in the same words, and their numbers seem to contradict each other.
def test_the_skb_summary_tells_two_unknowns_apart() -> None:
    summary = Summary[Interval](machine(2))
    some = Flow(packets=10, local=3, freed_local=None, deferred=None, unknown=4)
    apart = np.array([3, 0])
    summary.write(interval(rx=some, apart=apart, delivered=None, delivered_local=None))
    said = " ".join(" ".join(skb_summary_lines(summary)).split())
    assert "left its CPU for one not known" in said
    assert "4 of them consumed on a CPU not known" in said
    assert "not known how far" not in said


# Bug: stopped before the first interval, the summary is a traceback or a line of zeros.
def test_no_interval() -> None:
    assert list(skb_summary_lines(Summary[Interval](machine(2)))) == ["no interval was over"]
