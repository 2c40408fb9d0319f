"""The columns of a recording: each is described once, in the `columns` module of its kind.

Whoever writes, reads, plays, prints or documents a recording reads that table.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

#: The length of an interval, in seconds: more than nothing, and no longer than one can wait.
SHORTEST, LONGEST = 1e-9, 1e9
#: The highest count that a float holds exactly, so that sums and shares of counts are right.
MOST = 1 << 53

#: What a column's type is called in pandas: where every row has a value, and where one may not.
_PANDAS = {
    "time": ("datetime64[ns, UTC]",) * 2,
    "text": ("category",) * 2,
    "name": ("category",) * 2,
    "word": ("category",) * 2,
    "bool": ("bool", "object"),
    "float64": ("float64", "float64"),
    "uint8": ("uint8", "UInt8"),
    "uint16": ("uint16", "UInt16"),
    "uint32": ("uint32", "UInt32"),
    "int32": ("int32", "Int32"),
    "int64": ("int64", "Int64"),
}


#: Bytes of a value in pandas; an integer that may be missing has one more. Texts are categories.
_BYTES = {
    "time": 8,
    "text": 4,
    "name": 4,
    "word": 1,
    "bool": 1,
    "float64": 8,
    "uint8": 1,
    "uint16": 2,
    "uint32": 4,
    "int32": 4,
    "int64": 8,
}


class Column(NamedTuple):
    """One column.

    Attributes:
        name: In files, JSON, CSV and DataFrames.
        type: A key of `locality.recording.format.TYPES`: an Arrow type.
        meaning: What it says, with its unit.
        form: How its values are made from what was measured, and back: a key of a table in
            the kind's `recording` module.
        nullable: Whether a row that has the column may have no value there: a figure that was
            not seen.
        rows: In recordings with several kinds of rows: the kinds that have the column; empty
            for all. It is null in the others.
        always_in: Kinds of rows that always have a value, of a column that is else `nullable`.
        least: The lowest number there can be; -1 stands for "none" where that is known.
        most: The highest; None for all that the type can hold.
        is_cpu: Whether it is the number of a CPU, which becomes an index.
        later: Whether recordings of older versions lack it: it is read as a value that is not known
            where the column has such, and else as 0.
    """

    name: str
    type: str
    meaning: str
    form: str = "number"
    nullable: bool = False
    rows: tuple[str, ...] = ()
    always_in: tuple[str, ...] = ()
    least: float = 0
    most: float | None = None
    is_cpu: bool = False
    later: bool = False

    def may_be_null(self, row: str = "") -> bool:
        """Whether rows of this kind may have no value; of any kind, if none is given."""
        if not row:
            return self.nullable or bool(self.rows)
        return self.nullable and row not in self.always_in


def of_row(columns: Sequence[Column], row: str) -> tuple[Column, ...]:
    """The columns that rows of one kind have."""
    return tuple(column for column in columns if not column.rows or row in column.rows)


def frame_bytes(columns: Sequence[Column], row: str = "") -> int:
    """Bytes of a row in a DataFrame."""
    return sum(
        _BYTES[column.type] + (column.may_be_null(row) and "int" in column.type)
        for column in of_row(columns, row)
    )


def markdown(columns: Sequence[Column], row: str = "") -> Iterator[str]:
    """The columns as a table for the documentation, a line each.

    Args:
        columns: Those of a kind.
        row: Only those of one kind of rows; if none is given and there are several, the table
            says which rows have a column.
    """
    several = not row and any(column.rows for column in columns)
    heading = ["column", "dtype", *(["of"] if several else []), "meaning"]
    yield f"| {' | '.join(heading)} |"
    yield f"|{'---|' * len(heading)}"
    for column in of_row(columns, row) if row else columns:
        dtype = _PANDAS[column.type][column.nullable if several else column.may_be_null(row)]
        of = [", ".join(column.rows) or "all"] if several else []
        yield f"| {' | '.join([f'`{column.name}`', dtype, *of, column.meaning])} |"
