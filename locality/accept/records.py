"""Accepted connections for programs: a JSON object or a row of CSV each."""

from __future__ import annotations

import csv
import io
import json
from functools import lru_cache
from typing import TYPE_CHECKING, TextIO

from locality.accept.columns import NAMES, TEXTS, columns
from locality.accept.many_lines import Form, many_lines, pieces
from locality.recording.byte_lines import MANY
from locality.stream import Output
from locality.text import spreadsheet_text

if TYPE_CHECKING:
    from locality.accept.batch import AcceptBatch
    from locality.machine.topology import Topology

#: A line, for numbers and encoded strings; a float's shortest form is what JSON wants.
LINE = "{" + ", ".join(f'"{name}": %s' for name in NAMES) + "}\n"
#: A line of CSV.
ROW = ",".join(["%s"] * len(NAMES)) + "\n"


class JsonAccept(Output["AcceptBatch"]):
    """One object a connection, with the names of `locality.accept.columns.NAMES`."""

    def write(self, batch: AcceptBatch) -> None:
        """Write a batch."""
        for piece in pieces(batch):
            lines = many_lines(piece, self._machine, _JSON) if len(piece) >= MANY else None
            self._out.write(lines or self._few(piece))
        self._out.flush()

    def _few(self, batch: AcceptBatch) -> str:
        values = columns(batch, self._machine)
        for name in TEXTS:
            # Few are different, and encoding is what takes time.
            encoded = {text: json.dumps(text) for text in set(values[name])}
            values[name] = [encoded[text] for text in values[name]]
        values["wait_ns"] = ["null" if wait is None else wait for wait in values["wait_ns"]]
        return "".join([LINE % row for row in zip(*values.values(), strict=True)])


class CsvAccept(Output["AcceptBatch"]):
    """One row a connection; the columns of `locality.accept.columns.NAMES`. None is empty."""

    def __init__(self, out: TextIO, machine: Topology) -> None:
        super().__init__(out, machine)
        out.write(",".join(NAMES) + "\n")

    def write(self, batch: AcceptBatch) -> None:
        """Write a batch."""
        for piece in pieces(batch):
            lines = many_lines(piece, self._machine, _CSV) if len(piece) >= MANY else None
            self._out.write(lines or self._few(piece))
        self._out.flush()

    def _few(self, batch: AcceptBatch) -> str:
        values = columns(batch, self._machine)
        for name in ("comm", "cgroup_path"):
            values[name] = [_cell(text) for text in values[name]]
        values["wait_ns"] = ["" if wait is None else wait for wait in values["wait_ns"]]
        return "".join([ROW % row for row in zip(*values.values(), strict=True)])


@lru_cache(maxsize=1 << 12)
def _cell(text: str | None) -> str:
    """A text in CSV: rows are read by people and spreadsheets, too."""
    if text is None:
        return ""
    cell = io.StringIO()
    # An empty text alone would be quoted.
    csv.writer(cell, lineterminator="").writerow([spreadsheet_text(text), ""])
    return cell.getvalue()[:-1]


_JSON = Form(
    tuple(f'{", " if place else "{"}"{name}": ' for place, name in enumerate(NAMES)),
    "}\n",
    json.dumps,
    quote='"',
    unknown="null",
)
_CSV = Form(tuple("," if place else "" for place in range(len(NAMES))), "\n", _cell)
