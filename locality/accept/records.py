"""Accepted connections for programs: a JSON object or a row of CSV each."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING, TextIO

from locality.accept.columns import NAMES, columns
from locality.text import printable

if TYPE_CHECKING:
    from locality.accept.source import AcceptBatch
    from locality.machine.topology import Topology


#: The columns that are strings.
TEXTS = ("comm", "laddr", "raddr", "distance")


#: A line, for numbers and encoded strings; a float's shortest form is what JSON wants.
LINE = "{" + ", ".join(f'"{name}": %s' for name in NAMES) + "}\n"


class JsonAccept:
    """One object a connection, with the names of `locality.accept.columns.NAMES`."""

    def __init__(self, out: TextIO, topology: Topology) -> None:
        self._out = out
        self._topology = topology

    def write(self, batch: AcceptBatch) -> None:
        """Write a batch."""
        values = columns(batch, self._topology)
        for name in TEXTS:
            # Few are different, and encoding is what takes time.
            encoded = {text: json.dumps(text) for text in set(values[name])}
            values[name] = [encoded[text] for text in values[name]]
        values["wait_ns"] = ["null" if wait is None else wait for wait in values["wait_ns"]]
        rows = zip(*values.values(), strict=True)
        self._out.write("".join([LINE % row for row in rows]))
        self._out.flush()


class CsvAccept:
    """One row a connection; the columns of `locality.accept.columns.NAMES`. None is empty."""

    def __init__(self, out: TextIO, topology: Topology) -> None:
        self._out = out
        self._topology = topology
        self._writer = csv.writer(out, lineterminator="\n")
        self._writer.writerow(NAMES)

    def write(self, batch: AcceptBatch) -> None:
        """Write a batch."""
        values = columns(batch, self._topology)
        # Rows are read by people and spreadsheets too: no control characters in a name.
        values["comm"] = [printable(comm) for comm in values["comm"]]
        self._writer.writerows(zip(*values.values(), strict=True))
        self._out.flush()
