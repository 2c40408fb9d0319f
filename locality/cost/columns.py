"""The columns of recordings of `locality cost`: a batch is an interval, with one row for itself."""

from __future__ import annotations

from locality.cost.bill import COUNTS
from locality.reads.columns import INTERVAL_COLUMNS, READER_ROW, SOCKET_COLUMNS, of_reader
from locality.recording.columns import MOST, Column

#: The kinds of rows; there is one ``interval`` in a batch.
INTERVAL, TIME_ROW, LEFT_OUT_ROW, CAUSE_ROW = "interval", "time", "left_out", "cause"
ROWS = (INTERVAL, READER_ROW, TIME_ROW, LEFT_OUT_ROW, CAUSE_ROW)
_OF_READERS = (READER_ROW, TIME_ROW, LEFT_OUT_ROW)

_BILL = {
    "interrupts": "interrupts that the CPUs of the machine handled",
    "softirqs": "softirqs of the machine",
    "net_rx": "softirqs that received packets",
    "softirq_ns": "ns of CPU time in softirqs",
    "reschedulings": "interrupts between CPUs that asked for rescheduling",
    "function_calls": "interrupts between CPUs that called a function",
    "tlb_flushes": "those of them that flushed address translations",
    "rps": "interrupts between CPUs by which RPS or RFS handed packets over",
    "cycles": "clock cycles of the CPUs of the machine",
    "cache_misses": "misses of the last-level caches of the machine",
}


#: Forms: "number", "name", "flag", "protocol" and "cgroup" are of a reader; the others are told by
#: their rows.
COLUMNS = (
    *INTERVAL_COLUMNS,
    Column("row", "text", "interval, reader, time, left_out or cause", "row"),
    Column(
        *("reader", "int32", "number of the reader in this interval", "place"), rows=_OF_READERS
    ),
    *SOCKET_COLUMNS,
    of_reader("pid", "int32", "process that reads", "number"),
    of_reader("comm", "name", "name of its thread with the most reads", "name"),
    of_reader("cgroup", "int64", "id of the cgroup (v2) of that thread", "number"),
    of_reader("cgroup_path", "text", "path of that cgroup", "cgroup", nullable=True),
    Column(
        *("distance", "text", "distance between the CPU that received and the CPU that read"),
        rows=(TIME_ROW, LEFT_OUT_ROW),
    ),
    Column(
        *("measure", "text", "wait: from receipt to read; wake_up: from being woken to running"),
        rows=(TIME_ROW,),
    ),
    Column("ns", "int64", "the shortest time of this bucket, ns", rows=(TIME_ROW,), most=MOST),
    Column(
        *("reason", "text", "why reads have no time; see the guide on cost"), rows=(LEFT_OUT_ROW,)
    ),
    Column("cause", "text", "function that a CPU had another one call", rows=(CAUSE_ROW,)),
    Column(
        *("count", "int64", "reads, wake-ups, or calls of this row"),
        rows=(TIME_ROW, LEFT_OUT_ROW, CAUSE_ROW),
        most=MOST,
    ),
    Column(
        *("lost", "int64", "reads that were missed, since the start", "interval"),
        rows=(INTERVAL,),
        most=MOST,
    ),
    Column(
        *("clock_steps", "int64", "how often the clock was set", "interval"),
        rows=(INTERVAL,),
        most=MOST,
    ),
    *(
        Column(name, "int64", _BILL[name], "bill", nullable=True, rows=(INTERVAL,), most=MOST)
        for name in COUNTS
    ),
    Column(
        *("causes_seen", "bool", "whether this kernel tells what is called", "causes"),
        rows=(INTERVAL,),
    ),
)
