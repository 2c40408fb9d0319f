"""A recording of datagrams as DataFrames, one for each kind of row, and all of it as one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow as pa

from locality.recording.format import UDP_ROWS, UDP_SCHEMA, UDP_UNKNOWN
from locality.udp.replay import udp_interval_of, udp_parts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from locality.recording.format import Meta
    from locality.udp.interval import UdpInterval

#: Integers that may be missing; pandas would make floats of them.
_TYPES = {
    pa.int64(): pd.Int64Dtype(),
    pa.int32(): pd.Int32Dtype(),
    pa.uint32(): pd.UInt32Dtype(),
    pa.uint8(): pd.UInt8Dtype(),
}


@dataclass(frozen=True)
class UdpFrames:
    """What was recorded of datagrams; each frame has time (the interval's end) and seconds.

    The columns are those of `locality.udp.interval.READER`, `SOCKET` and `FLOW`; laddr and
    lport are the receiver's end, raddr and rport the sender's; family is 4 or 6. NA: not
    known, or of no group.

    Attributes:
        intervals: One row an interval: lost (since the start), flows_lost, sample_one_in,
            batches_seen.
        groups: One row for each interval and reuseport group: group, netns, laddr, lport,
            size, order_known, program.
        sockets: One row for each interval and socket, those included that got nothing.
        readers: One row for each interval, socket and thread that read it.
        flows: One row for each interval and sampled flow: samples.
        cells: One row for each interval and pair of CPUs: alloc_cpu, reader_cpu, datagrams.
        total: All intervals as one; None if there are none.
    """

    intervals: pd.DataFrame
    groups: pd.DataFrame
    sockets: pd.DataFrame
    readers: pd.DataFrame
    flows: pd.DataFrame
    cells: pd.DataFrame
    total: UdpInterval | None


def udp_frames(batches: Sequence[pa.RecordBatch], meta: Meta) -> UdpFrames:
    """The frames of a recording.

    Args:
        batches: Of `UDP_SCHEMA`, an interval each; none for a recording of another kind.
        meta: Of the recording.

    Raises:
        LocalityError: A batch is not what a recorder writes.
    """
    parts = [udp_parts(batch) for batch in batches]
    intervals = [udp_interval_of(part, meta) for part in parts]
    frames = {kind: _frame(kind, [part[kind] for part in parts]) for kind in UDP_ROWS}
    return UdpFrames(**{f"{kind}s": frame for kind, frame in frames.items()}, total=_sum(intervals))


def _sum(intervals: list[UdpInterval]) -> UdpInterval | None:
    """All of them as one: neighbours first, because each sum sorts all flows it has so far."""
    while len(intervals) > 1:
        pairs = zip(intervals[::2], intervals[1::2], strict=False)
        last = intervals[-1:] if len(intervals) % 2 else []
        intervals = [one + later for one, later in pairs] + last
    return intervals[0] if intervals else None


def _frame(kind: str, parts: Sequence[pa.RecordBatch]) -> pd.DataFrame:
    names = ("time", "seconds", *UDP_ROWS[kind])
    schema = pa.schema([UDP_SCHEMA.field(name) for name in names])
    table = pa.Table.from_batches(parts, schema).unify_dictionaries()
    frame: pd.DataFrame = table.to_pandas(types_mapper=_TYPES.get)
    if "comm" in names:
        frame["comm"] = name_texts(frame["comm"])
    known = (field for field in schema if field.name not in UDP_UNKNOWN)
    whole = {field.name: field.type.to_pandas_dtype() for field in known if field.type in _TYPES}
    return frame.astype(whole)


def name_texts(names: pd.Series[str]) -> pd.Categorical:
    """Names of threads, which are bytes, as text."""
    texts = [name.decode(errors="backslashreplace") for name in names.cat.categories]
    # Two different ones may read the same, and a category is there once.
    distinct = list(dict.fromkeys(texts))
    place = np.array([distinct.index(text) for text in texts], np.int32)
    codes = place[names.cat.codes.to_numpy()] if len(names) else np.empty(0, np.int32)
    return pd.Categorical.from_codes(codes, categories=pd.Index(distinct, dtype="str"))
