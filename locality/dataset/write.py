"""`locality export --dataset`: a recording becomes files of a data set, one for each day.

The name of a file is the id of its recording. Exporting a recording again writes nothing; of a
recording that has grown since, it replaces the files.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq

from locality.dataset.facts import Facts
from locality.dataset.schema import KEY, RECORDING, SCHEMA, VERSION
from locality.errors import LocalityError
from locality.kinds import KINDS
from locality.recording.reader import Reader
from locality.text import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from locality.dataset.facts import Contents, Row
    from locality.dataset.store import Store
    from locality.recording.format import Meta

    Progress = Callable[[int, int], object]

#: So many rows are read at once, at most.
ROW_GROUP = 1 << 16
#: An id is so many hexadecimal digits: of 100 million recordings no two have the same, but for a
#: chance of one in 4,000.
_DIGITS = 16


@dataclass(frozen=True)
class Written:
    """What an export did.

    Attributes:
        recording: The id of the recording.
        files: Files that were written.
        rows: Rows in them.
        size: Bytes of them.
        unchanged: Files that were there already.
    """

    recording: str
    files: int = 0
    rows: int = 0
    size: int = 0
    unchanged: int = 0


def add_recording(
    path: Path,
    store: Store,
    *,
    cluster: str = "",
    host: str | None = None,
    progress: Progress = lambda _done, _size: None,
    tell: Callable[[str], object] = lambda _note: None,
) -> Written:
    """Add a recording to a data set.

    Args:
        path: The recording. It may still be written to.
        store: Where the data set lies.
        cluster: What the cluster is called.
        host: What the host is called; None: as the recording says.
        progress: Told, after each batch, how many bytes of how many are read.
        tell: As of `Reader`.

    Raises:
        LocalityError: The recording cannot be read, its kind is not for data sets, it is in the
            data set under another host or cluster, or a file cannot be written.
    """
    with Reader(path, tell) as reader:
        lazy = KINDS[reader.meta.kind].dataset
        if lazy is None:
            kinds = ", ".join(kind.name for kind in KINDS.values() if kind.dataset)
            raise LocalityError(
                f"a data set takes recordings of {kinds}, and this is one of {reader.meta.kind}"
            )
        recording = recording_id(reader.schema)
        facts = Facts()
        contents: Contents = lazy.get()(reader.meta, facts)
        for rows in reader:
            contents.add(rows)
            progress(reader.read, reader.size)
        meta = reader.meta
        contents.end(reader.lost, None if meta.ended is None else meta.ended / 1e9)
        note = json.dumps({"version": VERSION, "recording": recording, "bytes": reader.read})
    of_all = {
        "version": VERSION,
        "recording": recording,
        "cluster": printable(cluster),
        "host": printable(meta.host if host is None else host),
        "kind": meta.kind,
    }
    written = Written(recording)
    by_day = [*days(facts, meta)]
    name = f"{meta.kind}-{recording}.parquet"
    partition = [folder(column, str(of_all[column])) for column in ("cluster", "host")]
    for day, _ in by_day:
        if (there := store.elsewhere((f"dt={day}", *partition), name)) is not None:
            same = "/".join((*there, name))
            raise LocalityError(
                f"{printable(str(path))} is in the data set already, as {printable(same)}, and "
                "would be counted twice: remove it there to add it under another host or cluster"
            )
    for day, day_rows in by_day:
        folders = (f"dt={day}", *partition)
        if store.note(folders, name) == note.encode():
            written = Written(
                recording, written.files, written.rows, written.size, written.unchanged + 1
            )
            continue
        file = parquet([of_all | row for row in day_rows], note)
        store.write(folders, name, file)
        written = Written(
            recording,
            written.files + 1,
            written.rows + len(day_rows),
            written.size + len(file),
            written.unchanged,
        )
    return written


def recording_id(schema: pa.Schema) -> str:
    """An id of what a recording says of itself when it begins: host, time, filter, ..."""
    said = (schema.metadata or {})[b"locality"]
    return hashlib.sha256(said).hexdigest()[:_DIGITS]


def folder(name: str, value: str) -> str:
    """A folder of a partition, as Hive writes it, also one without a value.

    All but letters, digits and ``-_`` is escaped, so that a name is neither a path nor hidden.
    """
    return f"{name}={quote(value, safe='').replace('.', '%2E') or '__HIVE_DEFAULT_PARTITION__'}"


def days(facts: Facts, meta: Meta) -> Iterator[tuple[str, list[Row]]]:
    """The rows of each day (UTC), with one that says what was recorded."""
    by_day: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for time_s, row in facts.rows():
        try:
            time = datetime.fromtimestamp(time_s, UTC)
        except (ValueError, OverflowError, OSError):
            raise LocalityError(f"the recording has a time that is no date: {time_s}") from None
        by_day[f"{time:%Y-%m-%d}"].append(row | {"time": time})
    for day, rows in sorted(by_day.items()):
        first = min(row["time"] for row in rows)
        said = {
            "part": RECORDING,
            "time": first,
            "kernel": meta.kernel,
            "rung": meta.rung,
            "cpus": len(meta.online),
            "filter": meta.filter,
            "label": meta.label,
        }
        yield day, [said, *rows]


def parquet(rows: list[Mapping[str, Any]], note: str) -> bytes:
    """Rows as a Parquet file; text of a recording, which may be any, becomes printable."""
    shown = [
        {name: printable(value) if isinstance(value, str) else value for name, value in row.items()}
        for row in rows
    ]
    return parquet_of(pa.Table.from_pylist(shown, SCHEMA), note)


def parquet_of(table: pa.Table, note: str) -> bytes:
    """A table of `SCHEMA` as a Parquet file, with what the file says of itself."""
    # Bounds are of use to find a time; those of other columns would take more room than the data.
    buffer = io.BytesIO()
    with pq.ParquetWriter(
        buffer, table.schema, compression="zstd", write_statistics=["time"], store_schema=False
    ) as writer:
        writer.add_key_value_metadata({KEY.decode(): note})
        writer.write_table(table, row_group_size=ROW_GROUP)
    return buffer.getvalue()
