"""How a recording keeps packets: a row for each direction of an interval, with its pairs of CPUs.

A row for each pair, as users see them (`locality.skb.columns`), takes 100 bytes, most of them for
figures that only totals have. On a machine of 512 CPUs that is 56 MB an interval. Here a pair is
twelve bytes in the row of its direction:

* ``step``: its place, less the place of the pair before it. The place of a pair is alloc CPU *
  possible CPUs + consume CPU. Pairs are in the order of their places, so steps are small. The first
  step is from -1.
* ``packets``: how many.

Both are divided into their bytes: ``packets`` + 2**8 * ``packets_8`` + 2**24 * ``packets_24``.
Bytes that are alike then lie side by side, which is what compression needs: the file comes near to
the entropy of the counts.
"""

from __future__ import annotations

from functools import reduce
from operator import add
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from locality.recording.arrow import numbers, texts, values_of
from locality.recording.columns import MOST, of_row
from locality.recording.format import damaged, nanoseconds, schema_of
from locality.skb.columns import COLUMNS, PAIR, TOTAL
from locality.skb.interval import RX, TX
from locality.skb.pairs import Pairs, pairs_in

if TYPE_CHECKING:
    from locality.arrays import Array
    from locality.recording.format import Meta
    from locality.skb.interval import Interval

#: The bytes of a step and of a count, lowest first: name, shift, type.
_STEP = (("step", 0, "u1"), ("step_8", 8, "u4"))
_PACKETS = (("packets", 0, "u1"), ("packets_8", 8, "u2"), ("packets_24", 24, "u4"))
_PAIR = pa.struct(
    [(name, pa.from_numpy_dtype(np.dtype(dtype))) for name, _, dtype in (*_STEP, *_PACKETS)]
)
PAIRS = "pairs"
TOTALS = of_row(COLUMNS, TOTAL)
SCHEMA = pa.schema([*schema_of(TOTALS), (PAIRS, pa.list_(_PAIR))])
DIRECTIONS = ("rx", "tx")
_ROWS = schema_of(COLUMNS)
_PAIR_ROWS = schema_of(of_row(COLUMNS, PAIR))


def stored_rows(interval: Interval) -> pa.RecordBatch:
    """An interval as two rows of `SCHEMA`."""
    arrays = [
        _totals(column.form, column.name, interval).cast(SCHEMA.field(column.name).type)
        for column in TOTALS
    ]
    return pa.RecordBatch.from_arrays([*arrays, _pairs(pairs_in(interval.by_pair))], schema=SCHEMA)


def _totals(form: str, name: str, interval: Interval) -> pa.Array:
    """A column's values for the two directions."""
    values: list[int | None]
    match form:
        case "time":
            values = [nanoseconds(interval.time)] * 2
        case "word":
            return pa.DictionaryArray.from_arrays(
                numbers(np.array([RX, TX], np.int8)), texts(DIRECTIONS, pa.utf8())
            )
        case "direction":
            values = [getattr(flow, name) for flow in (interval.rx, interval.tx)]
        case "received":
            values = [getattr(interval, name), None]
        case "split":
            values = list(getattr(interval, name))
        case _:
            whole = getattr(interval, name)
            if isinstance(whole, float):
                return numbers(np.full(2, whole))
            values = [whole] * 2
    known = np.array([value is not None for value in values])
    return numbers(np.array([value or 0 for value in values], np.int64), known)


def _pairs(both: tuple[Pairs, Pairs]) -> pa.Array:
    """The pairs of both directions: a list of `_PAIR` each."""
    lengths, steps, packets = [0], [], []
    for pairs in both:
        lengths.append(len(pairs.cells))
        steps.append(np.diff(pairs.cells, prepend=-1))
        packets.append(pairs.packets)
    fields = [
        numbers((values >> shift).astype(dtype))
        for values, parts in (
            (np.concatenate(steps), _STEP),
            (np.concatenate(packets), _PACKETS),
        )
        for _, shift, dtype in parts
    ]
    pairs = pa.StructArray.from_arrays(fields, fields=list(_PAIR))
    return pa.ListArray.from_arrays(numbers(np.cumsum(lengths, dtype=np.int32)), pairs)


def pairs_of(rows: pa.RecordBatch, meta: Meta) -> tuple[Pairs, Pairs]:
    """The pairs of both directions in rows of `SCHEMA`.

    Raises:
        LocalityError: It is not what a recorder writes.
    """
    column = rows[PAIRS]
    if len(column) != len(DIRECTIONS) or column.null_count:
        raise damaged("an interval without its pairs")
    pairs = column.values
    fields = {field.name: pairs.field(place) for place, field in enumerate(_PAIR)}
    if pairs.null_count or any(field.null_count for field in fields.values()):
        raise damaged("a value is missing: pairs")
    steps, packets = (
        reduce(add, [values_of(fields[name]).astype(np.int64) << shift for name, shift, _ in parts])
        for parts in (_STEP, _PACKETS)
    )
    begin, middle, end = values_of(column.offsets).tolist()
    rx, tx = (
        _checked(steps[first:last], packets[first:last], meta.possible)
        for first, last in ((begin, middle), (middle, end))
    )
    return rx, tx


def _checked(steps: Array, packets: Array, possible: int) -> Pairs:
    """The pairs, which are those of a machine with so many CPUs, each of them once."""
    if len(steps):
        cells = possible**2
        # In this order: what is added up must not wrap round.
        if steps.min() < 1 or max(len(steps), int(steps.max())) > cells or steps.sum() > cells:
            raise damaged("a value out of range: pairs")
        if packets.min() < 1 or packets.max() > MOST:
            raise damaged("a value out of range: packets")
    return Pairs(np.cumsum(steps) - 1, packets)


def pair_rows(totals: pa.RecordBatch, both: tuple[Pairs, Pairs], possible: int) -> pa.RecordBatch:
    """The pairs of an interval as rows, with the columns that these have."""
    cells = np.concatenate([pairs.cells for pairs in both])
    direction = np.repeat(np.array([RX, TX], np.int8), [len(pairs.cells) for pairs in both])
    columns = {
        "time": numbers(np.full(len(cells), values_of(totals["time"])[0])),
        "seconds": numbers(np.full(len(cells), values_of(totals["seconds"])[0])),
        "direction": pa.DictionaryArray.from_arrays(
            numbers(direction), texts(DIRECTIONS, pa.utf8())
        ),
        "alloc_cpu": numbers(cells // possible),
        "consume_cpu": numbers(cells % possible),
        "packets": numbers(np.concatenate([pairs.packets for pairs in both])),
    }
    arrays = [columns[field.name].cast(field.type) for field in _PAIR_ROWS]
    return pa.RecordBatch.from_arrays(arrays, schema=_PAIR_ROWS)


def rows_of(rows: pa.RecordBatch, meta: Meta) -> pa.RecordBatch:
    """Rows of `SCHEMA` as rows of `COLUMNS`: the totals of rx and tx, then the pairs.

    Raises:
        LocalityError: It is not what a recorder writes.
    """
    parts = (rows, pair_rows(rows, pairs_of(rows, meta), meta.possible))
    arrays = [
        pa.concat_arrays(
            [
                part[field.name] if _has(part, field.name) else pa.nulls(len(part), field.type)
                for part in parts
            ]
        )
        for field in _ROWS
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=_ROWS)


def _has(rows: pa.RecordBatch, name: str) -> bool:
    return name in rows.schema.names


def require(rows: pa.RecordBatch, meta: Meta) -> None:
    """Check what the table of columns cannot say.

    Raises:
        LocalityError: It is not what a recorder writes.
    """
    if rows["direction"].to_pylist() != [*DIRECTIONS]:
        raise damaged("an interval has no totals")
    pairs_of(rows, meta)


def count(rows: pa.RecordBatch) -> int:
    """How many rows of `COLUMNS` these stand for."""
    return len(rows) + len(rows[PAIRS].flatten())
