"""Pairs of CPUs as format 2 kept them: lists of steps and counts, divided into their bytes.

* ``step`` + 2**8 * ``step_8``: as `locality.skb.stored` says.
* ``packets`` + 2**8 * ``packets_8`` + 2**24 * ``packets_24``: how many.
"""

from __future__ import annotations

import itertools
from functools import reduce
from operator import add
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from locality.recording.arrow import values_of
from locality.recording.format import damaged

if TYPE_CHECKING:
    from locality.arrays import Array

#: The bytes of a step and of a count, lowest first: name, shift, type.
_STEP = (("step", 0, "u1"), ("step_8", 8, "u4"))
_PACKETS = (("packets", 0, "u1"), ("packets_8", 8, "u2"), ("packets_24", 24, "u4"))
_PAIR = pa.struct(
    [(name, pa.from_numpy_dtype(np.dtype(dtype))) for name, _, dtype in (*_STEP, *_PACKETS)]
)
PAIRS = pa.field("pairs", pa.list_(_PAIR))


def steps_and_packets(rows: pa.RecordBatch) -> list[tuple[Array, Array]]:
    """The steps and counts of each row, unchecked.

    Raises:
        LocalityError: There are none.
    """
    column = rows[PAIRS.name]
    if column.null_count:
        raise damaged("an interval without its pairs")
    pairs = column.values
    fields = {field.name: pairs.field(place) for place, field in enumerate(_PAIR)}
    if pairs.null_count or any(field.null_count for field in fields.values()):
        raise damaged("a value is missing: pairs")
    steps, packets = (
        reduce(add, [values_of(fields[name]).astype(np.int64) << shift for name, shift, _ in parts])
        for parts in (_STEP, _PACKETS)
    )
    ends = values_of(column.offsets).tolist()
    return [(steps[first:last], packets[first:last]) for first, last in itertools.pairwise(ends)]
