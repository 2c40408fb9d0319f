"""The columns of accepted connections, and their values in the units that users see.

Conversions run over whole arrays; what is costly a piece (addresses, names) is done once
for each distinct value.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from locality.accept.batch import WAIT_KNOWN
from locality.machine.topology import WORDS
from locality.recording.columns import Column

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from locality.accept.batch import AcceptBatch, Records
    from locality.machine.topology import Topology

#: The columns, in output order: one row a connection.
COLUMNS = (
    Column("time", "time", "when accept() ended, UTC; in seconds in JSON and CSV", "time"),
    Column("cpu", "int32", "CPU that ran accept()", is_cpu=True),
    Column("rxcpu", "int32", "CPU that received the packets; -1: not known", least=-1, is_cpu=True),
    Column("pid", "int32", "process that accepted"),
    Column("tid", "int32", "thread that accepted"),
    Column("comm", "name", "name of the thread", "name"),
    Column("listen_fd", "int32", "file descriptor of the listener; -1: not known", least=-1),
    Column("fd", "int32", "file descriptor of the connection; -1: it has none", least=-1),
    Column("family", "uint8", "IP version of the packets: 4 or 6", most=6),
    Column("laddr", "text", "local address", "address"),
    Column("lport", "uint16", "local port"),
    Column("raddr", "text", "address of the client", "address"),
    Column("rport", "uint16", "port of the client"),
    Column("wait_ns", "int64", "ns in the accept queue; NA: not known", "wait", nullable=True),
    Column("netns", "uint32", "inode number of the network namespace"),
    Column(
        "distance",
        "word",
        "distance of the two CPUs: cpu, core, llc, node, remote, unknown",
        "distance",
    ),
    Column("cgroup", "int64", "id of the cgroup (v2) of the thread; 0: not known", later=True),
    Column(
        "cgroup_path",
        "text",
        "path of that cgroup; NA: not known",
        "path",
        nullable=True,
        later=True,
    ),
)
NAMES = tuple(column.name for column in COLUMNS)
#: The columns that are strings.
TEXTS = tuple(column.name for column in COLUMNS if column.type in {"name", "text", "word"})

_FORMS = {column.name: column.form for column in COLUMNS}


def columns(
    batch: AcceptBatch, machine: Topology, names: Sequence[str] = NAMES
) -> dict[str, list[Any]]:
    """The columns of these names, as lists of equal length; None where not known."""
    return {name: _VALUES[_FORMS[name]](batch, machine, name) for name in names}


def _times(batch: AcceptBatch, _machine: Topology, name: str) -> list[float]:
    seconds: list[float] = ((batch.records[name] + batch.clock_offset) / 1e9).tolist()
    return seconds


def _numbers(batch: AcceptBatch, _machine: Topology, name: str) -> list[int]:
    numbers: list[int] = batch.records[name].tolist()
    return numbers


def _names(batch: AcceptBatch, _machine: Topology, name: str) -> list[str]:
    return names_of(batch.records[name])


def names_of(values: np.ndarray[tuple[int], np.dtype[np.bytes_]]) -> list[str]:
    """Names of threads as text."""
    return _each_distinct(values.tolist(), lambda raw: raw.decode(errors="backslashreplace"))


def _addresses(batch: AcceptBatch, _machine: Topology, name: str) -> list[str]:
    return _each_distinct(address_keys(batch.records, name).view("V17").tolist(), address)


def _waits(batch: AcceptBatch, _machine: Topology, _name: str) -> list[int | None]:
    waits = batch.records["wait"].astype(object)
    waits[(batch.records["flags"] & WAIT_KNOWN) == 0] = None
    values: list[int | None] = waits.tolist()
    return values


def _distances(batch: AcceptBatch, machine: Topology, _name: str) -> list[str]:
    apart = machine.distance(batch.records["cpu"], batch.records["rxcpu"])
    words: list[str] = WORDS[apart].tolist()
    return words


def _paths(batch: AcceptBatch, _machine: Topology, _name: str) -> list[str | None]:
    return [batch.cgroups.get(number) for number in batch.records["cgroup"].tolist()]


_VALUES: Mapping[str, Callable[[AcceptBatch, Topology, str], list[Any]]] = {
    "time": _times,
    "number": _numbers,
    "name": _names,
    "address": _addresses,
    "wait": _waits,
    "distance": _distances,
    "path": _paths,
}


def _each_distinct(values: list[bytes], convert: Callable[[bytes], str]) -> list[str]:
    texts = {value: convert(value) for value in set(values)}
    return [texts[value] for value in values]


def address_keys(records: Records, name: str) -> np.ndarray[tuple[int], np.dtype[np.void]]:
    """What `address` takes, for each record: an IP version and 16 bytes of address."""
    # 'V' and not 'S': numpy drops trailing zero bytes of byte strings.
    keys = np.empty(len(records), dtype=[("family", "u1"), ("address", "V16")])
    keys["family"] = records["family"]
    keys["address"] = np.ascontiguousarray(records[name]).view("V16").reshape(-1)
    return keys


# Clients come again: most of them stand in an earlier batch, too.
@lru_cache(maxsize=1 << 12)
def address(key: bytes) -> str:
    """The text of an IP version in one byte and an address in 16."""
    import socket  # noqa: PLC0415 - takes a millisecond, and the start has no address yet

    if key[0] == 4:  # noqa: PLR2004 - an IP version
        return socket.inet_ntop(socket.AF_INET, key[1:5])
    return socket.inet_ntop(socket.AF_INET6, key[1:])
