"""How evenly an interval's datagrams are spread over the sockets of a group, and by which flow."""

from __future__ import annotations

import ipaddress
import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from locality.arrays import Array
    from locality.udp.interval import UdpGroup, UdpInterval

_IPV4 = 2


def arrivals(sockets: Array) -> Array:
    """Datagrams that were meant for each socket: read, or dropped before they could be."""
    total: Array = sockets["datagrams"] + sockets["drops"] + sockets["refused"]
    return total


def imbalance(counts: Array) -> float | None:
    """The most over the mean: 1 for even shares, n where one of n has everything.

    Args:
        counts: Datagrams of each member, zeros included.
    """
    total = counts.sum()
    return float(counts.max() * len(counts) / total) if total else None


def effective_sockets(counts: Array) -> float | None:
    """How many sockets share the work, as if evenly: exp of the entropy of the shares.

    n for even shares, 1 where one has everything; None where there is nothing.
    """
    total = int(counts.sum())
    if not total:
        return None
    shares = counts[counts > 0] / total
    return math.exp(-float((shares * np.log(shares)).sum()))


@dataclass(frozen=True)
class TopFlow:
    """The flow with the most samples among those to one group or socket.

    Attributes:
        source: Address and port of the sender: ``10.0.0.1:4000``.
        target: Address and port of the receiver.
        samples: Its samples.
        of: All samples with a known flow.
    """

    source: str
    target: str
    samples: int
    of: int

    @property
    def share(self) -> float:
        """Its share in per cent."""
        return 100 * self.samples / self.of


@dataclass(frozen=True)
class Balance:
    """How the datagrams of a reuseport group, or of a single socket, are distributed.

    Attributes:
        group: The group; None for a socket outside of groups.
        sockets: Its rows of `UdpInterval.sockets`.
        readers: Its rows of `UdpInterval.readers`.
        counts: What `arrivals` says of the sockets.
        top_flow: None without a sample.
        told_by: What tells a single socket from others of its address; empty where it has none.
    """

    group: UdpGroup | None
    sockets: Array
    readers: Array
    counts: Array
    top_flow: TopFlow | None
    told_by: str = ""

    @property
    def imbalance(self) -> float | None:
        """See `imbalance`."""
        return imbalance(self.counts)

    @property
    def effective(self) -> float | None:
        """See `effective_sockets`."""
        return effective_sockets(self.counts)

    @property
    def name(self) -> str:
        """``udp 0.0.0.0:53``; of a connected socket ``udp 10.0.0.2:53, peer 10.0.0.1:4000``."""
        if self.group is not None:
            return f"{self.group}"
        return ", ".join(filter(None, (f"udp {endpoint(self.sockets[0])}", self.told_by)))


def balances(interval: UdpInterval) -> list[Balance]:
    """Each group of the interval, and each socket of no group, by port."""
    found = []
    sockets, readers = interval.sockets, interval.readers
    alone = sockets["group"] < 0
    names = [(True, int(group)) for group in dict.fromkeys(sockets["group"][~alone].tolist())]
    names += [(False, int(inode)) for inode in sockets["inode"][alone].tolist()]
    told = _told_by(sockets[alone], interval.peers)
    for is_group, number in names:
        column = "group" if is_group else "inode"
        mine = sockets[sockets[column] == number]
        found.append(
            Balance(
                group=interval.groups[number] if is_group else None,
                sockets=mine,
                readers=readers[readers[column] == number],
                counts=arrivals(mine),
                top_flow=_top_flow(interval.flows, mine[0]),
                told_by="" if is_group else told.get(number, ""),
            )
        )
    return sorted(found, key=lambda one: int(one.sockets["port"][0]))


def _told_by(alone: Array, peers: Mapping[int, str]) -> dict[int, str]:
    """By inode, what tells a socket of no group from others: its peer, or else its inode."""
    ends = {int(row["inode"]): endpoint(row) for row in alone}
    many = Counter(ends.values())
    return {
        inode: f"peer {peers[inode]}" if inode in peers else f"socket {inode}"
        for inode, end in ends.items()
        if inode in peers or many[end] > 1
    }


def _top_flow(flows: Array, socket: Any) -> TopFlow | None:  # noqa: ANN401 - numpy.void
    """Among the flows that a group with this socket takes."""
    mine = flows[(flows["port"] == socket["port"]) & (flows["netns"] == socket["netns"])]
    if socket["family"] == _IPV4:
        mine = mine[mine["family"] == _IPV4]
    # A socket that is bound to an address takes what is sent there; IPv4 packets come to an
    # IPv6 socket by their IPv4 address, so that only those of its own family are compared.
    if socket["address"].any():
        other = mine["family"] != socket["family"]
        mine = mine[other | (mine["target"] == socket["address"]).all(axis=1)]
    if not len(mine):
        return None
    top = mine[np.argmax(mine["samples"])]
    return TopFlow(
        source=_host(top["source"], top["family"], top["source_port"]),
        target=_host(top["target"], top["family"], top["port"]),
        samples=int(top["samples"]),
        of=int(mine["samples"].sum()),
    )


def shares_of(one: Balance) -> Array:
    """(sockets,) per cent of the datagrams that were meant for the group."""
    return np.asarray(100 * one.counts / max(1, int(one.counts.sum())))


def places_of(one: Balance) -> list[str]:
    """(sockets,) the index of each in its group; ``-`` where not known."""
    return [str(index) if index >= 0 else "-" for index in one.sockets["index"].tolist()]


def endpoint(row: Any) -> str:  # noqa: ANN401 - numpy.void
    """Address and port a socket is bound to: ``0.0.0.0:53``."""
    return _host(row["address"], row["family"], row["port"])


def _host(address: Array, family: int, port: int) -> str:
    raw = address.tobytes()
    if family == _IPV4:
        return f"{ipaddress.IPv4Address(raw[:4])}:{port}"
    return f"[{ipaddress.IPv6Address(raw)}]:{port}"
