"""`locality udp` for programs: one JSON object an interval, or one CSV row a reader."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING, Any, TextIO

from locality.stream import Output
from locality.text import share, spreadsheet_text
from locality.udp.advice import concentration, cures
from locality.udp.balance import balances, endpoints
from locality.udp.interval import READER_SUMS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from locality.arrays import Array
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
    sockets = _sockets(interval)
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
        "groups": [_group(one, sockets) for one in balances(interval)],
    }


def _group(one: Balance, sockets: Mapping[int, dict[str, Any]]) -> dict[str, Any]:
    top, total = one.top_flow, int(one.counts.sum())
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
            "share": top.share,
            "samples": top.samples,
            "of": top.of,
        },
        "single_flow": concentration(one),
        "cures": [{"command": cure.command, "cost": cure.cost} for cure in cures(one)],
        "sockets": [
            {**sockets[inode], "share": share(meant, total)}
            for inode, meant in zip(one.sockets["inode"].tolist(), one.counts.tolist(), strict=True)
        ],
    }


def _sockets(interval: UdpInterval) -> dict[int, dict[str, Any]]:
    """Each socket with its readers, by inode; what its share is, its group knows.

    Of thousands of sockets, a value that is taken out of an array on its own is what takes time.
    """
    unseen = {} if interval.batches_seen else {"batches": None, "batched": None}
    readers: dict[int, list[dict[str, Any]]] = {}
    for inode, pid, tid, comm, cgroup, *counts in _values(
        interval.readers, ("inode", "pid", "tid", "comm", "cgroup", *READER_SUMS)
    ):
        readers.setdefault(inode, []).append(
            {
                "pid": pid,
                "tid": tid,
                "comm": comm.decode(errors="backslashreplace"),
                **dict(zip(READER_SUMS, counts, strict=True)),
                **unseen,
                "cgroup": cgroup,
                "cgroup_path": interval.cgroups.get(cgroup),
            }
        )
    names = (*READER_SUMS, *_OF_SOCKET)
    values = _values(interval.sockets, ("index", "inode", *names))
    return {
        inode: {
            "index": index if index >= 0 else None,
            "inode": inode,
            "address": address,
            **dict(zip(names, counts, strict=True)),
            **unseen,
            "share": None,
            "readers": readers.get(inode, []),
        }
        for address, (index, inode, *counts) in zip(
            endpoints(interval.sockets), values, strict=True
        )
    }


def _values(rows: Array, names: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    """Some fields of each row."""
    return zip(*(rows[name].tolist() for name in names), strict=True)


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
                "rung": spreadsheet_text(record["rung"]),
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
