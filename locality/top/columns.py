"""The columns of reads by reader: a batch is an interval, with one row for itself."""

from __future__ import annotations

from locality.reads.columns import INTERVAL_COLUMNS, READER_ROW, SOCKET_COLUMNS, of_reader
from locality.recording.columns import MOST, Column
from locality.top.interval import DISTANCES

#: The kinds of rows; there is one ``interval`` in a batch.
INTERVAL = "interval"
ROWS = (INTERVAL, READER_ROW)

_WORDS = {
    "cpu": "reads on the CPU that received",
    "core": "reads on another CPU of the same core",
    "llc": "reads on another core that shares the last-level cache",
    "node": "reads on another last-level cache of the same node",
    "remote": "reads on another node",
}


#: Forms: "number" and "name" are the reader's field of that name; "distance" that of `DISTANCES`;
#: "bytes" and "cgroup" may not be known; "source" is the most frequent one.
COLUMNS = (
    *INTERVAL_COLUMNS,
    Column("row", "text", "interval or reader", "row"),
    *SOCKET_COLUMNS,
    of_reader("pid", "int32", "process that reads", "number"),
    of_reader("tid", "int32", "thread that reads", "number"),
    of_reader("comm", "name", "name of the thread", "name"),
    of_reader("cgroup", "int64", "id of the cgroup (v2) of the thread", "number"),
    of_reader("cgroup_path", "text", "path of that cgroup", "cgroup", nullable=True),
    of_reader("reads", "int64", "reads that took data", "number"),
    of_reader("bytes", "int64", "bytes that were read", "bytes", nullable=True),
    *(of_reader(f"reads_{name}", "int64", _WORDS[name], "distance") for name in DISTANCES),
    Column(
        "from_cpu",
        "int32",
        "CPU that received the most of what was read elsewhere",
        "source",
        nullable=True,
        rows=(READER_ROW,),
        is_cpu=True,
    ),
    of_reader("from_reads", "int64", "remote reads of what that CPU received", "received"),
    Column(
        "lost",
        "int64",
        "reads that were missed, since the start",
        "interval",
        rows=(INTERVAL,),
        most=MOST,
    ),
    Column(
        "bytes_seen",
        "bool",
        "whether this kernel tells how much a read took",
        "interval",
        rows=(INTERVAL,),
    ),
)
