"""An accept batch as columns of Python values, in the units that users see.

Conversions run over whole arrays; what is costly a piece (addresses, names) is done once
for each distinct value.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

import numpy as np

from locality.accept import WAIT_KNOWN
from locality.topology import WORDS

if TYPE_CHECKING:
    from collections.abc import Callable

    from locality.accept import AcceptBatch, Records
    from locality.topology import Topology

#: The columns, in output order. time: UTC, s. wait_ns: None where not known.
#: distance: of cpu and rxcpu, a word of `locality.topology.Distance`.
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

_AS_THEY_ARE = (
    "cpu",
    "rxcpu",
    "pid",
    "tid",
    "listen_fd",
    "fd",
    "family",
    "lport",
    "rport",
    "netns",
)


def columns(batch: AcceptBatch, topology: Topology) -> dict[str, list[Any]]:
    """The columns of `NAMES`, as lists of equal length."""
    records = batch.records
    found: dict[str, list[Any]] = {name: records[name].tolist() for name in _AS_THEY_ARE}
    found["time"] = ((records["time"] + batch.clock_offset) / 1e9).tolist()
    found["comm"] = _each_distinct(
        records["comm"], lambda raw: raw.decode(errors="backslashreplace")
    )
    found["laddr"] = _addresses(records, "laddr")
    found["raddr"] = _addresses(records, "raddr")
    waits = records["wait"].astype(object)
    waits[(records["flags"] & WAIT_KNOWN) == 0] = None
    found["wait_ns"] = waits.tolist()
    found["distance"] = WORDS[topology.distance(records["cpu"], records["rxcpu"])].tolist()
    return {name: found[name] for name in NAMES}


def _each_distinct(
    values: np.ndarray[tuple[int], np.dtype[Any]], convert: Callable[[Any], str]
) -> list[str]:
    distinct, index = np.unique(values, return_inverse=True)
    converted = np.array([convert(value) for value in distinct.tolist()], dtype=object)
    texts: list[str] = converted[index].tolist() if len(distinct) else []
    return texts


def _addresses(records: Records, field: str) -> list[str]:
    # 'V' and not 'S': numpy drops trailing zero bytes of byte strings.
    keys = np.empty(len(records), dtype=[("family", "u1"), ("address", "V16")])
    keys["family"] = records["family"]
    keys["address"] = np.ascontiguousarray(records[field]).view("V16").reshape(-1)
    # np.unique cannot order void fields, so the distinct ones are found as raw bytes.
    raw = keys.view("V17").tolist()
    texts = {key: address(key) for key in set(raw)}
    return [texts[key] for key in raw]


def address(key: bytes) -> str:
    """The text of an IP version in one byte and an address in 16."""
    if key[0] == 4:  # noqa: PLR2004 - an IP version
        return socket.inet_ntop(socket.AF_INET, key[1:5])
    return socket.inet_ntop(socket.AF_INET6, key[1:])
