"""Packets for programs: a JSON object or a row of CSV for each interval."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING, Any, TextIO

from locality.machine.topology import Distance
from locality.skb.columns import OF_DIRECTION
from locality.skb.interval import RX, TX, packets_by_distance
from locality.stream import Output
from locality.text import spreadsheet_text

if TYPE_CHECKING:
    from locality.machine.distance import Counts
    from locality.machine.topology import Topology
    from locality.skb.interval import Flow, Interval


def _flow(direction: str, flow: Flow, counts: Counts | None) -> dict[str, Any]:
    return {
        **{f"{direction}_{name}": getattr(flow, name) for name in OF_DIRECTION},
        f"{direction}_by_distance": {
            distance.word: None if counts is None else counts[distance] for distance in Distance
        },
    }


def interval_record(interval: Interval, machine: Topology, lost_before: int) -> dict[str, Any]:
    """An interval as one record; None where the rung cannot see a figure.

    Args:
        interval: What it showed.
        machine: Whose CPUs they are.
        lost_before: What the interval before had as ``lost``, which counts since the start.
    """
    rx, tx = (packets_by_distance(interval, direction, machine) for direction in (RX, TX))
    return {
        "time": interval.time,
        "interval_s": interval.seconds,
        "rung": interval.rung,
        "lost": interval.lost,
        "lost_in_interval": interval.lost - lost_before,
        **_flow("rx", interval.rx, rx),
        "rx_delivered": interval.delivered,
        "rx_delivered_local": interval.delivered_local,
        **_flow("tx", interval.tx, tx),
        "rx_not_told": interval.not_told[RX],
        "tx_not_told": interval.not_told[TX],
    }


class JsonSkb(Output["Interval"]):
    """One object an interval: packets as integers, null where the rung cannot see them.

    Args:
        out: Where to.
        machine: Whose CPUs the matrix is of.
        matrix: Add ``matrix``: {"rx": [[…]], "tx": [[…]]}, packets by alloc CPU and consume CPU.
    """

    def __init__(self, out: TextIO, machine: Topology, *, matrix: bool = False) -> None:
        super().__init__(out, machine)
        self._matrix = matrix
        self._lost = 0

    def write(self, batch: Interval) -> None:
        """Write an interval."""
        record = interval_record(batch, self._machine, self._lost)
        self._lost = batch.lost
        if self._matrix:
            record["matrix"] = dict(zip(("rx", "tx"), batch.matrix.tolist(), strict=True))
        self._out.write(json.dumps(record) + "\n")
        self._out.flush()


class CsvSkb(Output["Interval"]):
    """One row an interval; the columns of `locality.skb.records.interval_record`.

    What is an object there is a column for each of its names: ``rx_by_distance_llc``.
    """

    def __init__(self, out: TextIO, machine: Topology) -> None:
        super().__init__(out, machine)
        self._writer: csv.DictWriter[str] | None = None
        self._lost = 0

    def write(self, batch: Interval) -> None:
        """Write an interval."""
        record = _flat(interval_record(batch, self._machine, self._lost))
        record["rung"] = spreadsheet_text(record["rung"])
        self._lost = batch.lost
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
