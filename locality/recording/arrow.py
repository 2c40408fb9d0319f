"""numpy arrays as Arrow arrays and back, without pandas.

`pyarrow.array`, `Array.to_numpy` and scalars of pyarrow import pandas where it is installed. That
is 50 MB and a quarter of a second of CPU time for a recorder, which has no use for it.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Sequence

    from locality.arrays import Array


def numbers(values: Array, known: Array | None = None) -> pa.Array:
    """An array of numbers.

    Args:
        values: (rows,) integers or floats; an array that is contiguous is not copied.
        known: (rows,) whether a row has a value; all have, if None.
    """
    valid, missing = _validity(known)
    whole = np.ascontiguousarray(values)
    return pa.Array.from_buffers(
        pa.from_numpy_dtype(whole.dtype), len(whole), [valid, pa.py_buffer(whole)], missing
    )


def texts(values: Sequence[str | None] | Sequence[bytes | None], kind: pa.DataType) -> pa.Array:
    """An array of texts or bytes.

    Args:
        values: None is no value.
        kind: ``pa.utf8()`` or ``pa.binary()``.
    """
    known = np.array([value is not None for value in values], np.bool_)
    raw = [value.encode() if isinstance(value, str) else value or b"" for value in values]
    offsets = np.zeros(len(raw) + 1, np.int32)
    offsets[1:] = np.cumsum([len(value) for value in raw], dtype=np.int64)
    valid, missing = _validity(known)
    buffers = [valid, pa.py_buffer(offsets), pa.py_buffer(b"".join(raw))]
    return pa.Array.from_buffers(kind, len(raw), buffers, missing)


def _validity(known: Array | None) -> tuple[pa.Buffer | None, int]:
    if known is None or known.all():
        return None, 0
    return pa.py_buffer(np.packbits(known, bitorder="little")), len(known) - int(known.sum())


def values_of(column: pa.Array) -> Array:
    """(rows,) the numbers of a column; where a row has no value, whatever stands there.

    Args:
        column: Of integers, floats, times or the indices of a dictionary.
    """
    kind = column.type
    dtype = np.dtype(np.int64) if pa.types.is_timestamp(kind) else np.dtype(kind.to_pandas_dtype())
    data = column.buffers()[1]
    if data is None or not len(column):
        return np.zeros(len(column), dtype)
    return np.frombuffer(data, dtype, len(column), column.offset * dtype.itemsize)


def bytes_of(column: pa.Array) -> list[Array]:
    """The bytes of each row of a binary column; without any, where a row has no value."""
    if not len(column):
        return []
    _, offsets, data = column.buffers()
    ends = np.frombuffer(offsets, np.int32, len(column) + 1, column.offset * 4)
    raw = np.frombuffer(data, np.uint8) if data else np.zeros(0, np.uint8)
    return [raw[first:last] for first, last in itertools.pairwise(ends)]


def known_of(column: pa.Array) -> Array:
    """(rows,) whether a row has a value."""
    valid = column.buffers()[0]
    if valid is None or not column.null_count:
        return np.full(len(column), column.null_count == 0)
    bits = np.unpackbits(np.frombuffer(valid, np.uint8), bitorder="little")
    found: Array = bits[column.offset : column.offset + len(column)].astype(np.bool_)
    return found


def filled_of(column: pa.Array) -> Array:
    """(rows,) the numbers of a column, 0 where a row has no value."""
    values = values_of(column)
    return values if not column.null_count else np.where(known_of(column), values, 0)


def empty(schema: pa.Schema) -> pa.RecordBatch:
    """No rows of these columns."""
    return pa.RecordBatch.from_arrays([pa.nulls(0, field.type) for field in schema], schema=schema)
