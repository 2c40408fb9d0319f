"""A batch of a recording as lines of JSON or CSV: see `locality.recording.byte_lines`."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np
import pyarrow as pa

from locality.recording.arrow import filled_of, known_of, values_of
from locality.recording.byte_lines import AT_ONCE, ByteLines
from locality.text import spreadsheet_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from locality.arrays import Array


@dataclass(frozen=True)
class Form:
    """What lines look like.

    Attributes:
        before: What stands before each column.
        end: What stands behind the last.
        text: Makes a name or a text what it is in a line.
        quote: What stands on both sides of a text that needs no escapes.
        unknown: What stands for no value.
        words: False and true.
    """

    before: tuple[bytes, ...]
    end: bytes
    text: Callable[[bytes | str], str]
    quote: bytes
    unknown: bytes
    words: tuple[bytes, bytes]

    @classmethod
    def json(cls, names: Sequence[str]) -> Self:
        """An object with these names."""
        before = tuple(
            f"{', ' if place else '{'}{json.dumps(name)}: ".encode()
            for place, name in enumerate(names)
        )
        return cls(before, b"}\n", _json_text, b'"', b"null", (b"false", b"true"))

    @classmethod
    def csv(cls, names: Sequence[str]) -> Self:
        """Columns with these names; text that no spreadsheet takes for a formula."""
        before = tuple(b"," if place else b"" for place in range(len(names)))
        return cls(before, b"\n", _csv_text, b"", b"", (b"False", b"True"))


def _json_text(raw: bytes | str) -> str:
    return json.dumps(raw if isinstance(raw, str) else raw.decode(errors="backslashreplace"))


def _csv_text(raw: bytes | str) -> str:
    cell = io.StringIO()
    # An empty text alone would be quoted.
    csv.writer(cell, lineterminator="").writerow([spreadsheet_text(raw), ""])
    return cell.getvalue()[:-1]


def many_lines(batch: pa.RecordBatch, form: Form) -> Iterator[bytes]:
    """A line for each row, many at a time.

    Args:
        batch: Not empty.
        form: What the lines look like.
    """
    words = [
        [form.text(raw).encode() for raw in column.dictionary.to_pylist()]
        if pa.types.is_dictionary(column.type)
        else []
        for column in batch.columns
    ]
    for first in range(0, len(batch), AT_ONCE):
        piece = batch.slice(first, AT_ONCE)
        lines = ByteLines(len(piece))
        for before, column, texts in zip(form.before, piece.columns, words, strict=True):
            lines.same(before)
            _add(lines, column, texts, form)
        lines.same(form.end)
        yield lines.join()


def _add(lines: ByteLines, column: pa.Array, words: list[bytes], form: Form) -> None:
    """Add a column to the lines."""
    kind = column.type
    if column.null_count == len(column):
        lines.same(form.unknown)
    elif pa.types.is_dictionary(kind):
        lines.texts(*_or_unknown(values_of(column.indices), column, words, form))
    elif pa.types.is_boolean(kind):
        codes = filled_of(column.cast(pa.uint8()))
        lines.texts(*_or_unknown(codes, column, [*form.words], form))
    elif pa.types.is_floating(kind):
        floats, codes = np.unique(filled_of(column), return_inverse=True)
        texts = [repr(value).encode() for value in floats.tolist()]
        lines.texts(*_or_unknown(codes, column, texts, form))
    elif pa.types.is_timestamp(kind):
        lines.same(form.quote)
        _add_times(lines, values_of(column))
        lines.same(form.quote)
    else:
        lines.numbers(filled_of(column), known_of(column), form.unknown)


def _or_unknown(
    codes: Array, column: pa.Array, texts: list[bytes], form: Form
) -> tuple[Array, list[bytes]]:
    """Codes and texts of a column, with one more for rows without a value."""
    if not column.null_count:
        return codes, texts
    return np.where(known_of(column), codes, len(texts)), [*texts, form.unknown]


def _add_times(lines: ByteLines, ns: Array) -> None:
    """Add times as Arrow prints them: ISO 8601 with nanoseconds."""
    whole, part = np.divmod(ns, 10**9)
    seconds, codes = np.unique(whole, return_inverse=True)
    # The text of a second is made once, and many rows have it.
    texts = [f"{second}".replace("T", " ").encode() for second in seconds.astype("M8[s]")]
    lines.texts(codes, texts)
    lines.same(b".")
    lines.padded(part, 9)
    lines.same(b"Z")
