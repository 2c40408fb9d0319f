"""From the DataFrames of a recording to the numbers that tables and figures show.

The columns are those of `locality.recording.frames`. Everything here is sums over whole columns:
ten million rows take seconds, not minutes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from locality.machine.distance import by_distance
from locality.machine.topology import Distance
from locality.reporting.statistics import Series

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from locality.arrays import Array
    from locality.machine.distance import Counts

Direction = Literal["rx", "tx"]

#: Accepts are counted in bins of this many seconds, in more of them if a recording is
#: short and in longer ones if it is long.
BIN_S = 0.1
FEWEST_BINS, MOST_BINS = 20, 600


@dataclass(frozen=True)
class OverTime:
    """A run in bins.

    Attributes:
        at: (bins,) the middle of each bin, in seconds from the run's first moment.
        seconds: (bins,) how long each bin is.
        events: (bins,) accepts or packets, those included whose CPU is not known.
        series: What was local of what is known, bin by bin; None where not seen.
    """

    at: Array
    seconds: Array
    events: Array
    series: Series | None

    @property
    def share(self) -> Array:
        """(bins,) percent local; NaN for a bin of nothing and where it was not seen."""
        nothing = np.full(len(self.at), np.nan)
        if self.series is None:
            return nothing
        total = self.series.total
        return np.asarray(100 * np.divide(self.series.local, total, out=nothing, where=total > 0))


def accept_over_time(accepts: pd.DataFrame) -> OverTime:
    """Accepts and accept-local in equal bins from the first accept to the last."""
    times = accepts["time"].to_numpy("datetime64[ns]").view(np.int64)
    first = int(times.min()) if len(times) else 0
    elapsed = (times - first) / 1e9
    length = float(elapsed.max()) if len(elapsed) else 0.0
    bins = int(np.clip(length / BIN_S, FEWEST_BINS, MOST_BINS))
    width = max(length, 1e-9) / bins
    bin_of = np.minimum((elapsed / width).astype(np.int64), bins - 1)
    total = np.bincount(bin_of, minlength=bins)
    local = np.bincount(bin_of[_is_local(accepts)], minlength=bins)
    at = (np.arange(bins) + 0.5) * width
    return OverTime(at, np.full(bins, width), total, Series(local, total))


def skb_over_time(totals: pd.DataFrame, direction: Direction, part: str = "local") -> OverTime:
    """Packets of one direction, interval by interval.

    Args:
        totals: `Recording.skb_totals`.
        direction: Received or sent.
        part: ``local`` of all whose consume CPU is known, ``freed_local`` of all packets,
            or ``delivered_local`` of those that a reader took.
    """
    rows = totals[totals["direction"] == direction].sort_values("time")
    times = rows["time"].to_numpy("datetime64[ns]").view(np.int64) / 1e9
    seconds = rows["seconds"].to_numpy(np.float64)
    first = times[0] - seconds[0] if len(rows) else 0.0
    packets = _integers(rows["packets"])
    whole = {
        "local": rows["packets"] - rows["unknown"].fillna(0),
        "freed_local": rows["packets"],
        "delivered_local": rows["delivered"],
    }[part]
    unseen = len(rows) == 0 or rows[part].isna().any() or whole.isna().any()
    series = None if unseen else Series(_integers(rows[part]), _integers(whole))
    return OverTime(times - first - seconds / 2, seconds, packets, series)


def udp_over_time(intervals: pd.DataFrame, sockets: pd.DataFrame) -> OverTime:
    """Datagrams that were read, and how many on their alloc CPU, interval by interval.

    Args:
        intervals: `UdpFrames.intervals`.
        sockets: `UdpFrames.sockets`.
    """
    seconds = intervals["seconds"].to_numpy(np.float64)
    names = ["datagrams", "known", "local"]
    sums = sockets.groupby("time")[names].sum().reindex(intervals["time"], fill_value=0)
    datagrams, known, local = (sums[name].to_numpy(np.int64) for name in names)
    return OverTime(np.cumsum(seconds) - seconds / 2, seconds, datagrams, Series(local, known))


def _integers(column: pd.Series[Any]) -> Array:
    return column.to_numpy(np.int64, na_value=0)


def _is_local(accepts: pd.DataFrame) -> Array:
    return np.asarray(accepts["cpu"].to_numpy() == accepts["rxcpu"].to_numpy())


def accept_matrix(accepts: pd.DataFrame, possible: int) -> Array:
    """(CPUs, CPUs) connections by RX CPU and accept CPU, those whose RX CPU is known."""
    rxcpu, cpu = accepts["rxcpu"].to_numpy(), accepts["cpu"].to_numpy()
    known = (rxcpu >= 0) & (rxcpu < possible) & (cpu >= 0) & (cpu < possible)
    return _matrix(rxcpu[known], cpu[known], np.ones(int(known.sum()), np.int64), possible)


def skb_matrix(cells: pd.DataFrame, direction: Direction, possible: int) -> Array:
    """(CPUs, CPUs) packets by alloc CPU and consume CPU, over the whole recording."""
    rows = cells[cells["direction"] == direction]
    both = rows[["alloc_cpu", "consume_cpu"]]
    rows = rows[((both >= 0) & (both < possible)).all(axis=1)]
    return _matrix(
        rows["alloc_cpu"].to_numpy(),
        rows["consume_cpu"].to_numpy(),
        rows["packets"].to_numpy(),
        possible,
    )


def _matrix(row: Array, column: Array, count: Array, possible: int) -> Array:
    matrix = np.zeros((possible, possible), np.int64)
    np.add.at(matrix, (row.astype(np.int64), column.astype(np.int64)), count.astype(np.int64))
    return matrix


def accept_distances(accepts: pd.DataFrame) -> Counts:
    """Connections by how far accept CPU and RX CPU are apart, nearest first."""
    counted = accepts["distance"].value_counts()
    return {distance: int(counted.get(distance.word, 0)) for distance in Distance}


def skb_distances(
    recorded: pd.DataFrame,
    totals: pd.DataFrame,
    direction: Direction,
    distances: Sequence[Sequence[int]],
) -> Counts | None:
    """Packets by how far alloc CPU and consume CPU are apart, as `packets_by_distance` says.

    Args:
        recorded: `Recording.skb`.
        totals: `Recording.skb_totals`.
        direction: Received or sent.
        distances: (CPUs + 1, CPUs + 1) of `Distance` values, as in `Meta`.

    Returns:
        None where it was not seen what is local.
    """
    rows = totals[totals["direction"] == direction]
    if rows["local"].isna().any():
        return None
    table = np.asarray(distances)
    counts = by_distance(skb_matrix(recorded, direction, len(table) - 1), table)
    counts[Distance.CPU] += int(rows["together"].sum())
    counts[Distance.UNKNOWN] += int(rows["apart"].sum())
    return counts


def workers(accepts: pd.DataFrame) -> pd.DataFrame:
    """Each process on each CPU it accepted on, busiest first.

    Returns:
        Columns pid, cpu, comm (of its first accept), accepts, local, and missed_from: the
        RX CPU that most of its other accepts came from (NA if there are none, -1 if these
        had no RX CPU).
    """
    local = _is_local(accepts)
    who = accepts[["pid", "cpu"]].assign(local=local)
    found = who.groupby(["pid", "cpu"], sort=False).agg(
        accepts=("local", "size"), local=("local", "sum")
    )
    first = accepts.drop_duplicates(["pid", "cpu"])[["pid", "cpu", "comm"]]
    found.insert(0, "comm", first.set_index(["pid", "cpu"])["comm"].astype(str))
    misses = accepts.loc[~local, ["pid", "cpu", "rxcpu"]]
    by_rxcpu = misses.groupby(["pid", "cpu", "rxcpu"]).size().rename("missed").reset_index()
    most = by_rxcpu.sort_values("missed").drop_duplicates(["pid", "cpu"], keep="last")
    missed_from = most.set_index(["pid", "cpu"])["rxcpu"].astype("Int64").rename("missed_from")
    return found.join(missed_from).reset_index().sort_values("accepts", ascending=False)


def waits(accepts: pd.DataFrame) -> Array:
    """The times in the accept queue that are known, ns, ascending."""
    return np.sort(accepts["wait_ns"].dropna().to_numpy(np.int64))
