"""A recording of `locality udp` played: the intervals come back as they were."""

from __future__ import annotations

import math
import socket
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from locality.errors import LocalityError
from locality.recording.format import UDP_ROWS, UDP_UNKNOWN
from locality.udp.interval import (
    FLOW,
    READER,
    READER_SUMS,
    SOCKET,
    SOCKET_OWN,
    UdpGroup,
    UdpInterval,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from locality.arrays import Array
    from locality.recording.format import Meta
    from locality.recording.reader import Reader

_FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}


def timed_datagrams(reader: Reader) -> Iterator[tuple[float, UdpInterval]]:
    """The intervals of a recording of datagrams, each with its end after the start, seconds."""
    for rows in reader:
        interval = udp_interval_of(udp_parts(rows), reader.meta)
        yield interval.time - reader.meta.started / 10**9, interval


def udp_interval_of(parts: Mapping[str, pa.RecordBatch], meta: Meta) -> UdpInterval:
    """The interval behind a batch of a recording.

    Args:
        parts: The batch as `udp_parts` gives it.
        meta: Of the recording.

    Raises:
        LocalityError: It is not what a recorder writes.
    """
    (whole,) = parts["interval"].to_pylist()
    groups = _groups(parts["group"])
    readers, sockets = _readers(parts["reader"]), _sockets(parts["socket"])
    used = {*readers["group"].tolist(), *sockets["group"].tolist()}
    if not used <= {-1, *groups}:
        raise _damaged("a socket's group is not there")
    cells = parts["cell"]
    matrix = np.zeros((meta.possible, meta.possible), "u8")
    where = tuple(_numbers(cells, name) for name in ("alloc_cpu", "reader_cpu"))
    matrix[where] = _numbers(cells, "datagrams").astype("u8")
    return UdpInterval(
        # Division of whole numbers gives the float that is nearest, which is what was recorded.
        time=parts["interval"]["time"].cast(pa.int64())[0].as_py() / 10**9,
        seconds=whole["seconds"],
        rung=meta.rung,
        lost=whole["lost"],
        readers=readers,
        sockets=sockets,
        flows=_flows(parts["flow"]),
        flows_lost=whole["flows_lost"],
        sample_one_in=whole["sample_one_in"],
        batches_seen=whole["batches_seen"],
        matrix=matrix,
        groups=groups,
    )


def udp_parts(rows: pa.RecordBatch) -> dict[str, pa.RecordBatch]:
    """A batch of `UDP_SCHEMA` as the rows of each kind of `UDP_ROWS`, with the columns they have.

    Raises:
        LocalityError: There is not one row of the interval, or a value is missing.
    """
    kinds = rows["row"].cast(pa.utf8())
    parts = {}
    for kind, names in UDP_ROWS.items():
        part = rows.select(["time", "seconds", *names]).filter(pc.equal(kinds, kind))
        needed = {*names} - (UDP_UNKNOWN - {"group"} if kind == "group" else UDP_UNKNOWN)
        if any(part[name].null_count for name in needed):
            raise _damaged(f"a row of kind {kind} lacks a value")
        parts[kind] = part
    lengths = parts["interval"]["seconds"].to_pylist()
    if len(lengths) != 1 or not 0 < lengths[0] < math.inf:
        raise _damaged("an interval has no totals")
    return parts


def _damaged(what: str) -> LocalityError:
    return LocalityError(f"the recording is damaged: {what}")


def _numbers(part: pa.RecordBatch, name: str, unknown: int = 0) -> Array:
    found: Array = part[name].fill_null(unknown).to_numpy(zero_copy_only=False)
    return found


def _groups(part: pa.RecordBatch) -> dict[int, UdpGroup]:
    return {
        one["group"]: UdpGroup(
            netns=one["netns"],
            address=one["laddr"] or "?",
            port=one["lport"],
            size=one["size"],
            order_known=one["order_known"],
            program=one["program"],
        )
        for one in part.to_pylist()
    }


def _endpoint(part: pa.RecordBatch, dtype: np.dtype[np.void]) -> Array:
    rows = np.zeros(len(part), dtype)
    for name in ("group", "index"):
        rows[name] = _numbers(part, name, -1)
    for name in ("inode", "netns"):
        rows[name] = _numbers(part, name)
    rows["port"] = _numbers(part, "lport")
    rows["family"], rows["address"] = _families(part), _packed(part, "laddr")
    return rows


def _sockets(part: pa.RecordBatch) -> Array:
    rows = _endpoint(part, SOCKET)
    for name in (*READER_SUMS, *SOCKET_OWN):
        rows[name] = _numbers(part, name)
    return rows


def _readers(part: pa.RecordBatch) -> Array:
    rows = _endpoint(part, READER)
    for name in ("pid", "tid", *READER_SUMS):
        rows[name] = _numbers(part, name)
    rows["comm"] = np.array(part["comm"].to_pylist(), "S16")
    return rows


def _flows(part: pa.RecordBatch) -> Array:
    rows = np.zeros(len(part), FLOW)
    rows["family"] = _families(part)
    rows["target"], rows["source"] = _packed(part, "laddr"), _packed(part, "raddr")
    for name, column in (("port", "lport"), ("source_port", "rport")):
        rows[name] = _numbers(part, column)
    for name in ("netns", "samples"):
        rows[name] = _numbers(part, name)
    return rows


def _families(part: pa.RecordBatch) -> Array:
    versions = _numbers(part, "family")
    if not {*versions.tolist()} <= {0, *_FAMILIES}:
        raise _damaged("an IP version is none")
    families = np.zeros(len(versions), "u2")
    for version, family in _FAMILIES.items():
        families[versions == version] = family
    return families


def _packed(part: pa.RecordBatch, name: str) -> Array:
    """Addresses in network order, 16 bytes each: zeros where there is none."""
    known: dict[tuple[int | None, str | None], bytes] = {}
    pairs = list(zip(part["family"].to_pylist(), part[name].to_pylist(), strict=True))
    for version, text in {*pairs}:
        try:
            raw = b"" if text is None else socket.inet_pton(_FAMILIES[version], text)
        except (KeyError, OSError, ValueError):
            raise _damaged("an address is none") from None
        known[version, text] = raw.ljust(16, b"\0")
    whole = b"".join(known[pair] for pair in pairs)
    return np.frombuffer(whole, "u1").reshape(-1, 16)
