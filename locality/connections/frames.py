"""A recording of connections as a DataFrame."""

from __future__ import annotations

from typing import TYPE_CHECKING

from locality.connections.columns import COLUMNS
from locality.recording.frames import frame_of, name_texts

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    import pyarrow as pa

    from locality.recording.format import Meta


def frames(batches: Sequence[pa.RecordBatch], _meta: Meta) -> dict[str, pd.DataFrame]:
    """``connections``: one row a connection, with `COLUMNS` or those of them that were read."""
    connections = frame_of(batches, COLUMNS)
    for name in {"comm", "reader_comm"} & {*connections}:
        connections[name] = name_texts(connections[name])
    return {"connections": connections}
