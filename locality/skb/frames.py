"""A recording of packets as DataFrames: the pairs of CPUs, and the totals."""

from __future__ import annotations

from typing import TYPE_CHECKING

from locality.recording.columns import of_row
from locality.recording.frames import frame_of
from locality.skb.columns import COLUMNS, PAIR, TOTAL
from locality.skb.recording import recorded
from locality.skb.stored import pair_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    import pyarrow as pa

    from locality.recording.format import Meta


def frames(batches: Sequence[pa.RecordBatch], meta: Meta) -> dict[str, pd.DataFrame]:
    """The frames of a recording.

    Returns:
        ``skb``: one row for each interval, direction and pair of CPUs that had packets.
        ``skb_totals``: one row for each interval and direction.

    Raises:
        LocalityError: A batch is not what a recorder writes.
    """
    pairs, totals = [], []
    for batch in batches:
        interval = recorded(batch, meta)
        totals.append(interval.totals)
        pairs.append(pair_rows(*interval, meta.possible))
    return {
        "skb": frame_of(pairs, of_row(COLUMNS, PAIR), PAIR),
        "skb_totals": frame_of(totals, of_row(COLUMNS, TOTAL), TOTAL),
    }
