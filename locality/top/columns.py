"""The columns of reads by reader: a batch is an interval, with one row for itself."""

from __future__ import annotations

from locality.recording.columns import LONGEST, MOST, SHORTEST, Column
from locality.top.interval import DISTANCES

#: The kinds of rows; there is one ``interval`` in a batch.
INTERVAL, READER_ROW = "interval", "reader"
ROWS = (INTERVAL, READER_ROW)

_WORDS = {
    "cpu": "reads on the CPU that received",
    "core": "reads on another CPU of the same core",
    "llc": "reads on another core that shares the last-level cache",
    "node": "reads on another last-level cache of the same node",
    "remote": "reads on another node",
}


def _of_reader(name: str, type_: str, meaning: str, form: str, *, nullable: bool = False) -> Column:
    most = MOST if type_ == "int64" else None
    return Column(name, type_, meaning, form, nullable=nullable, rows=(READER_ROW,), most=most)


#: Forms: "number" and "name" are the reader's field of that name; "distance" that of `DISTANCES`;
#: "bytes" and "cgroup" may not be known; "source" is the most frequent one.
COLUMNS = (
    Column("time", "time", "end of the interval", "time"),
    Column("seconds", "float64", "length of the interval", "seconds", least=SHORTEST, most=LONGEST),
    Column("row", "text", "interval or reader", "row"),
    _of_reader("netns", "uint32", "inode number of the network namespace", "number"),
    _of_reader("port", "uint16", "local port, or with `outgoing` the port of the peer", "number"),
    _of_reader("protocol", "text", "tcp or udp", "protocol"),
    _of_reader("outgoing", "bool", "whether this machine opened the connection", "flag"),
    _of_reader("pid", "int32", "process that reads", "number"),
    _of_reader("tid", "int32", "thread that reads", "number"),
    _of_reader("comm", "name", "name of the thread", "name"),
    _of_reader("cgroup", "int64", "id of the cgroup (v2) of the thread", "number"),
    _of_reader("cgroup_path", "text", "path of that cgroup", "cgroup", nullable=True),
    _of_reader("reads", "int64", "reads that took data", "number"),
    _of_reader("bytes", "int64", "bytes that were read", "bytes", nullable=True),
    *(_of_reader(f"reads_{name}", "int64", _WORDS[name], "distance") for name in DISTANCES),
    Column(
        "from_cpu",
        "int32",
        "CPU that received the most of what was read elsewhere",
        "source",
        nullable=True,
        rows=(READER_ROW,),
        is_cpu=True,
    ),
    _of_reader("from_reads", "int64", "remote reads of what that CPU received", "received"),
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
