"""The columns of packet counts: one row for each interval and direction, and for each pair of CPUs.

Beside time and direction, every column is a figure of `locality.skb.interval.Interval`; its form
says of what the figure is.
"""

from __future__ import annotations

from locality.recording.columns import LONGEST, MOST, SHORTEST, Column

#: The kinds of rows. A batch is an interval: two totals, received and sent, then its pairs.
TOTAL, PAIR = "total", "pair"


def _figure(name: str, form: str, meaning: str, *, nullable: bool = False) -> Column:
    return Column(name, "int64", meaning, form, nullable=nullable, rows=(TOTAL,), most=MOST)


#: Forms of figures: "direction": one for each direction; "received": of received packets only;
#: "split": a pair for the two directions; "interval": one for both.
COLUMNS = (
    Column("time", "time", "end of the interval", "time"),
    Column("seconds", "float64", "its length", "interval", least=SHORTEST, most=LONGEST),
    Column("direction", "word", "rx or tx", "word"),
    Column(
        "alloc_cpu", "int32", "CPU that allocated the packets", "cpu", rows=(PAIR,), is_cpu=True
    ),
    Column("consume_cpu", "int32", "CPU that consumed them", "cpu", rows=(PAIR,), is_cpu=True),
    Column(
        "packets", "int64", "all that ended, those of `unknown` among them", "direction", most=MOST
    ),
    _figure("local", "direction", "consumed on the CPU that allocated them", nullable=True),
    _figure("freed_local", "direction", "freed on the CPU that allocated them", nullable=True),
    _figure("deferred", "direction", "sent back to the alloc CPU to be freed", nullable=True),
    _figure("unknown", "direction", "seen, but not on which CPU they were consumed", nullable=True),
    _figure("delivered", "received", "taken by a reader; of rx only", nullable=True),
    _figure("delivered_local", "received", "of these, taken on the alloc CPU", nullable=True),
    _figure("apart", "split", "on two CPUs, not known which: not in `skb`"),
    _figure("together", "split", "on one CPU, not known which: not in `skb`"),
    _figure("lost", "interval", "runs of a probe that the kernel skipped, since the start"),
)

#: The figures that each direction has of its own, in output order.
OF_DIRECTION = tuple(column.name for column in COLUMNS if column.form == "direction")
