"""The columns of packet counts: one row for each interval and direction, and for each pair of CPUs.

Beside time and direction, every column is a figure of `locality.skb.interval.Interval`; its form
says of what the figure is.
"""

from __future__ import annotations

from locality.recording.columns import LONGEST, MOST, SHORTEST, Column

#: The kinds of rows. A batch is an interval: two totals, received and sent, then its pairs.
TOTAL, PAIR = "total", "pair"


def _figure(
    name: str, form: str, meaning: str, *, nullable: bool = False, later: bool = False
) -> Column:
    return Column(
        name, "int64", meaning, form, nullable=nullable, rows=(TOTAL,), most=MOST, later=later
    )


#: Forms of figures: "direction": one for each direction; "received": of received packets only;
#: "split": a pair for the two directions; "interval": one for both.
COLUMNS = (
    Column("time", "time", "end of the interval", "time"),
    Column(
        "seconds", "float64", "length of the interval", "interval", least=SHORTEST, most=LONGEST
    ),
    Column("direction", "word", "rx or tx", "word"),
    Column(
        "alloc_cpu", "int32", "CPU that allocated the packets", "cpu", rows=(PAIR,), is_cpu=True
    ),
    Column(
        "consume_cpu", "int32", "CPU that consumed the packets", "cpu", rows=(PAIR,), is_cpu=True
    ),
    Column(
        "packets", "int64", "all packets that ended, including `unknown`", "direction", most=MOST
    ),
    _figure("local", "direction", "packets consumed on the alloc CPU", nullable=True),
    _figure("freed_local", "direction", "packets freed on the alloc CPU", nullable=True),
    _figure(
        "deferred", "direction", "packets whose free was deferred to the alloc CPU", nullable=True
    ),
    _figure("unknown", "direction", "packets whose consume CPU is not known", nullable=True),
    _figure("delivered", "received", "packets that a process read; only for rx", nullable=True),
    _figure(
        "delivered_local",
        "received",
        "delivered packets that were read on the alloc CPU",
        nullable=True,
    ),
    _figure("apart", "split", "packets whose CPUs differ, but are not both known; not in `skb`"),
    _figure("together", "split", "packets with one CPU, which is not known; not in `skb`"),
    _figure("lost", "interval", "runs of a probe that the kernel skipped, since the start"),
    _figure(
        "not_told",
        "split",
        "packets for which the filter could not be decided; not in `packets`",
        later=True,
    ),
)

#: The figures that each direction has of its own, in output order.
OF_DIRECTION = tuple(column.name for column in COLUMNS if column.form == "direction")
