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
    "known": "datagrams whose alloc CPU is known",
    "local": "datagrams that were read on their alloc CPU",
    "rx_known": "datagrams whose processing CPU is known",
    "rx_local": "datagrams that were read on their processing CPU",
    "moved": "datagrams whose processing CPU is not their alloc CPU",
    "batches": "recvmmsg() calls that returned datagrams",
    "batched": "datagrams that recvmmsg() calls returned",
    "drops": "datagrams dropped because the receive buffer was full",
    "refused": "datagrams dropped for lack of UDP memory (net.ipv4.udp_mem)",
    "seen": "datagrams from which the flow sample was taken",
    "sampled": "datagrams in the flow sample",
    "queued": "datagrams that wait at the end of the interval",
    "queued_bytes": "bytes of memory of the datagrams that wait",
    "rcvbuf": "bytes of memory that the queue may take",
    "peak": "most datagrams that waited at once",
}


#: The columns that recordings of the first versions lack.
_LATER = {"rx_known", "rx_local", "moved"}


def _sum(name: str) -> Column:
    batched = name in {"batches", "batched"}
    return Column(
        name,
        "int64",
        _MEANINGS[name],
        "batches" if batched else "count",
        nullable=batched,
        rows=(*_OF_ENDPOINT, "cell") if name == "datagrams" else _OF_ENDPOINT,
        most=MOST,
        later=name in _LATER,
    )


def _of(  # noqa: PLR0917 - as `Column`
    row: str, name: str, type_: str, meaning: str, form: str = "number", least: int = 0
) -> Column:
    most = MOST if type_ == "int64" else None
    return Column(name, type_, meaning, form, rows=(row,), least=least, most=most)


COLUMNS = (
    Column("time", "time", "end of the interval", "time"),
    Column("seconds", "float64", "length of the interval", least=SHORTEST, most=LONGEST),
    Column("row", "text", "interval, group, socket, reader, flow or cell", "row"),
    Column(
        "group",
        "int32",
        "number of the reuseport group; NA: the socket is in none",
        "index",
        nullable=True,
        rows=("group", *_OF_ENDPOINT),
        always_in=("group",),
    ),
    Column(
        "index",
        "int32",
        "index of the socket in its group; NA: in no group, or not known",
        "index",
        nullable=True,
        rows=_OF_ENDPOINT,
    ),
    Column("inode", "int64", "inode number of the socket", "count", rows=_OF_ENDPOINT),
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
    Column("laddr", "text", "address of the receiver", "address", nullable=True, rows=_ADDRESSED),
    Column("lport", "uint16", "port of the receiver", rows=_ADDRESSED),
    Column("raddr", "text", "address of the sender", "address", nullable=True, rows=("flow",)),
    _of("flow", "rport", "uint16", "port of the sender"),
    _of("group", "size", "int32", "number of sockets in the group, selected or not", least=1),
    _of(
        "group",
        "order_known",
        "bool",
        "whether index is the answer of a program that selects the socket",
    ),
    Column(
        "program",
        "text",
        "the attached program in words; empty: none; NA: not known",
        nullable=True,
        rows=("group",),
    ),
    _of("reader", "pid", "int32", "process that reads"),
    _of("reader", "tid", "int32", "thread that reads"),
    _of("reader", "comm", "name", "name of the thread", "name"),
    Column("alloc_cpu", "int32", "CPU that allocated the datagrams", rows=("cell",), is_cpu=True),
    Column("reader_cpu", "int32", "CPU that read the datagrams", rows=("cell",), is_cpu=True),
    *map(_sum, READER_SUMS),
    *(_of("socket", name, "int64", _MEANINGS[name], "count") for name in SOCKET_OWN),
    _of("flow", "samples", "int64", "sampled datagrams of the flow", "count", 1),
    _of("interval", "sample_one_in", "int64", "one datagram in this many is sampled", least=1),
    _of("interval", "flows_lost", "int64", "samples for which the table had no room"),
    _of("interval", "batches_seen", "bool", "whether recvmmsg() calls can be seen"),
    _of("interval", "lost", "int64", "events that were missed, since the start"),
    Column(
        "cgroup",
        "int64",
        "id of the cgroup (v2) of the thread; 0: not known",
        "count",
        rows=("reader",),
        later=True,
    ),
    Column(
        "cgroup_path",
        "text",
        "path of that cgroup; NA: not known",
        "path",
        nullable=True,
        rows=("reader",),
        later=True,
    ),
)

#: Where a column of a recording is called otherwise in `READER`, `SOCKET` and `FLOW`.
_FIELDS = {"laddr": "address", "lport": "port", "raddr": "source", "rport": "source_port"}


def field_of(column: str, row: str) -> str:
    """The field of a record that a column of such a row holds."""
    return "target" if (row, column) == ("flow", "laddr") else _FIELDS.get(column, column)
