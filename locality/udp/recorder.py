"""Recordings of `locality udp`: each interval whole, as rows of several kinds.

What a replay needs to show what the run showed is all of an interval: who read what, the
sockets that got nothing, the sampled flows, and the pairs of CPUs. See
`locality.recording.format.UDP_SCHEMA`.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from locality.recording.format import UDP_ROWS, UDP_SCHEMA
from locality.recording.writer import Recorder, nanoseconds
from locality.udp.interval import READER_SUMS, SOCKET_OWN

if TYPE_CHECKING:
    from collections.abc import Mapping

    from locality.arrays import Array
    from locality.udp.interval import UdpInterval

#: The IP version of an address family.
VERSIONS = {socket.AF_INET: 4, socket.AF_INET6: 6}

Columns = dict[str, pa.Array]


class UdpRecorder(Recorder):
    """A sink that records intervals, each on the disk before the next."""

    def write(self, batch: UdpInterval) -> None:
        """Take an interval."""
        if not self._open:
            return
        self._lost = batch.lost
        self._append(udp_rows(batch))
        self._count += 1


def udp_rows(interval: UdpInterval) -> pa.RecordBatch:
    """An interval as rows of `UDP_SCHEMA`."""
    parts: Mapping[str, Columns] = {
        "interval": {
            "lost": pa.array([interval.lost]),
            "flows_lost": pa.array([interval.flows_lost]),
            "sample_one_in": pa.array([interval.sample_one_in]),
            "batches_seen": pa.array([interval.batches_seen]),
        },
        "group": _groups(interval),
        "socket": {
            **_endpoint(interval.sockets),
            **_counts(interval, interval.sockets, (*READER_SUMS, *SOCKET_OWN)),
        },
        "reader": {
            **_endpoint(interval.readers),
            **_counts(interval, interval.readers, ("pid", "tid", *READER_SUMS)),
            "comm": pa.array(interval.readers["comm"].tolist(), pa.binary()),
        },
        "flow": _flows(interval.flows),
        "cell": _cells(interval.matrix),
    }
    sizes = {kind: len(parts[kind][columns[0]]) for kind, columns in UDP_ROWS.items()}
    total = sum(sizes.values())
    whole: Columns = {
        "time": pa.array(np.full(total, nanoseconds(interval.time))),
        "seconds": pa.array(np.full(total, interval.seconds)),
        "row": pa.array(np.repeat([*sizes], [*sizes.values()])),
    }
    columns = []
    for field in UDP_SCHEMA:
        of_words = pa.types.is_dictionary(field.type)
        plain = field.type.value_type if of_words else field.type
        column = whole.get(field.name)
        if column is None:
            column = pa.concat_arrays(
                parts[kind][field.name].cast(plain)
                if field.name in UDP_ROWS[kind]
                else pa.nulls(size, plain)
                for kind, size in sizes.items()
            )
        columns.append(column.dictionary_encode() if of_words else column.cast(plain))
    return pa.RecordBatch.from_arrays(columns, schema=UDP_SCHEMA)


def _groups(interval: UdpInterval) -> Columns:
    groups = interval.groups.values()
    return {
        "group": pa.array([*interval.groups], pa.int32()),
        "netns": pa.array([one.netns for one in groups], pa.uint32()),
        "laddr": pa.array([one.address for one in groups], pa.utf8()),
        "lport": pa.array([one.port for one in groups], pa.uint16()),
        "size": pa.array([one.size for one in groups], pa.int32()),
        "order_known": pa.array([one.order_known for one in groups], pa.bool_()),
        "program": pa.array([one.program for one in groups], pa.utf8()),
    }


def _endpoint(rows: Array) -> Columns:
    """Of sockets or readers: which socket, where it is bound, of which group."""
    return {
        "group": pa.array(rows["group"].copy(), mask=rows["group"] < 0),
        "index": pa.array(rows["index"].copy(), mask=rows["index"] < 0),
        "inode": pa.array(rows["inode"].astype("i8")),
        "netns": pa.array(rows["netns"].copy(), mask=rows["netns"] == 0),
        "family": _versions(rows["family"]),
        "laddr": _texts(rows["family"], rows["address"]),
        "lport": pa.array(rows["port"].copy()),
    }


def _counts(interval: UdpInterval, rows: Array, names: tuple[str, ...]) -> Columns:
    """Numbers as they are; those of recvmmsg() null where the kernel does not show its calls."""
    unseen = np.full(len(rows), not interval.batches_seen)
    return {
        name: pa.array(rows[name].astype("i8"), mask=unseen if name.startswith("batche") else None)
        for name in names
    }


def _flows(rows: Array) -> Columns:
    return {
        "netns": pa.array(rows["netns"].copy(), mask=rows["netns"] == 0),
        "family": _versions(rows["family"]),
        "laddr": _texts(rows["family"], rows["target"]),
        "lport": pa.array(rows["port"].copy()),
        "raddr": _texts(rows["family"], rows["source"]),
        "rport": pa.array(rows["source_port"].copy()),
        "samples": pa.array(rows["samples"].astype("i8")),
    }


def _cells(matrix: Array) -> Columns:
    alloc, reader = np.nonzero(matrix)
    return {
        "alloc_cpu": pa.array(alloc),
        "reader_cpu": pa.array(reader),
        "datagrams": pa.array(matrix[alloc, reader].astype("i8")),
    }


def _versions(families: Array) -> pa.Array:
    found = np.zeros(len(families), "u1")
    for family, version in VERSIONS.items():
        found[families == family] = version
    return pa.array(found, mask=found == 0)


def _texts(families: Array, addresses: Array) -> pa.Array:
    """Addresses of 16 bytes as text, made once for each distinct one; null for no family."""
    keys = np.empty(len(families), [("family", "u2"), ("address", "u1", (16,))])
    keys["family"], keys["address"] = families, addresses
    distinct, inverse = np.unique(keys.view(f"V{keys.itemsize}"), return_inverse=True)
    texts = [_text(int(key["family"]), key["address"]) for key in distinct.view(keys.dtype)]
    return pa.array(texts, pa.utf8()).take(pa.array(inverse))


def _text(family: int, address: Array) -> str | None:
    if family not in VERSIONS:
        return None
    return socket.inet_ntop(family, address.tobytes()[: 4 if family == socket.AF_INET else 16])
