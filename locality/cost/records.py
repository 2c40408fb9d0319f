"""`locality cost` for programs: one JSON object an interval, or CSV rows by row and distance."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING, Any, TextIO

from locality.cost.bill import COUNTS
from locality.cost.grouping import rows_of
from locality.cost.interval import LEFT_OUT, WAIT, WAKE_UP
from locality.machine.topology import Distance
from locality.reads.outputs import DEFAULT, GroupedOutput
from locality.text import share, spreadsheet_text
from locality.top.grouping import GROUPINGS, PROTOCOLS

if TYPE_CHECKING:
    from locality.cost.grouping import Row
    from locality.cost.interval import CostInterval
    from locality.machine.topology import Topology

PERCENTILES = (50, 90, 99)
#: Of a reader, what a row of each grouping has: what is the same in all its readers.
_FIELDS = ("netns", "port", "protocol", "outgoing", "pid", "cgroup")
_OF_INTERVAL = ("time", "interval_s", "rung", "lost", "lost_in_interval", "clock_steps", "by")
_TIMES = tuple(f"{name}_p{of}_ns" for name in ("wait", "wake_up") for of in PERCENTILES)
_OF_DISTANCE = ("distance", "reads", "share", "timed", "wake_ups", *_TIMES)
NAMES = (
    *_OF_INTERVAL,
    *("name", *_FIELDS, "cgroup_path"),
    *_OF_DISTANCE,
    *(f"left_out_{reason}" for reason in LEFT_OUT),
)


class JsonCost(GroupedOutput["CostInterval"]):
    """One object an interval, with ``rows`` and ``machine``; what is not known is null.

    Args:
        out: Where to.
        machine: The CPUs that were measured.
        by: One of `locality.cost.grouping.BY`.
    """

    def write(self, batch: CostInterval) -> None:
        """Write an interval."""
        record = cost_record(batch, self._by, self._lost_before(batch))
        self._out.write(json.dumps(record) + "\n")
        self._out.flush()


class CsvCost(GroupedOutput["CostInterval"]):
    """One row for each row and distance of an interval; None is empty.

    Args:
        out: Where to.
        machine: The CPUs that were measured.
        by: One of `locality.cost.grouping.BY`.
    """

    def __init__(self, out: TextIO, machine: Topology, by: str = DEFAULT) -> None:
        super().__init__(out, machine, by)
        self._writer: csv.DictWriter[str] = csv.DictWriter(out, NAMES, lineterminator="\n")
        self._writer.writeheader()

    def write(self, batch: CostInterval) -> None:
        """Write an interval."""
        record = cost_record(batch, self._by, self._lost_before(batch))
        whole = {name: record[name] for name in _OF_INTERVAL}
        whole["rung"] = spreadsheet_text(record["rung"])
        for row in record["rows"]:
            fields = {name: row[name] for name in _FIELDS}
            texts = {name: spreadsheet_text(row[name] or "") for name in ("name", "cgroup_path")}
            for distance, told in row["distances"].items():
                left_out = {f"left_out_{name}": count for name, count in told["left_out"].items()}
                figures = {name: told[name] for name in _OF_DISTANCE if name != "distance"}
                self._writer.writerow(
                    whole | fields | texts | {"distance": distance} | figures | left_out
                )
        self._out.flush()


def cost_record(interval: CostInterval, by: str, lost_before: int) -> dict[str, Any]:
    """An interval as one record.

    Args:
        interval: What it showed.
        by: One of `locality.cost.grouping.BY`.
        lost_before: What the interval before had as ``lost``, which counts since the start.
    """
    bill = interval.bill
    return {
        "time": interval.time,
        "interval_s": interval.seconds,
        "rung": interval.rung,
        "lost": interval.lost,
        "lost_in_interval": interval.lost - lost_before,
        "clock_steps": interval.clock_steps,
        "by": by,
        "rows": [_row(row, interval, by) for row in rows_of(interval, by)],
        "machine": {
            **{name: getattr(bill, name) for name in COUNTS},
            "causes": None if bill.causes is None else dict(bill.causes),
        },
    }


def _row(row: Row, interval: CostInterval, by: str) -> dict[str, Any]:
    key = GROUPINGS[by].key
    reader = row.reader
    values: dict[str, Any] = {name: int(reader[name]) if name in key else None for name in _FIELDS}
    if values["protocol"] is not None:
        values["protocol"] = PROTOCOLS[values["protocol"]]
        values["outgoing"] = bool(values["outgoing"])
    path = interval.cgroups.get(int(reader["cgroup"])) if "cgroup" in key else None
    return {
        "name": row.name,
        **values,
        "cgroup_path": path,
        "reads": int(row.reads.sum()),
        "reads_remote": row.remote,
        "remote_later_ns": row.later,
        "waiting_ns_per_s": row.waiting(interval.seconds),
        "distances": {
            distance.word: _distance(row, distance) for distance in Distance if row.reads[distance]
        },
    }


def _distance(row: Row, distance: Distance) -> dict[str, Any]:
    figures = {
        f"{name}_p{of}_ns": row.percentile(measure, (distance,), of)
        for name, measure in (("wait", WAIT), ("wake_up", WAKE_UP))
        for of in PERCENTILES
    }
    reads = int(row.reads[distance])
    return {
        "reads": reads,
        "share": share(reads, int(row.reads.sum())),
        "timed": int(row.timed[distance]),
        "wake_ups": int(row.times[WAKE_UP, distance].sum()),
        **figures,
        "left_out": {
            name: int(count)
            for name, count in zip(LEFT_OUT, row.left_out[:, distance], strict=True)
        },
    }
