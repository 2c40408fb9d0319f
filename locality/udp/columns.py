"""The columns of datagram counts: a batch is an interval, with rows of several kinds.

The column ``row`` says of which kind a row is. laddr and lport are the receiver's end, raddr and
rport the sender's.
"""

from __future__ import annotations

from locality.recording.columns import LONGEST, MOST, SHORTEST, Column
from locality.udp.interval import READER_SUMS, SOCKET_OWN

#: The kinds of rows, in the order in which a batch has them; there is one ``interval``.
ROWS = ("interval", "group", "socket", "reader", "flow", "cell")

_OF_ENDPOINT = ("socket", "reader")
_ADDRESSED = ("group", "socket", "reader", "flow")

_MEANINGS = {
    "datagrams": "datagrams that were read",
    "bytes": "bytes that were read",
    "known": "datagrams of which both CPUs are known",
    "local": "of these, read on their alloc CPU",
    "batches": "recvmmsg() calls that gave datagrams",
    "batched": "datagrams that these gave",
    "drops": "dropped: no room in the receive buffer",
    "refused": "dropped: no memory for UDP (net.ipv4.udp_mem)",
    "seen": "datagrams that the sample of flows could choose from",
    "sampled": "datagrams that it chose",
    "queued": "datagrams that wait, at the interval's end",
    "queued_bytes": "bytes of memory that they take",
    "rcvbuf": "bytes of memory that they may take",
    "peak": "most datagrams that waited at once",
}


def _sum(name: str) -> Column:
    batched = name in {"batches", "batched"}
    rows = (*_OF_ENDPOINT, "cell") if name == "datagrams" else _OF_ENDPOINT
    form = "batches" if batched else "count"
    return Column(name, "int64", _MEANINGS[name], form, nullable=batched, rows=rows, most=MOST)


def _of(  # noqa: PLR0917 - as `Column`
    row: str, name: str, type_: str, meaning: str, form: str = "number", least: int = 0
) -> Column:
    most = MOST if type_ == "int64" else None
    return Column(name, type_, meaning, form, rows=(row,), least=least, most=most)


COLUMNS = (
    Column("time", "time", "end of the interval", "time"),
    Column("seconds", "float64", "its length", least=SHORTEST, most=LONGEST),
    Column("row", "text", "interval, group, socket, reader, flow or cell", "row"),
    Column(
        "group",
        "int32",
        "number of the reuseport group; NA: of none",
        "index",
        nullable=True,
        rows=("group", *_OF_ENDPOINT),
        always_in=("group",),
    ),
    Column(
        "index",
        "int32",
        "the socket's place in the group's order; NA: of no group, or not known",
        "index",
        nullable=True,
        rows=_OF_ENDPOINT,
    ),
    Column("inode", "int64", "the socket's inode number", "count", rows=_OF_ENDPOINT),
    Column(
        "netns",
        "uint32",
        "inode number of the network namespace",
        "not zero",
        nullable=True,
        rows=_ADDRESSED,
    ),
    Column(
        "family",
        "uint8",
        "IP version: 4 or 6",
        "version",
        nullable=True,
        rows=_ADDRESSED[1:],
        least=4,
        most=6,
    ),
    Column("laddr", "text", "the receiver's address", "address", nullable=True, rows=_ADDRESSED),
    Column("lport", "uint16", "the receiver's port", rows=_ADDRESSED),
    Column("raddr", "text", "the sender's address", "address", nullable=True, rows=("flow",)),
    _of("flow", "rport", "uint16", "the sender's port"),
    _of("group", "size", "int32", "its sockets, also those that were not asked for", least=1),
    _of("group", "order_known", "bool", "whether index is what a program would answer"),
    Column(
        "program",
        "text",
        "the attached program in words; empty: none; NA: not known",
        nullable=True,
        rows=("group",),
    ),
    _of("reader", "pid", "int32", "process that reads"),
    _of("reader", "tid", "int32", "its thread"),
    _of("reader", "comm", "name", "the thread's name", "name"),
    Column("alloc_cpu", "int32", "CPU that allocated", rows=("cell",), is_cpu=True),
    Column("reader_cpu", "int32", "CPU that read", rows=("cell",), is_cpu=True),
    *map(_sum, READER_SUMS),
    *(_of("socket", name, "int64", _MEANINGS[name], "count") for name in SOCKET_OWN),
    _of("flow", "samples", "int64", "sampled datagrams of the flow", "count", 1),
    _of("interval", "sample_one_in", "int64", "of so many datagrams one is sampled", least=1),
    _of("interval", "flows_lost", "int64", "samples that found no room"),
    _of("interval", "batches_seen", "bool", "whether recvmmsg() calls can be seen"),
    _of("interval", "lost", "int64", "events that were missed, since the start"),
)

#: Where a column of a recording is called otherwise in `READER`, `SOCKET` and `FLOW`.
_FIELDS = {"laddr": "address", "lport": "port", "raddr": "source", "rport": "source_port"}


def field_of(column: str, row: str) -> str:
    """The field of a record that a column of such a row holds."""
    return "target" if (row, column) == ("flow", "laddr") else _FIELDS.get(column, column)
