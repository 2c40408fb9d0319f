"""A recording of datagrams as DataFrames, one for each kind of row, and all of it as one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from locality.recording.frames import frames_of_rows
from locality.udp.columns import COLUMNS, ROWS
from locality.udp.recording import interval_of, rows_by_kind

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    import pyarrow as pa

    from locality.recording.format import Meta
    from locality.udp.interval import UdpInterval


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


def frames(batches: Sequence[pa.RecordBatch], meta: Meta) -> dict[str, UdpFrames]:
    """``udp``: the frames of a recording.

    Args:
        batches: An interval each; none for a recording of another kind.
        meta: Of the recording.

    Raises:
        LocalityError: A batch is not what a recorder writes.
    """
    parts = [rows_by_kind(batch) for batch in batches]
    by_row = {f"{row}s": frame for row, frame in frames_of_rows(parts, COLUMNS, ROWS).items()}
    total = _sum([interval_of(part, meta) for part in parts])
    return {"udp": UdpFrames(**by_row, total=total)}


def _sum(intervals: list[UdpInterval]) -> UdpInterval | None:
    """All of them as one: neighbours first, because each sum sorts all flows it has so far."""
    while len(intervals) > 1:
        pairs = zip(intervals[::2], intervals[1::2], strict=False)
        last = intervals[-1:] if len(intervals) % 2 else []
        intervals = [one + later for one, later in pairs] + last
    return intervals[0] if intervals else None
