"""From the DataFrames of packets to the numbers that tables and figures show.

For notebooks: a report takes them from `locality.skb.aggregate`, without DataFrames.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from locality.machine.distance import by_distance
from locality.machine.topology import Distance
from locality.reporting.over_time import integers, matrix_of
from locality.skb.stored import TOTALS
from locality.skb.totals import in_order

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from locality.arrays import Array
    from locality.machine.distance import Counts
    from locality.reporting.over_time import OverTime


Direction = Literal["rx", "tx"]


def skb_over_time(totals: pd.DataFrame, direction: Direction, part: str = "local") -> OverTime:
    """Packets of one direction, interval by interval.

    Args:
        totals: `Recording.skb_totals`.
        direction: Received or sent.
        part: ``local`` of all whose consume CPU is known, ``freed_local`` of all packets,
            or ``delivered_local`` of those that a reader took.
    """
    rows = totals[totals["direction"] == direction]
    names = [column.name for column in TOTALS if column.name in rows and column.type == "int64"]
    return in_order(
        rows["time"].to_numpy("datetime64[ns]").view(np.int64),
        rows["seconds"].to_numpy(np.float64),
        {name: integers(rows[name]) for name in names},
        frozenset(name for name in names if rows[name].isna().any()),
    ).over_time(part)


def skb_matrix(cells: pd.DataFrame, direction: Direction, possible: int) -> Array:
    """(CPUs, CPUs) packets by alloc CPU and consume CPU, over the whole recording."""
    rows = cells[cells["direction"] == direction]
    both = rows[["alloc_cpu", "consume_cpu"]]
    rows = rows[((both >= 0) & (both < possible)).all(axis=1)]
    return matrix_of(
        rows["alloc_cpu"].to_numpy(),
        rows["consume_cpu"].to_numpy(),
        rows["packets"].to_numpy(),
        possible,
    )


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
