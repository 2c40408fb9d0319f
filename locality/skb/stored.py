"""How a recording keeps packets: a row for each direction of an interval, with its pairs of CPUs.

A row for each pair, as users see them (`locality.skb.columns`), takes 100 bytes, most of them for
figures that only totals have. On a machine of 512 CPUs that is 56 MB an interval. Here the pairs
are two packed lists of numbers (`locality.skb.packing`) in the row of their direction, and the file
comes near to the entropy of the counts:

* ``places``: how many pairs had packets, in four bytes, lowest first; then of each its place, less
  the place of the pair before it. The place of a pair is alloc CPU * possible CPUs + consume CPU.
  Pairs are in the order of their places, so these steps are small. The first is from -1. No bytes
  at all: every place is meant, which takes less room where most pairs had packets.
* ``counts``: packets of each pair, 0 only where every place is meant.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from locality.recording.arrow import bytes_of, numbers, texts, values_of
from locality.recording.columns import MOST, of_row
from locality.recording.format import damaged, nanoseconds, schema_of
from locality.skb import earlier
from locality.skb.columns import COLUMNS, PAIR, TOTAL
from locality.skb.interval import RX, TX
from locality.skb.packing import pack, unpack
from locality.skb.pairs import FewPairs, Pairs, pairs_among

if TYPE_CHECKING:
    from locality.arrays import Array
    from locality.recording.format import Meta
    from locality.skb.interval import Interval
    from locality.skb.pairs import Matrix

TOTALS = of_row(COLUMNS, TOTAL)
PLACES, COUNTS = "places", "counts"
SCHEMA = pa.schema([*schema_of(TOTALS), (PLACES, pa.binary()), (COUNTS, pa.binary())])
#: Of format 2.
EARLIER = (pa.schema([*schema_of(TOTALS), earlier.PAIRS]),)
_LENGTH = np.dtype("<u4")
#: Where more pairs have packets, lists of places take more room than the zeros of the others.
_MOST_LISTED = 0.4
DIRECTIONS = ("rx", "tx")
_ROWS = schema_of(COLUMNS)
_PAIR_ROWS = schema_of(of_row(COLUMNS, PAIR))


def stored_rows(interval: Interval) -> pa.RecordBatch:
    """An interval as two rows of `SCHEMA`."""
    arrays = [
        _totals(column.form, column.name, interval).cast(SCHEMA.field(column.name).type)
        for column in TOTALS
    ]
    lists = zip(*(_packed(interval.by_pair, direction) for direction in (RX, TX)), strict=True)
    arrays += [texts(packed, pa.binary()) for packed in lists]
    return pa.RecordBatch.from_arrays(arrays, schema=SCHEMA)


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


def _packed(matrix: Matrix, direction: int) -> tuple[bytes, bytes]:
    """The places and the counts of a direction."""
    if isinstance(matrix, FewPairs):
        pairs = matrix.both[direction]
    else:
        counts = matrix[direction].reshape(-1)
        if np.count_nonzero(counts) > _MOST_LISTED * len(counts):
            return b"", pack(counts)
        pairs = pairs_among(counts)
    length = _LENGTH.type(len(pairs.cells)).tobytes()
    return length + pack(np.diff(pairs.cells, prepend=-1)), pack(pairs.packets)


def has_pairs(rows: pa.RecordBatch) -> bool:
    """Whether rows are of `SCHEMA` or an earlier one, or are those of `COLUMNS` themselves."""
    return _has(rows, COUNTS) or _has(rows, earlier.PAIRS.name)


def pairs_of(rows: pa.RecordBatch, meta: Meta) -> tuple[Pairs, Pairs]:
    """The pairs of both directions in rows of `SCHEMA` or an earlier one.

    Raises:
        LocalityError: It is not what a recorder writes.
    """
    if len(rows) != len(DIRECTIONS):
        raise damaged("an interval without its pairs")
    if _has(rows, earlier.PAIRS.name):
        rx, tx = (
            _listed(steps, packets, meta.possible)
            for steps, packets in earlier.steps_and_packets(rows)
        )
        return rx, tx
    columns = [rows[PLACES], rows[COUNTS]]
    if any(column.null_count for column in columns):
        raise damaged("an interval without its pairs")
    rx, tx = (
        _unpacked(places, counts, meta.possible)
        for places, counts in zip(*map(bytes_of, columns), strict=True)
    )
    return rx, tx


def _unpacked(places: Array, counts: Array, possible: int) -> Pairs:
    """The pairs of a direction; see the module."""
    if not len(places):
        return pairs_among(unpack(counts, possible**2))
    if len(places) < _LENGTH.itemsize:
        raise damaged("pairs without their number")
    head, steps = np.split(places, [_LENGTH.itemsize])
    length = int(head.view(_LENGTH)[0])
    # Before memory is taken for pairs of another machine.
    if length > possible**2:
        raise damaged("a value out of range: pairs")
    return _listed(unpack(steps, length), unpack(counts, length), possible)


def _listed(steps: Array, packets: Array, possible: int) -> Pairs:
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


def count(rows: pa.RecordBatch, meta: Meta) -> int:
    """How many rows of `COLUMNS` these stand for.

    Raises:
        LocalityError: It is not what a recorder writes.
    """
    return len(rows) + sum(len(pairs.cells) for pairs in pairs_of(rows, meta))
