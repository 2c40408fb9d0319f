"""`locality udp` for programs: one JSON object an interval, or one CSV row a reader."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING, Any, TextIO

from locality.stream import Output
from locality.text import spreadsheet_text
from locality.udp.advice import concentration, cures
from locality.udp.balance import balances, endpoint
from locality.udp.interval import READER_SUMS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from locality.machine.topology import Topology
    from locality.udp.balance import Balance
    from locality.udp.interval import UdpInterval

_OF_SOCKET = ("drops", "refused", "queued", "queued_bytes", "rcvbuf", "peak")


class JsonUdp(Output["UdpInterval"]):
    """One object an interval, with ``groups``; the names are those of the dtypes.

    A socket of no group is a group without ``size``. What is not known is null.
    """

    def __init__(self, out: TextIO, machine: Topology) -> None:
        super().__init__(out, machine)
        self._lost = 0

    def write(self, batch: UdpInterval) -> None:
        """Write an interval."""
        self._out.write(json.dumps(udp_record(batch, self._lost)) + "\n")
        self._lost = batch.lost
        self._out.flush()


def udp_record(interval: UdpInterval, lost_before: int) -> dict[str, Any]:
    """An interval as one record.

    Args:
        interval: What it showed.
        lost_before: What the interval before had as ``lost``, which counts since the start.
    """
    return {
        "time": interval.time,
        "interval_s": interval.seconds,
        "rung": interval.rung,
        "lost": interval.lost,
        "lost_in_interval": interval.lost - lost_before,
        "sample_one_in": interval.sample_one_in,
        "sampled": int(interval.sockets["sampled"].sum()),
        "samples_lost": interval.flows_lost,
        "matrix": interval.matrix.tolist(),
        "groups": [_group(one, interval) for one in balances(interval)],
    }


def _group(one: Balance, interval: UdpInterval) -> dict[str, Any]:
    top = one.top_flow
    first = one.sockets[0]
    return {
        "name": one.name,
        "netns": int(first["netns"]) or None,
        "port": int(first["port"]),
        "size": None if one.group is None else one.group.size,
        "program": None if one.group is None else one.group.program,
        "imbalance": one.imbalance,
        "effective_sockets": one.effective,
        "top_flow": None
        if top is None
        else {
            "source": top.source,
            "target": top.target,
            "share": top.share / 100,
            "samples": top.samples,
            "of": top.of,
        },
        "single_flow": concentration(one),
        "cures": [{"command": cure.command, "cost": cure.cost} for cure in cures(one)],
        "sockets": [_socket(one, row, interval) for row in range(len(one.sockets))],
    }


def _counts(row: Any, interval: UdpInterval) -> dict[str, Any]:  # noqa: ANN401 - numpy.void
    counts: dict[str, Any] = {name: int(row[name]) for name in READER_SUMS}
    if not interval.batches_seen:
        counts["batches"] = counts["batched"] = None
    return counts


def _socket(one: Balance, number: int, interval: UdpInterval) -> dict[str, Any]:
    row = one.sockets[number]
    total = int(one.counts.sum())
    return {
        "index": int(row["index"]) if row["index"] >= 0 else None,
        "inode": int(row["inode"]),
        "address": endpoint(row),
        **_counts(row, interval),
        **{name: int(row[name]) for name in _OF_SOCKET},
        "share": int(one.counts[number]) / total if total else None,
        "readers": [
            {
                "pid": int(reader["pid"]),
                "tid": int(reader["tid"]),
                "comm": reader["comm"].decode(errors="backslashreplace"),
                **_counts(reader, interval),
                "cgroup": int(reader["cgroup"]),
                "cgroup_path": interval.cgroups.get(int(reader["cgroup"])),
            }
            for reader in one.readers[one.readers["inode"] == row["inode"]]
        ],
    }


class CsvUdp(Output["UdpInterval"]):
    """One row a reader, and one for each socket without; None is empty.

    What is the socket's own (``socket_…``) is repeated for each of its readers.
    """

    def __init__(self, out: TextIO, machine: Topology) -> None:
        super().__init__(out, machine)
        self._writer: csv.DictWriter[str] = csv.DictWriter(out, NAMES, lineterminator="\n")
        self._writer.writeheader()
        self._lost = 0

    def write(self, batch: UdpInterval) -> None:
        """Write an interval."""
        self._writer.writerows(_rows(udp_record(batch, self._lost)))
        self._lost = batch.lost
        self._out.flush()


_OF_INTERVAL = ("time", "interval_s", "rung", "lost", "lost_in_interval")

NAMES = (
    *(*_OF_INTERVAL, "group", "netns", "port"),
    *("imbalance", "effective_sockets", "top_flow", "top_flow_share"),
    *("index", "inode", "address", "socket_share"),
    *(f"socket_{name}" for name in (*READER_SUMS, *_OF_SOCKET)),
    *("pid", "tid", "comm", *READER_SUMS),
    *("cgroup", "cgroup_path"),
)


_TEXTS = ("comm", "cgroup_path")


def _rows(record: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for group in record["groups"]:
        top = group["top_flow"]
        for socket in group["sockets"]:
            whole = {name: record[name] for name in _OF_INTERVAL}
            whole |= {name: group[name] for name in ("netns", "port", "imbalance")}
            whole |= {
                "group": spreadsheet_text(group["name"]),
                "effective_sockets": group["effective_sockets"],
                "top_flow": top and top["source"],
                "top_flow_share": top and top["share"],
                "socket_share": socket["share"],
                **{name: socket[name] for name in ("index", "inode", "address")},
                **{f"socket_{name}": socket[name] for name in (*READER_SUMS, *_OF_SOCKET)},
            }
            readers = [
                {**reader, **{name: spreadsheet_text(reader[name] or "") for name in _TEXTS}}
                for reader in socket["readers"]
            ]
            for reader in readers or [{}]:
                yield whole | reader
