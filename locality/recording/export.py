"""A recording in other formats: Parquet, CSV, JSON lines; the same columns in all of them.

Batch by batch, so that a recording larger than memory can be exported.
"""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from locality.errors import LocalityError
from locality.files import new_file
from locality.recording.arrow import empty, texts
from locality.recording.batch_lines import Form, many_lines
from locality.recording.byte_lines import MANY
from locality.recording.reader import Reader
from locality.text import printable, spreadsheet_text

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import BinaryIO

    Progress = Callable[[int, int], object]

FORMATS = ("parquet", "csv", "json")


def export(
    path: Path,
    out: Path,
    *,
    force: bool = False,
    progress: Progress = lambda _done, _size: None,
    tell: Callable[[str], object] = lambda _note: None,
) -> int:
    """Write a recording in the format that the name of the new file ends with.

    Args:
        path: The recording.
        out: The new file, mode 0600.
        force: Replace a file of that name.
        progress: Told, after each batch, how many bytes of how many are read.
        tell: As of `Reader`.

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
    with Reader(path, tell) as reader, new_file(out, force=force) as file:
        return _WRITERS[out.suffix[1:]](reader, file, progress)


def export_to(
    path: Path,
    file: BinaryIO,
    format_: str,
    progress: Progress = lambda _done, _size: None,
    tell: Callable[[str], object] = lambda _note: None,
) -> int:
    """Write a recording to an open file; as `export` otherwise."""
    with Reader(path, tell) as reader:
        return _WRITERS[format_](reader, file, progress)


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


def _parquet(reader: Reader, file: BinaryIO, progress: Progress) -> int:
    rows = 0
    schema = _plain(empty(reader.schema), _decoded).schema.with_metadata(reader.schema.metadata)
    with pq.ParquetWriter(file, schema) as writer:
        for batch in reader.rows():
            writer.write_batch(_plain(batch, _decoded).replace_schema_metadata(schema.metadata))
            rows += len(batch)
            progress(reader.read, reader.size)
    return rows


def _csv(reader: Reader, file: BinaryIO, progress: Progress) -> int:
    """Rows are read by people and spreadsheets too: no control characters in a name."""
    head = io.StringIO()
    csv.writer(head, lineterminator="\n").writerow(reader.schema.names)
    file.write(head.getvalue().encode())

    def few(batch: pa.RecordBatch) -> bytes:
        text = io.StringIO()
        rows = zip(*_columns(batch, spreadsheet_text), strict=True)
        csv.writer(text, lineterminator="\n").writerows(rows)
        return text.getvalue().encode()

    form = Form.csv(reader.schema.names)
    return _lines(reader, file, progress, form, few)


def _json(reader: Reader, file: BinaryIO, progress: Progress) -> int:
    names = reader.schema.names

    def few(batch: pa.RecordBatch) -> bytes:
        rows = zip(*_columns(batch, _decoded), strict=True)
        lines = [json.dumps(dict(zip(names, values, strict=True))) + "\n" for values in rows]
        return "".join(lines).encode()

    return _lines(reader, file, progress, Form.json(names), few)


def _lines(
    reader: Reader,
    file: BinaryIO,
    progress: Progress,
    form: Form,
    few: Callable[[pa.RecordBatch], bytes],
) -> int:
    """Write a line for each row; gives their number."""
    rows = 0
    for batch in reader.rows():
        file.writelines([few(batch)] if len(batch) < MANY else many_lines(batch, form))
        rows += len(batch)
        progress(reader.read, reader.size)
    return rows


_WRITERS = {"parquet": _parquet, "csv": _csv, "json": _json}


def _columns(batch: pa.RecordBatch, text: Callable[[bytes | str], str]) -> list[list[object]]:
    """Columns of Python values; times as ISO 8601 with nanoseconds."""
    plain = _plain(batch, text)
    time = plain.schema.get_field_index("time")
    return [
        (column.cast(pa.utf8()) if number == time else column).to_pylist()
        for number, column in enumerate(plain.columns)
    ]
