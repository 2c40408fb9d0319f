"""One JSON object a line, for programs. JSON escapes whatever a name may contain."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TextIO

from locality.accept.columns import NAMES, columns
from locality.machine.distance import packets_by_distance
from locality.machine.topology import Distance
from locality.skb.accounting import RX, TX

if TYPE_CHECKING:
    from locality.accept.source import AcceptBatch
    from locality.machine.distance import Counts
    from locality.machine.topology import Topology
    from locality.skb.accounting import Flow, Interval


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


def _flow(direction: str, flow: Flow, counts: Counts | None) -> dict[str, Any]:
    return {
        f"{direction}_packets": flow.packets,
        f"{direction}_local": flow.local,
        f"{direction}_freed_local": flow.freed_local,
        f"{direction}_deferred": flow.deferred,
        f"{direction}_unknown": flow.unknown,
        f"{direction}_by_distance": {
            distance.word: None if counts is None else counts[distance] for distance in Distance
        },
    }


def interval_record(interval: Interval, machine: Topology) -> dict[str, Any]:
    """An interval as one record; None where the rung cannot see a figure."""
    rx, tx = (packets_by_distance(interval, direction, machine) for direction in (RX, TX))
    return {
        "time": interval.time,
        "interval_s": interval.seconds,
        "rung": interval.rung,
        "lost": interval.lost,
        **_flow("rx", interval.rx, rx),
        "rx_delivered": interval.delivered,
        "rx_delivered_local": interval.delivered_local,
        **_flow("tx", interval.tx, tx),
    }


class JsonSkb:
    """One object an interval: packets as integers, null where the rung cannot see them.

    Args:
        out: Where to.
        machine: Whose CPUs the matrix is of.
        matrix: Add ``matrix``: {"rx": [[…]], "tx": [[…]]}, packets by alloc CPU and consume CPU.
    """

    def __init__(self, out: TextIO, machine: Topology, *, matrix: bool = False) -> None:
        self._out = out
        self._machine = machine
        self._matrix = matrix

    def write(self, batch: Interval) -> None:
        """Write an interval."""
        record = interval_record(batch, self._machine)
        if self._matrix:
            record["matrix"] = dict(zip(("rx", "tx"), batch.matrix.tolist(), strict=True))
        self._out.write(json.dumps(record) + "\n")
        self._out.flush()
