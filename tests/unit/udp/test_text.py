"""`locality udp` in lines, JSON and CSV."""

from __future__ import annotations

import csv
import io
import json
import re
from typing import TYPE_CHECKING

import numpy as np
import pytest

from locality.summary import Summary
from locality.udp.records import NAMES, CsvUdp, JsonUdp
from locality.udp.text import MOST_BLOCKS, MOST_SOCKETS, TextUdp
from locality.udp.text import summary_lines as udp_summary_lines
from tests.unit.accept.test_text import HOSTILE, WIDTH
from tests.unit.recordings import META
from tests.unit.udp_intervals import flows, interval, readers, sockets

if TYPE_CHECKING:
    from locality.udp.interval import UdpInterval


def text_of(batch: UdpInterval) -> list[str]:
    out = io.StringIO()
    TextUdp(out, META.machine).write(batch)
    return out.getvalue().splitlines()


def summary_of(*batches: UdpInterval) -> list[str]:
    summary: Summary[UdpInterval] = Summary(META.machine)
    for batch in batches:
        summary.write(batch)
    return list(udp_summary_lines(summary))


# Bugs: columns swapped; the share of those read where drops are many; a rate over the wrong time.
def test_a_block() -> None:
    rows = sockets(3000, 1000, 0, 0, drops=[4000, 0, 0, 0], peak=[212, 3, 0, 0])
    rows["bytes"] = rows["datagrams"] * 500
    rows["local"] = rows["datagrams"] // 3
    rows["batches"], rows["batched"] = [100, 0, 0, 0], [3000, 0, 0, 0]
    title, heading, *lines = text_of(interval(rows, seconds=2.0))
    assert re.sub(r"^[\d:]{8} ", "", title) == (
        "udp 0.0.0.0:5000, 4 sockets, 4.0 kpps, max/mean 3.50, effective 1.46"
    )
    assert " ".join(heading.split()) == "idx worker/tid kpps share Mbit/s local drops peak batch"
    assert [line.split() for line in lines] == [
        ["0", "router/1100", "1.5", "87.5%", "6.0", "33.3%", "4000", "212", "30.0"],
        ["1", "router/1101", "0.5", "12.5%", "2.0", "33.3%", "0", "3", "-"],
        ["2", "-", "0.0", "0.0%", "0.0", "-", "0", "0", "-"],
        ["3", "-", "0.0", "0.0%", "0.0", "-", "0", "0", "-"],
    ]


# Bug: what is not known is printed as a number.
def test_what_is_not_known() -> None:
    rows = sockets(100, known=0, index=-1)
    *_, line = text_of(interval(rows, batches_seen=False))
    assert line.split() == ["-", "router/1100", "0.1", "100.0%", "0.0", "?", "0", "0", "?"]
    lines = summary_of(interval(rows, batches_seen=False))
    assert "100 datagrams read, ? on the CPU that allocated them, 0 dropped" in lines
    assert "of 100 the alloc CPU is not known" in lines


# Bugs: the figure of the CPU that processes is missing where it is another one, stands there where
# it says nothing more, is of all datagrams and not of those that are known, or goes over the line.
def test_datagrams_that_were_handed_on() -> None:
    rows = sockets(1000, 0, local=0, rx_known=[900, 0], rx_local=[600, 0], moved=[250, 0])
    moved = interval(rows)
    assert text_of(moved)[-2:] == [
        "  read on the CPU that processed them: 66.6%; 25.0% had been allocated by",
        "    another CPU (RPS)",
    ]
    lines = summary_of(moved)
    assert lines[2].startswith("read on the CPU that processed them: 66.66%; 25.0% had been")
    assert max(map(len, lines)) <= WIDTH
    rows["moved"] = 0
    assert "processed" not in "\n".join([*text_of(moved), *summary_of(moved)])
    # Before Linux 5.19 an sk_buff does not know its alloc CPU.
    rows["known"] = 0
    assert text_of(moved)[-1] == "  read on the CPU that processed them: 66.6%"


# Bugs: readers of one socket are left out, or the socket's drops are told for each.
def test_several_readers_of_a_socket() -> None:
    rows = sockets(30, drops=5)
    both = np.concatenate(
        [readers(rows, datagrams=10, tid=1), readers(rows, datagrams=20, tid=2, comm=b"b")]
    )
    _, _, whole, first, second = text_of(interval(rows, readers=both))
    assert whole.split()[:3] == ["0", "2", "readers"]
    assert whole.split()[-3:] == ["5", "0", "-"]
    assert (first.split()[0], second.split()[0]) == ("b/2", "router/1")


# Bugs: escape sequences of a name reach the terminal; a long name or many digits break the line.
@pytest.mark.parametrize("comm", [*HOSTILE, b"fifteen_letters"])
def test_hostile_and_long_names(comm: bytes) -> None:
    rows = sockets(10**9, 10**9, drops=10**6, peak=10**6)
    rows["bytes"] = rows["datagrams"] * 9000
    batch = interval(rows, readers=readers(rows, comm=comm, tid=2**22), flows=flows(99, 1))
    shown = [*text_of(batch), *summary_of(batch)]
    assert all(line.isprintable() for line in shown)
    out = io.StringIO()
    CsvUdp(out, META.machine).write(batch)
    assert all(line.isprintable() for line in out.getvalue().split("\n"))
    assert len(out.getvalue().splitlines()) == 3
    small = interval(sockets(10**6, 10**6), flows=flows(99, 1))
    small = interval(small.sockets, readers=readers(small.sockets, comm=comm, tid=2**22))
    assert max(map(len, [*text_of(small), *summary_of(small)])) <= WIDTH


# Bugs: the flow is named and no way out; the way out without its price; a line too long.
def test_the_single_flow_in_words() -> None:
    batch = interval(
        sockets(100, 0, 0, 0, sampled=[100, 0, 0, 0]), flows=flows(98, 2), flows_lost=3
    )
    assert text_of(batch)[-1] == "  one flow carries 98.0%: 10.0.0.1:4000 -> 10.0.0.2:5000"
    told = "\n".join(summary_of(batch))
    assert "98.0%" in told
    assert "cure: locality attach-cbpf --port 5000 --program random" in told
    assert "cure: locality spread --dev IF --port 5000" in told
    assert told.count("costs:") == 2
    assert "flows: 1 datagram in 16 sampled: 100 of 100 seen, 3 lost" in told
    assert max(map(len, told.splitlines())) <= WIDTH


# Bug: a machine with thousands of sockets floods the terminal without a word of the rest.
def test_what_does_not_fit_is_said() -> None:
    many = sockets(*range(1, 101))
    assert text_of(interval(many))[-1] == f"  … and {100 - MOST_SOCKETS} more sockets"
    alone = sockets(*range(1, 101), group=-1)
    lines = text_of(interval(alone, groups={}))
    assert lines[-1].startswith(f"… and {100 - MOST_BLOCKS} more")
    assert lines[2].split()[2] == "0.1", "the busiest first"


# Bug: loss that nobody is told of; an interval without traffic that says nothing at all.
def test_nothing_and_lost() -> None:
    empty = interval(sockets())
    assert text_of(empty)[0].endswith("no datagrams")
    assert "7 lost" in text_of(interval(sockets(1), lost=7))[0]
    assert summary_of(interval(sockets(1), lost=7))[0] == "1.0 s on rung fentry, 7 lost"
    assert summary_of(empty)[-1] == "no datagrams"
    assert summary_of() == ["no interval was over"]


# Bugs: numpy's numbers are no JSON; a missing figure is 0 instead of null.
def test_json() -> None:
    rows = sockets(30, 0, index=[1, -1], rx_known=[20, 0], rx_local=[10, 0], moved=[5, 0])
    out = io.StringIO()
    JsonUdp(out, META.machine).write(
        interval(rows, flows=flows(30), readers=readers(rows, comm=b"\x1b\xff"))
    )
    JsonUdp(out, META.machine).write(interval(rows, batches_seen=False))
    first, second = map(json.loads, out.getvalue().splitlines())
    (group,) = first["groups"]
    assert (group["size"], group["imbalance"], group["effective_sockets"]) == (4, 2.0, 1.0)
    assert group["top_flow"]["share"] == 100.0
    assert len(group["cures"]) == 2
    assert [one["index"] for one in group["sockets"]] == [1, None]
    assert [one["share"] for one in group["sockets"]] == [100.0, 0.0]
    (reader,) = group["sockets"][0]["readers"]
    assert (reader["datagrams"], reader["comm"]) == (30, "\x1b\\xff")
    assert second["groups"][0]["top_flow"] is None
    assert second["groups"][0]["sockets"][0]["batches"] is None
    assert (reader["rx_known"], reader["rx_local"], reader["moved"]) == (20, 10, 5)


# Bugs: a socket without a reader has no row; a column is not declared.
def test_csv() -> None:
    out = io.StringIO()
    counted = sockets(30, 0, rx_known=[20, 0], rx_local=[10, 0], moved=[5, 0])
    CsvUdp(out, META.machine).write(interval(counted, flows=flows(3)))
    heading, *rows = csv.reader(io.StringIO(out.getvalue()))
    assert tuple(heading) == NAMES
    first, second = (dict(zip(heading, row, strict=True)) for row in rows)
    assert (first["datagrams"], first["socket_datagrams"], first["comm"]) == ("30", "30", "router")
    assert (second["datagrams"], second["socket_datagrams"], second["comm"]) == ("", "0", "")
    assert first["top_flow_share"] == "100.0"
    assert [first[name] for name in ("rx_known", "rx_local", "moved")] == ["20", "10", "5"]
    assert (first["socket_rx_local"], second["socket_rx_local"]) == ("10", "0")
