"""`locality top` for programs: one JSON object an interval, or one CSV row for each of its rows."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING, Any, TextIO

from locality.reads.outputs import DEFAULT, GroupedOutput
from locality.text import spreadsheet_text
from locality.top.grouping import GROUPINGS, PROTOCOLS, commands, ranked
from locality.top.interval import DISTANCES, known
from locality.top.waits import waits_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from locality.arrays import Array
    from locality.machine.topology import Topology
    from locality.top.interval import TopInterval
    from locality.top.waits import Waits

#: Of a reader, what a row of each grouping has: what is the same in all its readers.
_FIELDS = ("netns", "port", "protocol", "outgoing", "pid", "tid", "cgroup")
_OF_INTERVAL = ("time", "interval_s", "rung", "lost", "lost_in_interval", "by")
_READS = {f"reads_{name}": name for name in DISTANCES}
_COUNTS = ("reads", "bytes", *_READS, "reads_unknown")
#: Of the times of `--cost`; None without it.
_TIMES = ("waited_local_p50_ns", "waited_remote_p50_ns", "reads_timed")
NAMES = (*_OF_INTERVAL, "name", *_FIELDS, "cgroup_path", *_COUNTS, "from_cpu", "next", *_TIMES)


class JsonTop(GroupedOutput["TopInterval"]):
    """One object an interval, with ``rows``; what is not known, or differs in a row, is null.

    Args:
        out: Where to.
        machine: The CPUs that were measured.
        by: A key of `GROUPINGS`.
    """

    def write(self, batch: TopInterval) -> None:
        """Write an interval."""
        record = top_record(batch, self._by, self._lost_before(batch))
        self._out.write(json.dumps(record) + "\n")
        self._out.flush()


class CsvTop(GroupedOutput["TopInterval"]):
    """One row for each row of an interval; None is empty.

    Args:
        out: Where to.
        machine: The CPUs that were measured.
        by: A key of `GROUPINGS`.
    """

    def __init__(self, out: TextIO, machine: Topology, by: str = DEFAULT) -> None:
        super().__init__(out, machine, by)
        self._writer: csv.DictWriter[str] = csv.DictWriter(out, NAMES, lineterminator="\n")
        self._writer.writeheader()

    def write(self, batch: TopInterval) -> None:
        """Write an interval."""
        record = top_record(batch, self._by, self._lost_before(batch))
        whole = {name: record[name] for name in _OF_INTERVAL}
        whole["rung"] = spreadsheet_text(record["rung"])
        for row in record["rows"]:
            texts = {name: spreadsheet_text(row[name] or "") for name in ("name", "cgroup_path")}
            self._writer.writerow(whole | row | texts)
        self._out.flush()


def top_record(interval: TopInterval, by: str, lost_before: int) -> dict[str, Any]:
    """An interval as one record.

    Args:
        interval: What it showed.
        by: A key of `GROUPINGS`.
        lost_before: What the interval before had as ``lost``, which counts since the start.
    """
    waits = waits_of(interval, by)
    rows = ranked(interval, by)
    nexts = commands(rows, by, interval.cgroups)
    return {
        "time": interval.time,
        "interval_s": interval.seconds,
        "rung": interval.rung,
        "lost": interval.lost,
        "lost_in_interval": interval.lost - lost_before,
        "by": by,
        "rows": [
            _row(row, interval, by) | _times(interval, waits(row)) | {"next": command or None}
            for row, command in zip(_plain(rows), nexts, strict=True)
        ],
    }


def _times(interval: TopInterval, waits: Waits) -> dict[str, float | None]:
    timed = None if interval.cost is None else waits.timed
    return dict(zip(_TIMES, (waits.local, waits.remote, timed), strict=True))


def _plain(rows: Array) -> Iterator[dict[str, Any]]:
    """The fields of each row as Python's own values: to take them one by one takes far longer."""
    fields = [*_FIELDS, "comm", "reads", "bytes", *DISTANCES]
    told, sources = known(rows).tolist(), rows["sources"][:, 0].tolist()
    for values, row_told, source in zip(rows[fields].tolist(), told, sources, strict=True):
        row = dict(zip(fields, values, strict=True))
        row["told"], row["source"] = row_told, source
        yield row


def _row(row: dict[str, Any], interval: TopInterval, by: str) -> dict[str, Any]:
    grouping = GROUPINGS[by]
    values = {name: row[name] if name in grouping.key else None for name in _FIELDS}
    if values["protocol"] is not None:
        values["protocol"] = PROTOCOLS[values["protocol"]]
        values["outgoing"] = bool(values["outgoing"])
    path = interval.cgroups.get(row["cgroup"]) if "cgroup" in grouping.key else None
    return {
        "name": grouping.name(row, interval.cgroups),
        **values,
        "cgroup_path": path,
        "reads": row["reads"],
        "bytes": row["bytes"] if interval.bytes_seen else None,
        **{counts: row[name] for counts, name in _READS.items()},
        "reads_unknown": row["reads"] - row["told"],
        "from_cpu": row["source"] if row["source"] >= 0 else None,
    }
