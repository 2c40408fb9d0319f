"""What one interval of `locality udp` showed, and what its numbers add up to.

Counts are of messages that a reader got: with the socket option UDP_GRO one message is
several datagrams. The kernel side is described in probes/udp_counters.h.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from locality.arrays import alike

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from locality.arrays import Array


_ENDPOINT = [
    ("inode", "u8"),
    ("netns", "u4"),
    ("family", "u2"),
    ("port", "u2"),
    ("address", "u1", (16,)),
    ("group", "i4"),
    ("index", "i4"),
]

#: Of a reader, and in sum of a socket.
#: datagrams, bytes: what was read. known: datagrams whose alloc CPU is known; local: of these,
#: read there. rx_known: datagrams of which the CPU is known that processed them; rx_local: of
#: these, read there. moved: datagrams of which both are known, and are two.
#: batches: recvmmsg() calls that gave datagrams; batched: the datagrams they gave.
READER_SUMS = (
    *("datagrams", "bytes", "known", "local"),
    *("rx_known", "rx_local", "moved"),
    *("batches", "batched"),
)

#: A socket's own, and no reader's.
#: drops: no room in the receive buffer; refused: no memory for UDP (net.ipv4.udp_mem).
#: seen, sampled: datagrams that the flow sample could choose from, and that it chose.
OWN_SUMS = ("drops", "refused", "seen", "sampled")

#: A socket's, at the interval's end: datagrams and bytes of memory that wait, and bytes of
#: memory that may. peak: most datagrams that waited at once.
GAUGES = ("queued", "queued_bytes", "rcvbuf", "peak")

SOCKET_SUMS = (*READER_SUMS, *OWN_SUMS)
SOCKET_OWN = (*OWN_SUMS, *GAUGES)

#: One thread that reads one socket.
#: inode: the socket's. netns: inode of its network namespace. family: 2 or 10, the socket's.
#: address: network order, IPv4 in 4 bytes. group: key of `UdpInterval.groups`, -1 for none.
#: index: the socket's place in its group, -1 where not known. cgroup: the thread's, by its id
#: (v2); 0 if not known.
READER = np.dtype(
    [
        *_ENDPOINT,
        ("pid", "u4"),
        ("tid", "u4"),
        ("comm", "S16"),
        ("cgroup", "u8"),
        *((name, "u8") for name in READER_SUMS),
    ]
)

#: One socket: the sums of its readers, and what is the socket's own.
SOCKET = np.dtype(
    [
        *_ENDPOINT,
        *((name, "u8") for name in SOCKET_SUMS),
        *((name, "u4") for name in GAUGES),
    ]
)

_FLOW = [
    ("source", "u1", (16,)),
    ("target", "u1", (16,)),
    ("netns", "u4"),
    ("family", "u2"),
    ("source_port", "u2"),
    ("port", "u2"),
    ("reserved", "u2", (3,)),
]

#: `struct flow_key`: addresses in network order, IPv4 in 4 bytes; family: of the packets.
FLOW_KEY = np.dtype(_FLOW)

#: One flow of the sample, to one port of one network namespace.
FLOW = np.dtype([*_FLOW, ("samples", "u8")])

#: Flows that a sum of intervals keeps; the lightest are left out and counted as lost.
MOST_FLOWS = 16384


class UdpGroup(NamedTuple):
    """A reuseport group whose sockets were counted.

    Attributes:
        netns: Inode of its network namespace, or None if it may not be seen.
        address: ``0.0.0.0`` or ``[::]``; with ``%eth0`` if bound to an interface.
        port: The port.
        size: Its sockets, among them those that were not asked for.
        order_known: Whether a socket's index is what a program would answer.
        program: The attached program in words; empty for none, None where not known.
    """

    netns: int | None
    address: str
    port: int
    size: int
    order_known: bool
    program: str | None

    def __str__(self) -> str:
        return f"udp {self.address}:{self.port}"


@dataclass(frozen=True)
class UdpInterval:
    """What one interval showed; no row where nothing happened, but for members of groups.

    Attributes:
        time: Its end, UTC, seconds since the epoch.
        seconds: Its length.
        rung: The rung that saw it.
        lost: Since the start: probe runs the kernel skipped, and events of sockets or
            readers for which the tables had no room.
        readers: dtype `READER`, sorted by port, group, index and thread.
        sockets: dtype `SOCKET`, sorted by port, group and index; includes group members that got
            nothing.
        flows: dtype `FLOW`, most samples first.
        flows_lost: Samples whose flow is not in `flows`.
        sample_one_in: How many datagrams there are for one in the flow sample.
        batches_seen: Whether this kernel shows recvmmsg() calls.
        matrix: (CPUs, CPUs) datagrams by alloc CPU and reader's CPU, where both are known.
        groups: By the key in ``group``.
        peers: By inode, the peer of a connected socket: ``10.0.0.1:4000``. Not recorded.
        cgroups: Paths of the readers' cgroups, by id; of those that could be told.
    """

    time: float
    seconds: float
    rung: str
    lost: int
    readers: Array
    sockets: Array
    flows: Array
    flows_lost: int
    sample_one_in: int
    batches_seen: bool
    matrix: Array
    groups: Mapping[int, UdpGroup] = field(default_factory=dict)
    peers: Mapping[int, str] = field(default_factory=dict)
    cgroups: Mapping[int, str] = field(default_factory=dict)

    def __len__(self) -> int:
        """An interval is one event, however many datagrams it counted."""
        return 1

    def first(self, count: int) -> UdpInterval:
        """Itself: an interval cannot be cut."""
        del count
        return self

    def __add__(self, later: UdpInterval) -> UdpInterval:
        """This interval and the one after it, as one."""
        flows = _together(self.flows, later.flows, FLOW_KEY.names or (), ("samples",))
        flows = flows[np.argsort(-flows["samples"].astype("i8"), kind="stable")]
        return UdpInterval(
            time=later.time,
            seconds=self.seconds + later.seconds,
            rung=later.rung,
            lost=later.lost,
            readers=in_order(_together(self.readers, later.readers, ("inode", "tid"), READER_SUMS)),
            sockets=in_order(
                _together(self.sockets, later.sockets, ("inode",), SOCKET_SUMS, ("peak",))
            ),
            flows=flows[:MOST_FLOWS],
            flows_lost=self.flows_lost
            + later.flows_lost
            + int(flows["samples"][MOST_FLOWS:].sum()),
            sample_one_in=later.sample_one_in,
            batches_seen=later.batches_seen,
            matrix=self.matrix + later.matrix,
            groups={**self.groups, **later.groups},
            peers={**self.peers, **later.peers},
            cgroups={**self.cgroups, **later.cgroups},
        )


def in_order(rows: Array) -> Array:
    """Readers or sockets by port, group, index, and what tells them apart."""
    last = ("tid",) if "tid" in (rows.dtype.names or ()) else ()
    keys = [rows[name] for name in ("port", "netns", "group", "index", "inode", *last)]
    return rows[np.lexsort(keys[::-1])]


def _together(
    earlier: Array,
    later: Array,
    key: tuple[str, ...],
    sums: Sequence[str],
    maxima: Sequence[str] = (),
) -> Array:
    """Rows of the same key become one; what is neither a sum nor a maximum is the latest."""
    rows = np.concatenate([earlier, later])
    if not len(rows):
        return rows
    inverse = alike(rows, key)
    latest = np.zeros(inverse.max() + 1, "i8")
    np.maximum.at(latest, inverse, np.arange(len(rows)))
    merged = rows[latest]
    for name in sums:
        merged[name] = 0
        np.add.at(merged[name], inverse, rows[name])
    for name in maxima:
        np.maximum.at(merged[name], inverse, rows[name])
    return merged
