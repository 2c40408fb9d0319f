"""A recording in other formats: Parquet, CSV, JSON lines; the same columns in all of them.

Batch by batch, so that a recording larger than memory can be exported.
"""

from __future__ import annotations

import csv
import io
import json
import os
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from locality.errors import LocalityError
from locality.recording.reader import Reader
from locality.recording.writer import create
from locality.text import printable

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import BinaryIO

SUFFIXES = (".parquet", ".csv", ".json")


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
    if out.suffix not in SUFFIXES:
        raise LocalityError(
            f"cannot export to {out}: its name must end in {', '.join(SUFFIXES)}", exit_code=2
        )
    write = {".parquet": _parquet, ".csv": _csv, ".json": _json}[out.suffix]
    with Reader(path) as reader:
        descriptor = create(out, force=force)
        try:
            with os.fdopen(descriptor, "wb") as file:
                return write(reader, file)
        except OSError as error:
            out.unlink(missing_ok=True)
            raise LocalityError(f"cannot write {out}: {os.strerror(error.errno or 0)}") from None
        except BaseException:
            out.unlink(missing_ok=True)
            raise


def _plain(batch: pa.RecordBatch, text: Callable[[bytes | str], str]) -> pa.RecordBatch:
    """Names as text; no dictionaries, which not every format has."""
    columns = []
    for column in batch.columns:
        plain = column
        if pa.types.is_dictionary(column.type):
            texts = pa.array(map(text, column.dictionary.to_pylist()), pa.utf8())
            plain = pa.DictionaryArray.from_arrays(column.indices, texts).dictionary_decode()
        columns.append(plain)
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)


def _decoded(name: bytes | str) -> str:
    return name if isinstance(name, str) else name.decode(errors="backslashreplace")


def _parquet(reader: Reader, file: BinaryIO) -> int:
    rows = 0
    empty = pa.RecordBatch.from_pylist([], schema=reader.schema)
    schema = _plain(empty, _decoded).schema.with_metadata(reader.schema.metadata)
    with pq.ParquetWriter(file, schema) as writer:
        for batch in reader:
            writer.write_batch(_plain(batch, _decoded).replace_schema_metadata(schema.metadata))
            rows += len(batch)
    return rows


def _csv(reader: Reader, file: BinaryIO) -> int:
    rows = 0
    with io.TextIOWrapper(file, encoding="utf-8", newline="") as out:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(reader.schema.names)
        for batch in reader:
            # Rows are read by people and spreadsheets too: no control characters in a name.
            writer.writerows(zip(*_columns(batch, printable), strict=True))
            rows += len(batch)
    return rows


def _json(reader: Reader, file: BinaryIO) -> int:
    rows = 0
    names = reader.schema.names
    with io.TextIOWrapper(file, encoding="utf-8") as out:
        for batch in reader:
            for values in zip(*_columns(batch, _decoded), strict=True):
                out.write(json.dumps(dict(zip(names, values, strict=True))) + "\n")
            rows += len(batch)
    return rows


def _columns(batch: pa.RecordBatch, text: Callable[[bytes | str], str]) -> list[list[object]]:
    """Columns of Python values; times as ISO 8601 with nanoseconds."""
    plain = _plain(batch, text)
    time = plain.schema.get_field_index("time")
    return [
        (column.cast(pa.utf8()) if number == time else column).to_pylist()
        for number, column in enumerate(plain.columns)
    ]
