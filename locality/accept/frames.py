"""A recording of accepted connections as a DataFrame."""

from __future__ import annotations

from typing import TYPE_CHECKING

from locality.accept.columns import COLUMNS
from locality.recording.frames import frame_of, name_texts

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    import pyarrow as pa

    from locality.recording.format import Meta


def frames(batches: Sequence[pa.RecordBatch], _meta: Meta) -> dict[str, pd.DataFrame]:
    """``accepts``: one row a connection, with `COLUMNS` or those of them that were read."""
    accepts = frame_of(batches, COLUMNS)
    if "comm" in accepts:
        accepts["comm"] = name_texts(accepts["comm"])
    return {"accepts": accepts}
