"""An accept batch as columns of Python values, in the units that users see.

Conversions run over whole arrays; what is costly a piece (addresses, names) is done once
for each distinct value.
"""

from __future__ import annotations

import socket
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from locality.accept.source import WAIT_KNOWN
from locality.machine.topology import WORDS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from locality.accept.source import AcceptBatch, Records
    from locality.machine.topology import Topology

#: The columns, in output order. time: UTC, s. wait_ns: None where not known.
#: distance: of cpu and rxcpu, a word of `locality.machine.topology.Distance`.
NAMES = (
    "time",
    "cpu",
    "rxcpu",
    "pid",
    "tid",
    "comm",
    "listen_fd",
    "fd",
    "family",
    "laddr",
    "lport",
    "raddr",
    "rport",
    "wait_ns",
    "netns",
    "distance",
)


def columns(
    batch: AcceptBatch, topology: Topology, names: Sequence[str] = NAMES
) -> dict[str, list[Any]]:
    """The columns of these names, as lists of equal length."""
    return {name: _column(name, batch, topology) for name in names}


def _column(name: str, batch: AcceptBatch, topology: Topology) -> list[Any]:
    records = batch.records
    values: list[Any]
    match name:
        case "time":
            values = ((records["time"] + batch.clock_offset) / 1e9).tolist()
        case "comm":
            values = _each_distinct(records["comm"].tolist(), _decoded)
        case "laddr" | "raddr":
            values = _addresses(records, name)
        case "wait_ns":
            waits = records["wait"].astype(object)
            waits[(records["flags"] & WAIT_KNOWN) == 0] = None
            values = waits.tolist()
        case "distance":
            values = WORDS[topology.distance(records["cpu"], records["rxcpu"])].tolist()
        case _:
            values = records[name].tolist()
    return values


def _each_distinct(values: list[bytes], convert: Callable[[bytes], str]) -> list[str]:
    texts = {value: convert(value) for value in set(values)}
    return [texts[value] for value in values]


def _decoded(raw: bytes) -> str:
    return raw.decode(errors="backslashreplace")


def _addresses(records: Records, field: str) -> list[str]:
    # 'V' and not 'S': numpy drops trailing zero bytes of byte strings.
    keys = np.empty(len(records), dtype=[("family", "u1"), ("address", "V16")])
    keys["family"] = records["family"]
    keys["address"] = np.ascontiguousarray(records[field]).view("V16").reshape(-1)
    return _each_distinct(keys.view("V17").tolist(), address)


# Clients come again: most of them stand in an earlier batch, too.
@lru_cache(maxsize=1 << 12)
def address(key: bytes) -> str:
    """The text of an IP version in one byte and an address in 16."""
    if key[0] == 4:  # noqa: PLR2004 - an IP version
        return socket.inet_ntop(socket.AF_INET, key[1:5])
    return socket.inet_ntop(socket.AF_INET6, key[1:])
