"""The columns of a data set, its version, and its Arrow schema.

A data set is one table. Each row belongs to a part, and has values in the columns of that part; the
other columns are null. A later version may add columns and parts, and changes none: files of all
versions then lie side by side in one data set, and a column that a file lacks reads as null.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

from locality.machine.topology import Distance

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Raised when a reader of the older version would misunderstand the newer.
VERSION = 1
#: The key of the metadata of each file.
KEY = b"locality.dataset"

RECORDING, PERIOD, COUNT, EVIDENCE, PRICE, EFFECT = PARTS = (
    *("recording", "period", "count"),
    *("evidence", "price", "effect"),
)

#: Sums of a row of counts, by the distance between the two CPUs, in the order of `Distance`.
#: elsewhere: on another CPU, and it was not told how far away.
BY_DISTANCE = ("same_cpu", "same_core", "same_llc", "same_node", "other_node", "unknown")
SUMS = (*BY_DISTANCE, "elsewhere")
UNKNOWN, ELSEWHERE = int(Distance.UNKNOWN), len(BY_DISTANCE)

_OF_SERVER = (COUNT, EVIDENCE, PRICE)


@dataclass(frozen=True)
class Column:
    """A column of a data set.

    Attributes:
        name: In files.
        type: Of Arrow.
        meaning: With its unit.
        parts: Those that have it; empty for all.
    """

    name: str
    type: pa.DataType
    meaning: str
    parts: tuple[str, ...] = ()


def _columns() -> Iterator[Column]:
    text, whole, real = pa.utf8(), pa.int64(), pa.float64()
    yield Column("version", pa.uint8(), f"version of these columns: {VERSION}")
    yield Column("recording", text, "id of the recording, the same in each export of it")
    yield Column("cluster", text, "cluster, as `export --cluster` names it")
    yield Column("host", text, "host that was recorded")
    yield Column("kind", text, "kind of the recording: accept, skb, udp, top, cost, trial")
    yield Column("part", text, "what the row is: " + ", ".join(PARTS))
    time = "beginning of the bin; of effect, when the trial began"
    yield Column("time", pa.timestamp("us", "UTC"), time)
    of = (RECORDING,)
    yield Column("kernel", text, "kernel release of the host", of)
    yield Column("cpus", whole, "CPUs in use on the host", of)
    yield Column("rung", text, "probe type that was used", of)
    yield Column("filter", text, "what was recorded, in words", of)
    yield Column("label", text, "what the one who recorded calls it", of)
    yield Column("measure", text, "what is counted; see below", (PERIOD, *_OF_SERVER))
    yield Column("seconds", real, "seconds of the bin that were measured", (PERIOD,))
    yield Column("lost", whole, "events that were missed", (PERIOD,))
    yield Column("protocol", text, "tcp or udp; empty: not told apart", _OF_SERVER)
    yield Column("port", pa.int32(), "local port, or with outgoing the peer's; -1: all", _OF_SERVER)
    yield Column("outgoing", pa.bool_(), "whether the host opened the connections", _OF_SERVER)
    yield Column("name", text, "name of the threads; empty: all, or the rest", _OF_SERVER)
    for name, distance in zip(BY_DISTANCE, Distance, strict=True):
        yield Column(name, whole, f"events, distance of the two CPUs: {distance.phrase}", (COUNT,))
    yield Column("elsewhere", whole, "events on another CPU, distance not told", (COUNT,))
    yield from _evidence()
    of = (PRICE,)
    yield Column("timed_local", whole, "reads on the RX CPU that have a time", of)
    yield Column("timed_remote", whole, "reads on other CPUs that have a time", of)
    yield Column("local_ns", real, "median wait of reads on the RX CPU, ns", of)
    yield Column("remote_ns", real, "median wait of reads on other CPUs, ns", of)
    of = (EFFECT,)
    yield Column("target", text, "what was tried", of)
    yield Column("arm_a", text, "arm A", of)
    yield Column("arm_b", text, "arm B", of)
    yield Column("outcome", text, "outcome, with its statistic", of)
    yield Column("unit", text, "unit of the outcome", of)
    yield Column("better", text, "lower or higher", of)
    yield Column("scale", text, "relative: the logarithm of B / A; difference: B - A", of)
    yield Column("estimate", real, "effect of B against A in this scale", of)
    yield Column("low", real, "lower end of its 95 % interval", of)
    yield Column("high", real, "upper end", of)
    yield Column("units", whole, "connections or blocks, both arms", of)
    yield Column("verdict", text, "what the interval says", of)


def _evidence() -> Iterator[Column]:
    of, whole = (EVIDENCE,), pa.int64()
    yield Column("known", whole, "events whose two CPUs are known", of)
    yield Column("local", whole, "of these: on one CPU", of)
    chance = "local events if the RX CPU had no part in the choice of the worker"
    yield Column("by_chance", pa.float64(), chance, of)
    yield Column("no_worker", whole, "events whose RX CPU runs no thread of the server", of)
    reachable = "events of the most busy RX CPUs, as many as there are threads"
    yield Column("reachable", whole, reachable, of)
    yield Column("mapped", whole, "events on the CPU that serves their RX CPU the most", of)
    yield Column("busiest", whole, "events of the RX CPU that received the most", of)
    yield Column("moved", whole, "events away from the CPU that their thread uses most", of)
    yield Column("rx_cpus", whole, "RX CPUs", of)
    yield Column("worker_cpus", whole, "CPUs on which the server ran", of)
    yield Column("threads", whole, "threads of the server", of)
    yield Column("program", pa.utf8(), "program of the group; empty: none", of)


COLUMNS = (*_columns(),)
SCHEMA = pa.schema([(column.name, column.type) for column in COLUMNS])


def markdown() -> Iterator[str]:
    """The columns as a table for the documentation, a line each."""
    yield "| column | type | part | meaning |"
    yield "|---|---|---|---|"
    for column in COLUMNS:
        parts = ", ".join(column.parts) or "all"
        yield f"| `{column.name}` | {column.type} | {parts} | {column.meaning} |"
