"""The columns of connections that have ended, and their values in the units that users see.

The first ones are those of the accept, in `locality.accept.columns`. What was added to these since
comes last.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from locality.accept import columns as accept
from locality.accept.batch import AcceptBatch
from locality.recording.columns import Column

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from locality.accept.batch import Records
    from locality.arrays import Array
    from locality.connections.batch import ConnectionBatch
    from locality.machine.topology import Topology

#: How a connection ended: the client closed first, the server did, or it was aborted.
ENDS = ("client", "server", "reset")

#: srtt is in eighths of a microsecond.
RTT_UNIT_NS = 125

OWN = (
    Column("lifetime_ns", "int64", "ns from the accept to the end of the TCP connection", "since"),
    Column(
        "end",
        "word",
        "client or server: which end closed first; reset: aborted, by a reset or a timeout",
        "end",
    ),
    Column("received", "int64", "bytes of data that TCP received"),
    Column("sent", "int64", "bytes of data that TCP sent, without what it repeated"),
    Column("retransmits", "int64", "segments that TCP sent again"),
    Column(
        "rtt_ns",
        "int64",
        "ns of the smoothed round-trip time; NA: unknown",
        "rtt",
        nullable=True,
    ),
    Column("reads", "int64", "reads that took data"),
    Column(
        "local_reads",
        "int64",
        "reads on the RX CPU: it handled the last packet before",
    ),
    Column("read", "int64", "bytes that these reads took"),
    Column(
        "reader_pid",
        "int32",
        "process of the first read; NA: none was made",
        "first",
        nullable=True,
    ),
    Column("reader_tid", "int32", "thread of the first read", "first", nullable=True),
    Column("reader_comm", "name", "name of that thread; empty: none was made", "name"),
    Column("reader_cpu", "int32", "CPU of the first read", "first", nullable=True, is_cpu=True),
    Column(
        "reader_rxcpu",
        "int32",
        "RX CPU at the first read; -1: not known",
        "first",
        nullable=True,
        least=-1,
        is_cpu=True,
    ),
    Column(
        "read_after_ns", "int64", "ns from the accept to the first read", "after", nullable=True
    ),
    Column(
        "read_wait_ns",
        "int64",
        "ns from the last packet that TCP handled to the first read",
        "wait",
        nullable=True,
    ),
)
#: The columns of the accept that recordings of the first versions lack.
LATER = tuple(column for column in accept.COLUMNS if column.later)
COLUMNS = (*(column for column in accept.COLUMNS if not column.later), *OWN, *LATER)
NAMES = tuple(column.name for column in COLUMNS)
#: The columns that are strings.
TEXTS = (*accept.TEXTS, "end", "reader_comm")

_FORMS = {column.name: column.form for column in OWN}


def accepts_of(batch: ConnectionBatch) -> AcceptBatch:
    """The accepts of the connections."""
    return AcceptBatch(batch.records["accept"], batch.clock_offset, batch.lost, batch.cgroups)


def was_read(records: Records) -> Array:
    """(records,) whether anything was read: else the first read has no values."""
    read: Array = records["first_read"] > 0
    return read


def lifetimes(records: Records) -> Array:
    """(records,) ns from the accept to the end."""
    life: Array = records["ended"] - records["accept"]["time"]
    return life


def after_accept(records: Records) -> Array:
    """(records,) ns from the accept to the first read; only where there is one."""
    accepted = records["accept"]["time"]
    # A thread of a worker may read while the accept is still being noted.
    after: Array = np.maximum(records["first_read"], accepted) - accepted
    return after


def since_packet(records: Records) -> Array:
    """(records,) ns from the last packet that TCP handled to the first read; where there is one."""
    # TCP's clock has steps of a microsecond.
    wait: Array = records["first_read"] - np.minimum(records["last_packet"], records["first_read"])
    return wait


def columns(
    batch: ConnectionBatch, machine: Topology, names: Sequence[str] = NAMES
) -> dict[str, list[Any]]:
    """The columns of these names, as lists of equal length; None where there is no value."""
    accepts = accepts_of(batch)
    return {
        name: _VALUES[_FORMS[name]](batch.records, name)
        if name in _FORMS
        else accept.columns(accepts, machine, [name])[name]
        for name in names
    }


def _plain(values: Array, known: Array | None = None) -> list[Any]:
    if known is None:
        listed: list[Any] = values.tolist()
        return listed
    objects = values.astype(object)
    objects[~known] = None
    return list(objects.tolist())


_VALUES: Mapping[str, Callable[[Records, str], list[Any]]] = {
    "number": lambda records, name: _plain(records[name]),
    "since": lambda records, _name: _plain(lifetimes(records)),
    "end": lambda records, _name: [ENDS[end] for end in records["end"].tolist()],
    "rtt": lambda records, _name: _plain(
        records["srtt"].astype(np.int64) * RTT_UNIT_NS, records["srtt"] > 0
    ),
    "first": lambda records, name: _plain(records[name], was_read(records)),
    "after": lambda records, _name: _plain(after_accept(records), was_read(records)),
    "wait": lambda records, _name: _plain(since_packet(records), was_read(records)),
    "name": lambda records, name: accept.names_of(records[name]),
}
