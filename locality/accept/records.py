"""Accepted connections for programs: a JSON object or a row of CSV each."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING, TextIO

from locality.accept.columns import NAMES, TEXTS, columns
from locality.stream import Output
from locality.text import spreadsheet_text

if TYPE_CHECKING:
    from locality.accept.batch import AcceptBatch
    from locality.machine.topology import Topology


#: A line, for numbers and encoded strings; a float's shortest form is what JSON wants.
LINE = "{" + ", ".join(f'"{name}": %s' for name in NAMES) + "}\n"


class JsonAccept(Output["AcceptBatch"]):
    """One object a connection, with the names of `locality.accept.columns.NAMES`."""

    def write(self, batch: AcceptBatch) -> None:
        """Write a batch."""
        values = columns(batch, self._machine)
        for name in TEXTS:
            # Few are different, and encoding is what takes time.
            encoded = {text: json.dumps(text) for text in set(values[name])}
            values[name] = [encoded[text] for text in values[name]]
        values["wait_ns"] = ["null" if wait is None else wait for wait in values["wait_ns"]]
        rows = zip(*values.values(), strict=True)
        self._out.write("".join([LINE % row for row in rows]))
        self._out.flush()


class CsvAccept(Output["AcceptBatch"]):
    """One row a connection; the columns of `locality.accept.columns.NAMES`. None is empty."""

    def __init__(self, out: TextIO, machine: Topology) -> None:
        super().__init__(out, machine)
        self._writer = csv.writer(out, lineterminator="\n")
        self._writer.writerow(NAMES)

    def write(self, batch: AcceptBatch) -> None:
        """Write a batch."""
        values = columns(batch, self._machine)
        # Rows are read by people and spreadsheets too: no control characters in a name.
        for name in ("comm", "cgroup_path"):
            values[name] = [text and spreadsheet_text(text) for text in values[name]]
        self._writer.writerows(zip(*values.values(), strict=True))
        self._out.flush()
