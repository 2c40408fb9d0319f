"""Exports of many rows: byte for byte what a row at a time gives."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest

from locality.recording import export as exporting
from locality.recording.byte_lines import AT_ONCE
from locality.recording.format import TYPES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NAMES = [b"nginx", b"", b"=cmd", b'a"b,c', b"\xff\xfe", b"x\0y", b"\xc3\xa4\n"]
TEXTS = ["10.0.0.1", "", "-1", 'a "b", c', "\x1b[31m", "\xe4\u4e2d", "2001:db8::"]
#: The largest and the smallest of each, beside those near zero.
INTEGERS = [0, 1, 9, 10, 9999, 10_000, 99_999_999, 100_000_000, 2**62, -1, -10_000]


@dataclass
class Rows:
    """What a writer of exports asks a reader for."""

    batches: list[pa.RecordBatch]
    read: int = 0
    size: int = 0

    @property
    def schema(self) -> pa.Schema:
        return self.batches[0].schema

    def rows(self) -> Iterator[pa.RecordBatch]:
        yield from self.batches


def batch(count: int, seed: int, *, nothing: bool = False) -> pa.RecordBatch:
    """Rows with every type that a recording has; some lack values, or all do."""
    chance = np.random.default_rng(seed)
    columns = {}
    for name, kind in TYPES.items():
        values: list[Any]
        if pa.types.is_dictionary(kind):
            some: list[Any] = NAMES if name == "name" else TEXTS
            values = [some[place] for place in chance.integers(0, len(some), count)]
        elif name == "time":
            values = (chance.integers(0, 2**62, count) // 10 ** chance.integers(0, 19)).tolist()
            values[0] = 0
        elif name == "bool":
            values = (chance.random(count) < 0.5).tolist()
        elif name == "float64":
            values = chance.choice([0.1, 1.0, 1e-7, 1e300, 0.3333333333333333], count).tolist()
        else:
            bounds = np.iinfo(name)
            inside = [one for one in INTEGERS if bounds.min <= one <= bounds.max]
            values = chance.choice(np.array([*inside, bounds.max // 2], object), count).tolist()
        if name != "time":
            missing = chance.random(count) < (1.1 if nothing else 0.2)
            values = [
                None if lacks else value for value, lacks in zip(values, missing, strict=True)
            ]
        columns[name] = pa.array(values, kind)
    return pa.RecordBatch.from_pydict(columns)


def written(write: Callable[..., int], rows: Rows) -> bytes:
    file = io.BytesIO()
    count = write(rows, file, lambda _done, _size: None)
    assert count == sum(len(one) for one in rows.batches)
    return file.getvalue()


# Bugs: a row has the value of another one; a value that is missing is 0, or a text of another row;
# a text is a formula for a spreadsheet or breaks a line; a time has another number of digits.
@pytest.mark.parametrize("format_", ["csv", "json"])
@pytest.mark.parametrize("seed", range(4))
def test_many_rows_read_as_few(monkeypatch: pytest.MonkeyPatch, format_: str, seed: int) -> None:
    write = {"csv": exporting._csv, "json": exporting._json}[format_]  # noqa: SLF001
    rows = Rows(
        [
            batch(2 * AT_ONCE + 7, seed),
            batch(1, seed),
            batch(300, seed, nothing=True).slice(3),
            batch(AT_ONCE, seed + 10).slice(5, 1000),
        ]
    )
    monkeypatch.setattr(exporting, "MANY", 1)
    many = written(write, rows)
    monkeypatch.setattr(exporting, "MANY", 1 << 62)
    assert many == written(write, rows)
    if format_ == "json":
        objects = [json.loads(line) for line in many.decode().splitlines()]
        known = [one["int64"] for one in objects]
        assert known == [value for one in rows.batches for value in one["int64"].to_pylist()]
