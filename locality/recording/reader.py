"""Reading a recording batch by batch: what is complete is given, what is not is told."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

import pyarrow as pa
import pyarrow.compute as pc

from locality.errors import LocalityError
from locality.recording.format import KEY, Meta

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Reader:
    """The batches of a recording, in order; iterate once, then look at the attributes.

    Attributes:
        schema: Its columns.
        meta: Complete after the last batch.
        size: Bytes of the file.
        read: Bytes read so far.
        batches: Batches read so far, the empty ones not counted.
        lost: The latest count of what was lost that the recording has.
        torn: Bytes at the end that are no complete batch; 0 before the last batch.

    Args:
        path: The file.

    Raises:
        LocalityError: It cannot be read, or is no recording.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._file = pa.OSFile(str(path))
            self.size = self._file.size()
        except OSError as error:
            reason = "No such file" if isinstance(error, FileNotFoundError) else str(error)
            raise LocalityError(f"cannot read {path}: {reason}") from None
        try:
            self._stream = pa.ipc.open_stream(self._file)
        except (pa.ArrowException, OSError, MemoryError):
            found = "is empty" if not self.size else "is no recording, or was cut at its very start"
            raise LocalityError(f"cannot read {path}: it {found}") from None
        try:
            self.meta = Meta.from_schema(self._stream.schema)
        except LocalityError as error:
            raise LocalityError(f"cannot read {path}: {error}") from None
        self.schema = self._stream.schema
        self.read = self._file.tell()
        self.batches = 0
        self.lost = 0
        self.torn = 0

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        while (batch := self._next()) is not None:
            if batch.num_rows:
                self.batches += 1
                yield batch

    def _next(self) -> pa.RecordBatch | None:
        """The next complete batch, perhaps empty; None at the end, wherever that is."""
        try:
            batch, said = self._stream.read_next_batch_with_custom_metadata()
            # A file that lies about its lengths or indices must not be walked through in C.
            batch.validate(full=True)
            self._check(batch)
            self._note(json.loads(said[KEY]))
        except StopIteration:
            # Between two batches the stream may end with its eight bytes of end, or without.
            ended = self.meta.ended is not None
            self.torn = self.size - (self._file.tell() if ended else self.read)
            return None
        except (pa.ArrowException, OSError, MemoryError, KeyError, TypeError, ValueError):
            self.torn = self.size - self.read
            return None
        self.read = self._file.tell()
        return batch

    def _check(self, batch: pa.RecordBatch) -> None:
        """Find values that no recorder writes, before they are used as indices."""
        for column in self.meta.columns:
            values = batch[column.name]
            if values.null_count and not column.may_be_null():
                raise ValueError(column.name)
            if pa.types.is_dictionary(values.type) and values.dictionary.null_count:
                raise ValueError(column.name)
            if column.lowest_cpu is not None and values.null_count < len(values):
                found = pc.min_max(values).as_py()
                if found["min"] < column.lowest_cpu or found["max"] >= self.meta.possible:
                    raise ValueError(column.name)

    def _note(self, said: dict[str, Any]) -> None:
        self.lost = int(said["lost"])
        if "ended" in said:
            self.meta = replace(
                self.meta, ended=int(said["ended"]), count=int(said["count"]), lost=self.lost
            )

    @property
    def note(self) -> str:
        """In words, how the recording ends if not in order; empty if it does."""
        if self.meta.ended is not None and not self.torn:
            return ""
        torn = f", and {self.torn} bytes of a torn batch were skipped" if self.torn else ""
        return f"the recorder did not end in order: what it wrote is complete up to there{torn}"

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()
