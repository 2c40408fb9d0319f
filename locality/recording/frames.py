"""Recordings as pandas DataFrames: `locality.load` and `locality.load_chunks`.

After ``recording = locality.load("before.arrows")`` the share of connections accepted on
their RX CPU is ``(recording.accepts.cpu == recording.accepts.rxcpu).mean()``.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa

from locality.errors import LocalityError
from locality.kinds import KINDS
from locality.recording.columns import of_row
from locality.recording.format import FORMAT_VERSION, Meta, schema_of
from locality.recording.reader import Reader
from locality.recording.recording import Recording
from locality.recording.size import require_memory, require_memory_of
from locality.text import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from locality.recording.columns import Column

__all__ = ["FORMAT_VERSION", "Meta", "Recording", "load", "load_chunks"]

#: Integers that may be missing; pandas would make floats of them.
_NULLABLE = {
    pa.int64(): pd.Int64Dtype(),
    pa.int32(): pd.Int32Dtype(),
    pa.uint32(): pd.UInt32Dtype(),
    pa.uint8(): pd.UInt8Dtype(),
}


def load(
    path: str | Path,
    progress: Callable[[int, int], object] | None = None,
    *,
    columns: Sequence[str] | None = None,
    tell: Callable[[str], object] = lambda _note: None,
) -> Recording:
    """Read a whole recording.

    Args:
        path: The file. It may still be written to: what is complete is read.
        progress: Told, after each batch, how many bytes of how many are read.
        columns: Those of the frame, of a recording whose rows are events: accepts or connections.
            The others are not read, which takes less time and memory. None reads all.
        tell: Told at the end if the recording was not read to an end in order: its `note`.

    Raises:
        LocalityError: It cannot be read, is no recording, or of a newer format, or an
            interval is not what a recorder writes; or its frames do not fit into the memory that
            is available.
    """
    batches = []
    with _opened(path, columns, tell) as reader:
        kind, rows = KINDS[reader.meta.kind], 0
        if columns is None:
            require_memory(Path(path), kind)
        for batch in reader:
            batches.append(batch)
            if kind.stored:
                rows += reader.count(batch)
                there = f"DataFrames of the first {reader.read / reader.size:.0%} of it"
                require_memory_of(Path(path), kind, rows, there)
            if progress is not None:
                progress(reader.read, reader.size)
    return _recording(reader, batches)


def load_chunks(
    path: str | Path, *, rows: int = 1_000_000, columns: Sequence[str] | None = None
) -> Iterator[Recording]:
    """Read a recording piece by piece, in memory that does not grow with its length.

    Args:
        path: The file.
        rows: A piece ends with the batch that makes it so many rows.
        columns: As of `load`.

    Yields:
        As `load` gives it, with the rows of a piece; its `meta`, `lost`, `torn` and `note` are
        complete in the last one. There is at least one.

    Raises:
        LocalityError: As of `load`.
    """
    with _opened(path, columns) as reader:
        batches: list[pa.RecordBatch] = []
        count = 0
        for batch in reader:
            # Not before another batch is there: the last piece has the end.
            if count >= rows:
                yield _recording(reader, batches)
                batches, count = [], 0
            batches.append(batch)
            count += reader.count(batch)
        yield _recording(reader, batches)


def _opened(
    path: str | Path,
    columns: Sequence[str] | None,
    tell: Callable[[str], object] = lambda _note: None,
) -> Reader:
    """A reader of these columns."""
    reader = Reader(Path(path), tell)
    if columns is None:
        return reader
    kind = KINDS[reader.meta.kind]
    known = [column.name for column in kind.columns.get()]
    unknown = [name for name in columns if name not in known]
    if unknown or not columns or not kind.row_is_event:
        reader.close()
    if not kind.row_is_event:
        raise LocalityError(
            f"columns= is for recordings whose rows are events, and this one holds {kind.recorded}"
        )
    if unknown or not columns:
        raise LocalityError(
            f"a recording of {kind.name} has no column {printable(', '.join(unknown))!r}: it has "
            f"{', '.join(known)}"
        )
    reader.choose(columns)
    return reader


def _recording(reader: Reader, batches: list[pa.RecordBatch]) -> Recording:
    """Batches of a recording as its frames; those of the other kinds are empty."""
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
    """Batches as one DataFrame, with those of the columns that they have.

    Args:
        batches: They have these columns, among others, or some of them.
        columns: Those of the frame.
        row: The kind of rows, where there are several.
    """
    if batches:
        columns = [column for column in columns if column.name in batches[0].schema.names]
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


def frames_of_rows(
    parts: Sequence[Mapping[str, pa.RecordBatch]], columns: Sequence[Column], kinds: Iterable[str]
) -> dict[str, pd.DataFrame]:
    """Batches with several kinds of rows as one DataFrame for each kind; names of threads as text.

    Args:
        parts: Each batch, as `recording.intervals.split` gives it.
        columns: Of the table.
        kinds: Of rows.
    """
    frames = {}
    for row in kinds:
        own = [column for column in of_row(columns, row) if column.name != "row"]
        frames[row] = frame_of([part[row] for part in parts], own, row)
        if "comm" in frames[row]:
            frames[row]["comm"] = name_texts(frames[row]["comm"])
    return frames


def name_texts(names: pd.Series[str]) -> pd.Categorical:
    """Names of threads, which are bytes, as text."""
    texts = [name.decode(errors="backslashreplace") for name in names.cat.categories]
    # Two different ones may read the same, and a category is there once.
    distinct = {text: place for place, text in enumerate(dict.fromkeys(texts))}
    place = np.array([distinct[text] for text in texts], np.int32)
    codes = place[names.cat.codes.to_numpy()] if len(names) else np.empty(0, np.int32)
    return pd.Categorical.from_codes(codes, categories=pd.Index([*distinct], dtype="str"))
