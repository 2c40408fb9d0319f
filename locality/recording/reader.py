"""Reading a recording batch by batch: what is complete is given, what is not is told."""

from __future__ import annotations

import os
import stat
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from locality.errors import LocalityError
from locality.files import reason
from locality.kinds import KINDS
from locality.recording.arrow import numbers, texts
from locality.recording.foreign_json import NOT_OURS, parse_json, whole_number
from locality.recording.format import KEY, Meta, damaged, schema_of
from locality.recording.message import (
    BYTES_OF_A_PAIR,
    MOST_GROWTH,
    SMALL_BATCH,
    is_cut_off,
    next_batch_grows,
)
from locality.text import counted, printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path


def _open_regular(path: Path) -> int:
    """Open a regular file to read; a FIFO or a device could keep us waiting for ever.

    Raises:
        LocalityError: It is something else.
        OSError: It cannot be opened.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise LocalityError(f"cannot read {printable(str(path))}: it is no regular file")
    return descriptor


class Reader:
    """The batches of a recording, in order; iterate once, then look at the attributes.

    Batches are as the file has them: see `rows` for those of a kind that stores its rows in another
    form.

    Attributes:
        schema: The kind's columns, those among them that a recording of an older version lacks.
        meta: Complete after the last batch.
        size: Bytes of the file.
        read: Bytes read so far.
        batches: Batches read so far, the empty ones not counted.
        lost: The latest count of what was lost that the recording has.
        told: All counts that the latest batch has, by name.
        torn: Bytes at the end that were not read, as no complete batch begins there or it is
            damaged; 0 before the last batch. What is behind damage is lost, even if it is whole:
            names stand in dictionaries that only the first batch with them has, and without the
            one that was damaged later rows would get wrong names.
        damaged: Whether these are not what a recorder leaves that was killed or still writes.

    Args:
        path: The file.
        tell: Told once, at the end, if the recording was not read to an end in order.

    Raises:
        LocalityError: It cannot be read, or is no recording.
    """

    def __init__(self, path: Path, tell: Callable[[str], object] = lambda _note: None) -> None:
        self._path = path
        self._tell = tell
        try:
            self._descriptor = _open_regular(path)
        except (OSError, ValueError) as error:
            raise LocalityError(f"cannot read {printable(str(path))}: {reason(error)}") from None
        self.size = os.fstat(self._descriptor).st_size
        self._file = pa.PythonFile(os.fdopen(self._descriptor, "rb", buffering=0), mode="r")
        try:
            self._stream = pa.ipc.open_stream(self._file)
            self.meta = Meta.from_schema(self._stream.schema)
        except (pa.ArrowException, OSError, MemoryError):
            self._file.close()
            what = "is empty" if not self.size else "is no recording, or was cut at its very start"
            raise LocalityError(f"cannot read {printable(str(path))}: it {what}") from None
        except LocalityError as error:
            self._file.close()
            raise LocalityError(f"cannot read {printable(str(path))}: {error}") from None
        self.schema = schema_of(self.meta.columns).with_metadata(self._stream.schema.metadata)
        # Meta.from_schema has seen that there is one.
        self._form = self.meta.form_of(self._stream.schema) or self.schema
        as_they_are = self._form.equals(schema_of(self.meta.columns))
        self._stored = None if as_they_are else self.meta.stored
        self._columns = [
            column for column in self.meta.columns if self._form.get_field_index(column.name) >= 0
        ]
        self._all = True
        self.read = self._file.tell()
        self.batches = 0
        self.lost = 0
        self.told: Mapping[str, int] = {}
        self.torn = 0
        self.damaged = False

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        while (batch := self._next()) is not None:
            if batch.num_rows:
                self.batches += 1
                yield batch
        if self.note:
            self._tell(f"{self._path}: {self.note}")

    def choose(self, columns: Sequence[str]) -> None:
        """Read only these columns, which takes less time; before the first batch.

        What the kind's `require` would find in the others is not found.

        Args:
            columns: Of the file; empty for all.
        """
        if not columns:
            return
        self._columns = [column for column in self._columns if column.name in columns]
        self._all = False
        there = [self._stream.schema.get_field_index(column.name) for column in self._columns]
        options = pa.ipc.IpcReadOptions(included_fields=[place for place in there if place >= 0])
        self._file.seek(0)
        self._stream = pa.ipc.open_stream(self._file, options=options)
        self._form = pa.schema([self._form.field(column.name) for column in self._columns])

    def rows(self) -> Iterator[pa.RecordBatch]:
        """The batches as rows of the kind's columns; iterate over these or the reader, once."""
        for batch in self:
            yield self._stored.rows_of(batch, self.meta) if self._stored else batch

    def count(self, batch: pa.RecordBatch) -> int:
        """How many rows of the kind's columns a batch has."""
        return self._stored.count(batch, self.meta) if self._stored else len(batch)

    def _next(self) -> pa.RecordBatch | None:
        """The next complete batch, perhaps empty; None at the end, wherever that is."""
        try:
            self._bound()
            batch, said = self._stream.read_next_batch_with_custom_metadata()
            # A file that lies about its lengths or indices must not be walked through in C.
            batch.validate(full=True)
            batch = self._completed(batch)
            if batch.num_rows:
                self._check(batch)
            # Without metadata a batch has the counts of the one before.
            if said is not None:
                self._note(parse_json(said[KEY]))
        except StopIteration:
            # Between two batches the stream may end with its eight bytes of end, or without.
            ended = self.meta.ended is not None
            self._not_read(self._file.tell() if ended else self.read)
            return None
        except (pa.ArrowException, OSError, MemoryError, *NOT_OURS):
            self._not_read(self.read)
            return None
        except LocalityError as error:
            where = f"{printable(str(self._path))}, from byte {self.read} on"
            raise LocalityError(f"cannot read {where}: {error}") from None
        self.read = self._file.tell()
        return batch

    def _not_read(self, at: int) -> None:
        """Note that nothing is read from here on."""
        self.torn = self.size - at
        self.damaged = self.torn > 0 and not is_cut_off(self._descriptor, at, self.size)

    def _completed(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """A batch with the columns that an older version did not write; see `Column.later`."""
        for column in self._columns:
            if batch.schema.get_field_index(column.name) >= 0:
                continue
            place = self._form.get_field_index(column.name)
            field = self._form.field(place)
            if column.nullable:
                values = pa.nulls(len(batch), field.type)
            else:
                values = numbers(np.zeros(len(batch), np.int64)).cast(field.type)
            if column.rows and not column.nullable and "row" in batch.schema.names:
                has_it = pc.is_in(batch["row"].cast(pa.utf8()), texts(column.rows, pa.utf8()))
                values = pc.if_else(has_it, values, pa.nulls(len(batch), field.type))
            batch = batch.add_column(place, field, values)
        # Of columns that the file all lacks, Arrow reads every other one.
        return batch if self._all else batch.select(self._form.names)

    def _check(self, batch: pa.RecordBatch) -> None:
        """Find values that no recorder writes, before they are used.

        Raises:
            LocalityError: There is one.
        """
        for column in self._columns:
            values = batch[column.name]
            if values.null_count and not column.may_be_null():
                raise damaged(f"a value is missing: {column.name}")
            if pa.types.is_dictionary(values.type):
                if values.dictionary.null_count:
                    raise damaged(f"a value is missing: {column.name}")
                continue
            if pa.types.is_boolean(values.type) or values.null_count == len(values):
                continue
            numbers = values.cast(pa.int64()) if column.type == "time" else values
            if pa.types.is_floating(values.type) and not pc.all(pc.is_finite(values)).as_py():
                raise damaged(f"not a finite number: {column.name}")
            found = pc.min_max(numbers).as_py()
            most = self.meta.possible - 1 if column.is_cpu else column.most
            if found["min"] < column.least or (most is not None and found["max"] > most):
                raise damaged(f"a value out of range: {column.name}")
        if self._stored:
            self._stored.require(batch, self.meta)
        elif self._all:
            KINDS[self.meta.kind].require.get()(batch)

    def _bound(self) -> None:
        """See that the next batch does not grow beyond what a recorder can have compressed.

        Raises:
            LocalityError: It would.
            ValueError: What follows is no batch.
        """
        stored, grown = next_batch_grows(self._descriptor, self._file.tell())
        # The metadata of a machine of so many CPUs take a byte for each pair of them.
        if grown > SMALL_BATCH + BYTES_OF_A_PAIR * self.meta.possible**2 + MOST_GROWTH * stored:
            raise damaged(
                f"a batch of {stored} bytes grows to {grown}, beyond what a recorder's compression "
                "can reach"
            )

    def _note(self, said: dict[str, Any]) -> None:
        lost = whole_number(said["lost"], 0)
        self.told = {name: count for name, count in said.items() if type(count) is int}
        if "ended" in said:
            ended, count = whole_number(said["ended"], 0), whole_number(said["count"], 0)
            self.meta = replace(self.meta, ended=ended, count=count, lost=lost)
        self.lost = lost

    @property
    def note(self) -> str:
        """In words, how the recording ends if not in order, after the last batch; else empty."""
        if self.meta.ended is not None and not self.torn:
            return ""
        if self.damaged:
            at = self.size - self.torn
            return (
                f"the recording is damaged from byte {at} on, and what is behind that is lost: "
                f"{counted(self.torn, 'byte')} not read"
            )
        torn = f"; {counted(self.torn, 'byte')} of a torn batch not read" if self.torn else ""
        return f"the recorder did not end in order: what it wrote is complete up to there{torn}"

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()
