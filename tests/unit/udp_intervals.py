"""Intervals of `locality udp` made up for tests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from locality.udp.interval import FLOW, READER, SOCKET, UdpGroup, UdpInterval

if TYPE_CHECKING:
    from locality.arrays import Array

ANY_ADDRESS = UdpGroup(4026531833, "0.0.0.0", 5000, 4, order_known=True, program="")


def address(*values: int) -> list[int]:
    return [*values, *[0] * (16 - len(values))]


def sockets(*datagrams: int, **fields: Any) -> Array:  # noqa: ANN401 - any value of a row
    """Sockets of group 0 on port 5000, with inodes 100, 101, …"""
    rows = np.zeros(len(datagrams), SOCKET)
    rows["inode"] = 100 + np.arange(len(rows))
    rows["index"] = np.arange(len(rows))
    rows["port"], rows["family"], rows["netns"] = 5000, 2, 4026531833
    rows["datagrams"] = rows["known"] = rows["seen"] = datagrams
    for name, value in fields.items():
        rows[name] = value
    return rows


def readers(of: Array, **fields: Any) -> Array:  # noqa: ANN401 - any value of a row
    """One reader for each socket that has datagrams."""
    of = of[of["datagrams"] > 0]
    rows = np.zeros(len(of), READER)
    for name in set(READER.names or ()) & set(of.dtype.names or ()):
        rows[name] = of[name]
    rows["pid"], rows["comm"] = 77, b"router"
    rows["tid"] = 1000 + of["inode"]
    for name, value in fields.items():
        rows[name] = value
    return rows


def flows(*samples: int, **fields: Any) -> Array:  # noqa: ANN401 - any value of a row
    """Flows from 10.0.0.1, ports 4000, 4001, …, to 10.0.0.2:5000."""
    rows = np.zeros(len(samples), FLOW)
    rows["source"], rows["target"] = address(10, 0, 0, 1), address(10, 0, 0, 2)
    rows["source_port"] = 4000 + np.arange(len(rows))
    rows["port"], rows["family"], rows["netns"] = 5000, 2, 4026531833
    rows["samples"] = samples
    for name, value in fields.items():
        rows[name] = value
    return rows


def interval(of: Array, **fields: Any) -> UdpInterval:  # noqa: ANN401 - any field
    """One second of these sockets."""
    ordinary: dict[str, Any] = {
        "time": 1_700_000_000.0,
        "seconds": 1.0,
        "rung": "fentry",
        "lost": 0,
        "readers": readers(of),
        "sockets": of,
        "flows": flows(),
        "flows_lost": 0,
        "sample_one_in": 16,
        "batches_seen": True,
        "matrix": np.zeros((2, 2), "u8"),
        "groups": {0: ANY_ADDRESS},
    }
    return UdpInterval(**ordinary | fields)
