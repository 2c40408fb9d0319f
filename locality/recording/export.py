"""A recording in other formats: Parquet, CSV, JSON lines; the same columns in all of them.

Batch by batch, so that a recording larger than memory can be exported.
"""

from __future__ import annotations

import csv
import io
import json
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from locality.errors import LocalityError
from locality.files import new_file
from locality.recording.arrow import empty, texts
from locality.recording.reader import Reader
from locality.text import printable, spreadsheet_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import BinaryIO, TextIO

FORMATS = ("parquet", "csv", "json")


def export(path: Path, out: Path, *, force: bool = False) -> int:
    """Write a recording in the format that the name of the new file ends with.

    Args:
        path: The recording.
        out: The new file, mode 0600.
        force: Replace a file of that name.

    Returns:
        Rows written.

    Raises:
        LocalityError: One cannot be read or the other not written; no half of it is left.
    """
    if out.suffix[1:] not in FORMATS:
        endings = ", ".join(f".{name}" for name in FORMATS)
        raise LocalityError(
            f"cannot export to {printable(str(out))}: its name must end in {endings}", exit_code=2
        )
    with Reader(path) as reader, new_file(out, force=force) as file:
        return _WRITERS[out.suffix[1:]](reader, file)


def export_to(path: Path, file: BinaryIO, format_: str) -> int:
    """Write a recording to an open file; as `export` otherwise."""
    with Reader(path) as reader:
        return _WRITERS[format_](reader, file)


def _plain(batch: pa.RecordBatch, text: Callable[[bytes | str], str]) -> pa.RecordBatch:
    """Names as text; no dictionaries, which not every format has."""
    columns = []
    for column in batch.columns:
        plain = column
        if pa.types.is_dictionary(column.type):
            words = texts([text(raw) for raw in column.dictionary.to_pylist()], pa.utf8())
            plain = pa.DictionaryArray.from_arrays(column.indices, words).dictionary_decode()
        columns.append(plain)
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)


def _decoded(name: bytes | str) -> str:
    return name if isinstance(name, str) else name.decode(errors="backslashreplace")


def _parquet(reader: Reader, file: BinaryIO) -> int:
    rows = 0
    schema = _plain(empty(reader.schema), _decoded).schema.with_metadata(reader.schema.metadata)
    with pq.ParquetWriter(file, schema) as writer:
        for batch in reader.rows():
            writer.write_batch(_plain(batch, _decoded).replace_schema_metadata(schema.metadata))
            rows += len(batch)
    return rows


def _csv(reader: Reader, file: BinaryIO) -> int:
    rows = 0
    with _text(file) as out:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(reader.schema.names)
        for batch in reader.rows():
            # Rows are read by people and spreadsheets too: no control characters in a name.
            writer.writerows(zip(*_columns(batch, spreadsheet_text), strict=True))
            rows += len(batch)
    return rows


def _json(reader: Reader, file: BinaryIO) -> int:
    rows = 0
    names = reader.schema.names
    with _text(file) as out:
        for batch in reader.rows():
            for values in zip(*_columns(batch, _decoded), strict=True):
                out.write(json.dumps(dict(zip(names, values, strict=True))) + "\n")
            rows += len(batch)
    return rows


@contextmanager
def _text(file: BinaryIO) -> Iterator[TextIO]:
    """A file to write text to; it is kept open."""
    out = io.TextIOWrapper(file, encoding="utf-8", newline="")
    try:
        yield out
    finally:
        out.detach()


_WRITERS = {"parquet": _parquet, "csv": _csv, "json": _json}


def _columns(batch: pa.RecordBatch, text: Callable[[bytes | str], str]) -> list[list[object]]:
    """Columns of Python values; times as ISO 8601 with nanoseconds."""
    plain = _plain(batch, text)
    time = plain.schema.get_field_index("time")
    return [
        (column.cast(pa.utf8()) if number == time else column).to_pylist()
        for number, column in enumerate(plain.columns)
    ]
