"""Recordings as pandas DataFrames: `locality.load`.

After ``recording = locality.load("before.arrows")`` the share of connections accepted on
their RX CPU is ``(recording.accepts.cpu == recording.accepts.rxcpu).mean()``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from locality.recording.format import (
    ACCEPT_SCHEMA,
    FORMAT_VERSION,
    SKB_SCHEMA,
    Meta,
)
from locality.recording.reader import Reader
from locality.udp.frames import UdpFrames, name_texts, udp_frames

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["FORMAT_VERSION", "Meta", "Recording", "load"]

#: What an interval's pair of CPUs says; the other columns of SKB_SCHEMA are those of totals.
CELL_COLUMNS = ("time", "seconds", "direction", "alloc_cpu", "consume_cpu", "packets")
TOTAL_COLUMNS = tuple(name for name in SKB_SCHEMA.names if name not in CELL_COLUMNS[3:5])

#: Integers that may be missing; pandas would make floats of them.
_TYPES = {pa.int64(): pd.Int64Dtype()}


@dataclass(frozen=True)
class Recording:
    """What `load` gives. Frames of the other kinds are there, with their columns and no rows.

    Attributes:
        meta: Where, on which rung and with which filter; how it ended.
        accepts: One row a connection. time (datetime64[ns, UTC]); cpu, rxcpu (-1: none),
            pid, tid, listen_fd, fd (int32); comm, laddr, raddr, distance (category of str);
            family (uint8: 4 or 6); lport, rport (uint16); wait_ns (Int64, ns in the accept
            queue, NA where not known); netns (uint32, inode number).
        skb: One row for each interval, direction and pair of CPUs that had packets. time (of
            the interval's end), seconds, direction (category: rx, tx), alloc_cpu,
            consume_cpu (int32), packets (int64).
        skb_totals: One row for each interval and direction. time, seconds, direction,
            packets (int64); local, freed_local, deferred, unknown (Int64); delivered,
            delivered_local (Int64, of rx only); apart, together (int64): packets whose CPUs
            are known to differ, or to be one, but not by number; lost (int64, since the
            start). NA is a figure that the rung cannot see.
        udp: The frames of datagrams: see `locality.udp.frames.UdpFrames`.
        lost: The latest count of what was lost; also of a recording that was cut.
        torn: Bytes at the end that are no complete batch and were skipped.
        note: In words, what is wrong with the end; empty if nothing.
    """

    meta: Meta
    accepts: pd.DataFrame
    skb: pd.DataFrame
    skb_totals: pd.DataFrame
    udp: UdpFrames
    lost: int
    torn: int
    note: str

    @property
    def kind(self) -> str:
        """accept, skb or udp."""
        return self.meta.kind


def load(path: str | Path, progress: Callable[[int, int], object] | None = None) -> Recording:
    """Read a whole recording.

    Args:
        path: The file. It may still be written to: what is complete is read.
        progress: Told, after each batch, how many bytes of how many are read.

    Raises:
        LocalityError: It cannot be read, is no recording, or of a newer format, or an
            interval of datagrams is not what a recorder writes.
    """
    batches = []
    with Reader(Path(path)) as reader:
        for batch in reader:
            batches.append(batch)
            if progress is not None:
                progress(reader.read, reader.size)
    kind = reader.meta.kind
    skb = pa.Table.from_batches(batches if kind == "skb" else [], SKB_SCHEMA)
    is_total = pc.is_null(skb["alloc_cpu"])
    return Recording(
        meta=reader.meta,
        accepts=_accepts(pa.Table.from_batches(batches if kind == "accept" else [], ACCEPT_SCHEMA)),
        skb=_cells(skb.filter(pc.invert(is_total))),
        skb_totals=_totals(skb.filter(is_total)),
        udp=udp_frames(batches if kind == "udp" else [], reader.meta),
        lost=reader.lost,
        torn=reader.torn,
        note=reader.note,
    )


def _frame(table: pa.Table) -> pd.DataFrame:
    frame: pd.DataFrame = table.unify_dictionaries().to_pandas(types_mapper=_TYPES.get)
    return frame


def _accepts(table: pa.Table) -> pd.DataFrame:
    frame = _frame(table)
    frame["comm"] = name_texts(frame["comm"])
    return frame


def _cells(table: pa.Table) -> pd.DataFrame:
    frame = _frame(table.select(CELL_COLUMNS))
    return frame.astype({"packets": "int64", "alloc_cpu": "int32", "consume_cpu": "int32"})


def _totals(table: pa.Table) -> pd.DataFrame:
    frame = _frame(table.select(TOTAL_COLUMNS))
    return frame.astype(dict.fromkeys(("packets", "apart", "together", "lost"), "int64"))
