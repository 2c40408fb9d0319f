"""Recordings as pandas DataFrames: `locality.load`.

After ``recording = locality.load("before.arrows")`` the share of connections accepted on
their RX CPU is ``(recording.accepts.cpu == recording.accepts.rxcpu).mean()``.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa

from locality.kinds import KINDS
from locality.recording.format import FORMAT_VERSION, Meta, schema_of
from locality.recording.reader import Reader
from locality.recording.recording import Recording

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from locality.recording.columns import Column

__all__ = ["FORMAT_VERSION", "Meta", "Recording", "load"]

#: Integers that may be missing; pandas would make floats of them.
_NULLABLE = {
    pa.int64(): pd.Int64Dtype(),
    pa.int32(): pd.Int32Dtype(),
    pa.uint32(): pd.UInt32Dtype(),
    pa.uint8(): pd.UInt8Dtype(),
}


def load(path: str | Path, progress: Callable[[int, int], object] | None = None) -> Recording:
    """Read a whole recording.

    Args:
        path: The file. It may still be written to: what is complete is read.
        progress: Told, after each batch, how many bytes of how many are read.

    Raises:
        LocalityError: It cannot be read, is no recording, or of a newer format, or an
            interval is not what a recorder writes.
    """
    batches = []
    with Reader(Path(path)) as reader:
        for batch in reader:
            batches.append(batch)
            if progress is not None:
                progress(reader.read, reader.size)
    frames: dict[str, Any] = {}
    for kind in KINDS.values():
        own = batches if kind.name == reader.meta.kind else []
        frames |= kind.frames.get()(own, reader.meta)
    return Recording(
        meta=reader.meta,
        frames=frames,
        lost=reader.lost,
        torn=reader.torn,
        note=reader.note,
    )


def frame_of(
    batches: Sequence[pa.RecordBatch], columns: Sequence[Column], row: str = ""
) -> pd.DataFrame:
    """Batches as one DataFrame.

    Args:
        batches: They have these columns, among others.
        columns: Those of the frame.
        row: The kind of rows, where there are several.
    """
    schema = schema_of(columns)
    names = [column.name for column in columns]
    table = pa.Table.from_batches([batch.select(names) for batch in batches], schema)
    table = table.unify_dictionaries()
    nullable = [column.name for column in columns if column.may_be_null(row)]
    frame: pd.DataFrame = table.drop_columns(nullable).to_pandas()
    for place, name in enumerate(names):
        if name in nullable:
            frame.insert(
                place, name, table.select([name]).to_pandas(types_mapper=_NULLABLE.get)[name]
            )
    return frame


def name_texts(names: pd.Series[str]) -> pd.Categorical:
    """Names of threads, which are bytes, as text."""
    texts = [name.decode(errors="backslashreplace") for name in names.cat.categories]
    # Two different ones may read the same, and a category is there once.
    distinct = list(dict.fromkeys(texts))
    place = np.array([distinct.index(text) for text in texts], np.int32)
    codes = place[names.cat.codes.to_numpy()] if len(names) else np.empty(0, np.int32)
    return pd.Categorical.from_codes(codes, categories=pd.Index(distinct, dtype="str"))
