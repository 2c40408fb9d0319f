"""Comma-separated values with a header line, for programs and spreadsheets."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING, Any, TextIO

from locality.accept.columns import NAMES, columns
from locality.sinks.json_lines import interval_record
from locality.text import printable

if TYPE_CHECKING:
    from locality.accept.source import AcceptBatch
    from locality.machine.topology import Topology
    from locality.skb.accounting import Interval


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


class CsvSkb:
    """One row an interval; the columns of `locality.sinks.json_lines.interval_record`.

    What is an object there is a column for each of its names: ``rx_by_distance_llc``.
    """

    def __init__(self, out: TextIO, machine: Topology) -> None:
        self._out = out
        self._machine = machine
        self._writer: csv.DictWriter[str] | None = None

    def write(self, batch: Interval) -> None:
        """Write an interval."""
        record = _flat(interval_record(batch, self._machine))
        if self._writer is None:
            self._writer = csv.DictWriter(self._out, list(record), lineterminator="\n")
            self._writer.writeheader()
        self._writer.writerow(record)
        self._out.flush()


def _flat(record: dict[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in record.items():
        if isinstance(value, dict):
            flat |= {f"{name}_{inner}": count for inner, count in value.items()}
        else:
            flat[name] = value
    return flat
