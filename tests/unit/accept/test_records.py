"""JSON lines and CSV: names, values and types that programs rely on."""

from __future__ import annotations

import csv
import io
import ipaddress
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from locality.accept.batch import ACCEPT, WAIT_KNOWN, AcceptBatch
from locality.accept.records import CsvAccept, JsonAccept
from locality.machine.topology import Distance, Topology
from locality.skb.interval import Flow, Interval
from locality.skb.records import CsvSkb, JsonSkb

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from locality.accept.batch import Records
    from locality.stream import Sink

ACCEPT_NAMES = [
    *("time", "cpu", "rxcpu", "pid", "tid", "comm", "listen_fd", "fd", "family"),
    *("laddr", "lport", "raddr", "rport", "wait_ns", "netns", "distance"),
    *("cgroup", "cgroup_path"),
]
SKB_NAMES = [
    *("time", "interval_s", "rung", "lost", "lost_in_interval"),
    *("rx_packets", "rx_local", "rx_freed_local", "rx_deferred", "rx_unknown"),
    *("tx_packets", "tx_local", "tx_freed_local", "tx_deferred", "tx_unknown"),
    *("rx_delivered", "rx_delivered_local", "rx_by_distance", "tx_by_distance"),
    *("rx_not_told", "tx_not_told"),
]

# CPUs 0 and 1 share a cache, 2 and 3 another; nothing is known of "no CPU", the last row.
D = Distance
MACHINE = Topology(
    4,
    (0, 1, 2, 3),
    np.array(
        [
            [D.CPU, D.LLC, D.NODE, D.NODE, D.UNKNOWN],
            [D.LLC, D.CPU, D.NODE, D.NODE, D.UNKNOWN],
            [D.NODE, D.NODE, D.CPU, D.LLC, D.UNKNOWN],
            [D.NODE, D.NODE, D.LLC, D.CPU, D.UNKNOWN],
            [D.UNKNOWN] * 5,
        ],
        np.uint8,
    ),
)


def written(make: Callable[[io.TextIOWrapper], Sink[Any]], *batches: object) -> str:
    """What has arrived at the other end of a pipe while the sink is still in use."""
    raw = io.BytesIO()
    out = io.TextIOWrapper(raw, encoding="utf-8", newline="")
    sink = make(out)
    for batch in batches:
        sink.write(batch)
    arrived = raw.getvalue().decode()
    out.detach()
    return arrived


def as_json(batch: AcceptBatch) -> list[dict[str, Any]]:
    return [
        json.loads(line)
        for line in written(lambda out: JsonAccept(out, MACHINE), batch).splitlines()
    ]


def as_csv(*batches: AcceptBatch) -> list[list[str]]:
    return list(csv.reader(io.StringIO(written(lambda out: CsvAccept(out, MACHINE), *batches))))


#: The path has what a spreadsheet could take for a formula, and a quote.
CGROUPS = {4711: '/web "1".slice/nginx.service'}


def batch_of(records: Records) -> AcceptBatch:
    return AcceptBatch(records, clock_offset=1_700_000_000_000_000_000, lost=0, cgroups=CGROUPS)


def example() -> Records:
    records = np.zeros(2, ACCEPT)
    one, other = records
    one["time"], one["wait"], one["flags"] = 2_500_000_000, 12_345, WAIT_KNOWN
    one["cpu"], one["rxcpu"], one["pid"], one["tid"] = 1, 0, 29333, 29334
    one["listen_fd"], one["fd"], one["netns"] = 3, 30, 4026531833
    one["lport"], one["rport"], one["comm"], one["family"] = 80, 65535, b"nginx", 4
    one["cgroup"], other["cgroup"] = 4711, 4712
    one["laddr"][:4], one["raddr"][:4] = [10, 0, 0, 0], [192, 0, 2, 7]
    other["time"], other["wait"] = 3_000_000_001, 77  # not valid: the flag is not set
    other["cpu"], other["rxcpu"], other["family"] = 2, -1, 6
    other["raddr"] = list(ipaddress.ip_address("2001:db8::").packed)
    return records


# Bugs: a column renamed, dropped, added or moved; a time in another unit or since boot; a wait
# that is not known given as a number; numbers as strings; a record's fields taken from its
# neighbour.
def test_accept_json() -> None:
    first, second = as_json(batch_of(example()))
    assert list(first) == list(second) == ACCEPT_NAMES
    assert first == {
        "time": 1_700_000_002.5,
        "cpu": 1,
        "rxcpu": 0,
        "pid": 29333,
        "tid": 29334,
        "comm": "nginx",
        "listen_fd": 3,
        "fd": 30,
        "family": 4,
        "laddr": "10.0.0.0",
        "lport": 80,
        "raddr": "192.0.2.7",
        "rport": 65535,
        "wait_ns": 12345,
        "netns": 4026531833,
        "distance": "llc",
        "cgroup": 4711,
        "cgroup_path": '/web "1".slice/nginx.service',
    }
    assert [type(value) for value in first.values()] == [
        *(float, int, int, int, int, str, int, int, int),
        *(str, int, str, int, int, int, str, int, str),
    ]
    assert (second["cgroup"], second["cgroup_path"]) == (4712, None)
    assert (second["rxcpu"], second["distance"]) == (-1, "unknown")
    assert (second["wait_ns"], second["comm"]) == (None, "")
    assert (second["laddr"], second["raddr"]) == ("::", "2001:db8::")


# Bug: the two formats drift apart, or the header comes again with each batch.
def test_accept_csv_has_the_same_columns_and_values() -> None:
    records = example()
    header, *rows = as_csv(batch_of(records[:1]), batch_of(records[1:]))
    assert header == ACCEPT_NAMES
    expected = [
        ["" if value is None else str(value) for value in row.values()]
        for row in as_json(batch_of(records))
    ]
    assert rows == expected


# Bug: a reading without connections breaks a conversion, or prints an empty object.
def test_nothing_accepted() -> None:
    nothing = batch_of(np.zeros(0, ACCEPT))
    assert as_json(nothing) == []
    assert as_csv(nothing, nothing) == [ACCEPT_NAMES]


# Bugs: numpy drops trailing zero bytes of a byte string, so that 10.0.0.0 or :: has too few; a
# table of distinct addresses hands back another one's text; left-over bytes behind an IPv4
# address make it look like two.
@settings(deadline=None)
@given(
    st.lists(
        st.sampled_from([4, 6]).flatmap(
            lambda family: st.tuples(
                st.just(family),
                st.binary(min_size=16, max_size=16)
                | st.sampled_from([bytes(16), b"\x0a" + bytes(15), bytes(15) + b"\x01"]),
            )
        ),
        max_size=8,
    )
)
def test_addresses(values: Sequence[tuple[int, bytes]]) -> None:
    records = np.zeros(len(values), ACCEPT)
    for record, (family, address) in zip(records, values, strict=True):
        record["family"] = family
        record["raddr"] = list(address)
        record["laddr"] = list(address[::-1])
    rows = as_json(batch_of(records))
    for name, step in (("raddr", 1), ("laddr", -1)):
        given_back = [ipaddress.ip_address(row[name]) for row in rows]
        assert given_back == [
            ipaddress.ip_address(address[::step][: 4 if family == 4 else 16])
            for family, address in values
        ]


HOSTILE = [b"<script>", b"[red]x[/red]", b"\x1b[31mred", b"a\nb,c", b'"quoted"', b"\xff\xfe", b"\r"]
NAMES = st.binary(min_size=0, max_size=15).filter(lambda name: b"\0" not in name)


def named(names: Sequence[bytes]) -> AcceptBatch:
    records = np.zeros(len(names), ACCEPT)
    records["comm"] = names
    records["family"] = 4
    return batch_of(records)


# Bug: a name is printed as it is. Any process chooses its own: a newline forges a record, an
# escape sequence rewrites the terminal, a byte that is no UTF-8 ends the run with a traceback.
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_known_text(name: bytes) -> None:
    text = written(lambda out: CsvAccept(out, MACHINE), named([name]))
    assert all(character.isprintable() for line in text.split("\n") for character in line)
    (row,) = as_json(named([name]))
    assert row["comm"] == name.decode(errors="backslashreplace")


# Bug: a quote, a comma or a line break in a name begins another field or record.
@settings(deadline=None)
@given(st.lists(NAMES | st.sampled_from(HOSTILE), min_size=1, max_size=6))
def test_any_name_stays_in_its_record(names: list[bytes]) -> None:
    text = written(lambda out: JsonAccept(out, MACHINE), named(names))
    assert text.isascii()
    assert [json.loads(line)["comm"] for line in text.split("\n")[:-1]] == [
        name.decode(errors="backslashreplace") for name in names
    ]
    header, *rows = as_csv(named(names))
    assert [len(row) for row in rows] == [len(header)] * len(names)


def interval(**changes: Any) -> Interval:  # noqa: ANN401 - any field of it
    fields: dict[str, Any] = {
        "time": 1_700_000_000.25,
        "seconds": 0.5,
        "rung": "fentry",
        "lost": 7,
        "rx": Flow(packets=100, local=60, freed_local=90, deferred=40, unknown=1),
        "tx": Flow(packets=200, local=None, freed_local=None, deferred=None, unknown=2),
        "delivered": 50,
        "delivered_local": None,
        "by_pair": np.arange(8, dtype=np.int64).reshape(2, 2, 2),
        "apart": (5, 0),
    }
    return Interval(**{**fields, **changes})


# Bugs: a name changes and a program reads nothing; a figure that the rung cannot see becomes 0.
def test_skb_json() -> None:
    text = written(lambda out: JsonSkb(out, MACHINE), interval(), interval(lost=8))
    first, second = (json.loads(line) for line in text.splitlines())
    assert sorted(first) == sorted(SKB_NAMES)
    assert first == {
        "time": 1_700_000_000.25,
        "interval_s": 0.5,
        "rung": "fentry",
        "lost": 7,
        "lost_in_interval": 7,
        "rx_packets": 100,
        "rx_local": 60,
        "rx_freed_local": 90,
        "rx_deferred": 40,
        "rx_unknown": 1,
        "rx_by_distance": {"cpu": 3, "core": 0, "llc": 3, "node": 0, "remote": 0, "unknown": 5},
        "rx_delivered": 50,
        "rx_delivered_local": None,
        "tx_packets": 200,
        "tx_local": None,
        "tx_freed_local": None,
        "tx_deferred": None,
        "tx_unknown": 2,
        "tx_by_distance": dict.fromkeys(("cpu", "core", "llc", "node", "remote", "unknown")),
        "rx_not_told": 0,
        "tx_not_told": 0,
    }
    # Its neighbours count the interval; this one counts since the start, so both are given.
    assert (second["lost"], second["lost_in_interval"]) == (8, 1)


# Bug: the matrix is printed unasked, transposed, or with the directions exchanged.
def test_skb_json_matrix() -> None:
    (line,) = written(lambda out: JsonSkb(out, MACHINE, matrix=True), interval()).splitlines()
    assert json.loads(line)["matrix"] == {"rx": [[0, 1], [2, 3]], "tx": [[4, 5], [6, 7]]}


# Bugs: the header comes with every interval; CSV and JSON disagree on a value; what is an object in
# JSON is written as Python prints it.
def test_skb_csv() -> None:
    intervals = [interval(), interval(time=1_700_000_001.5, seconds=1.25)]
    rows = list(csv.DictReader(io.StringIO(written(lambda out: CsvSkb(out, MACHINE), *intervals))))
    text = written(lambda out: JsonSkb(out, MACHINE), *intervals)
    objects = [json.loads(line) for line in text.splitlines()]
    for one in objects:
        for direction in ("rx", "tx"):
            counts = one.pop(f"{direction}_by_distance")
            one |= {f"{direction}_by_distance_{word}": count for word, count in counts.items()}
    assert rows == [
        {name: "" if value is None else str(value) for name, value in one.items()}
        for one in objects
    ]
