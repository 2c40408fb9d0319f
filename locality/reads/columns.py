"""The columns that recordings of readers share."""

from __future__ import annotations

from locality.recording.columns import LONGEST, MOST, SHORTEST, Column

READER_ROW = "reader"


def of_reader(name: str, type_: str, meaning: str, form: str, *, nullable: bool = False) -> Column:
    """A column of the rows of readers."""
    most = MOST if type_ == "int64" else None
    return Column(name, type_, meaning, form, nullable=nullable, rows=(READER_ROW,), most=most)


INTERVAL_COLUMNS = (
    Column("time", "time", "end of the interval", "time"),
    Column("seconds", "float64", "length of the interval", "seconds", least=SHORTEST, most=LONGEST),
)
#: Whose the socket is that is read.
SOCKET_COLUMNS = (
    of_reader("netns", "uint32", "inode number of the network namespace", "number"),
    of_reader("port", "uint16", "local port, or with `outgoing` the port of the peer", "number"),
    of_reader("protocol", "text", "tcp or udp", "protocol"),
    of_reader("outgoing", "bool", "whether this machine opened the connection", "flag"),
)
