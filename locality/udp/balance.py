"""How evenly an interval's datagrams are spread over the sockets of a group, and by which flow."""

from __future__ import annotations

import ipaddress
import math
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

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
    if len(counts) == 1:
        return 1.0
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
    sockets, readers = interval.sockets, interval.readers
    flows = _FlowsByPort(interval.flows)
    meant = arrivals(sockets)
    rows = _by_owner(sockets)
    read_by = _by_owner(readers)
    told = _told_by(sockets[sockets["group"] < 0], interval.peers)
    found = []
    # Groups come before sockets of none, each in the order of the rows.
    for owner in sorted(rows, key=lambda owner: not owner.is_group):
        mine = sockets[rows[owner]]
        found.append(
            Balance(
                group=interval.groups[owner.number] if owner.is_group else None,
                sockets=mine,
                readers=readers[read_by.get(owner, [])],
                counts=meant[rows[owner]],
                top_flow=_top_flow(flows.to(mine[0]), mine[0]),
                told_by="" if owner.is_group else told.get(owner.number, ""),
            )
        )
    return sorted(found, key=lambda one: int(one.sockets["port"][0]))


class _Owner(NamedTuple):
    """A group by its key, or a socket of no group by its inode."""

    is_group: bool
    number: int


def _by_owner(rows: Array) -> dict[_Owner, list[int]]:
    """Which sockets or readers belong to each, in their order."""
    found: dict[_Owner, list[int]] = {}
    pairs = zip(rows["group"].tolist(), rows["inode"].tolist(), strict=True)
    for row, (group, inode) in enumerate(pairs):
        owner = _Owner(group >= 0, group if group >= 0 else inode)
        found.setdefault(owner, []).append(row)
    return found


class _FlowsByPort:
    """Flows by their target's port and network namespace: sockets are many."""

    def __init__(self, flows: Array) -> None:
        self._flows = flows
        self._rows: dict[tuple[int, int], list[int]] = {}
        pairs = zip(flows["port"].tolist(), flows["netns"].tolist(), strict=True)
        for row, pair in enumerate(pairs):
            self._rows.setdefault(pair, []).append(row)

    def to(self, socket: Any) -> Array | None:  # noqa: ANN401 - numpy.void
        """Those to the port of a socket; None without any."""
        rows = self._rows.get((int(socket["port"]), int(socket["netns"])))
        return None if rows is None else self._flows[rows]


def _told_by(alone: Array, peers: Mapping[int, str]) -> dict[int, str]:
    """By inode, what tells a socket of no group from others: its peer, or else its inode."""
    fields = (alone[name].tolist() for name in ("inode", "family", "port", "address"))
    ends = {
        inode: (family, port, *address)
        for inode, family, port, address in zip(*fields, strict=True)
    }
    many = Counter(ends.values())
    return {
        inode: f"peer {peers[inode]}" if inode in peers else f"socket {inode}"
        for inode, end in ends.items()
        if inode in peers or many[end] > 1
    }


def _top_flow(flows: Array | None, socket: Any) -> TopFlow | None:  # noqa: ANN401 - numpy.void
    """Among the flows to its port, those that a group with this socket takes."""
    if flows is None:
        return None
    mine = flows
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


def endpoints(rows: Array) -> list[str]:
    """The same of many sockets."""
    raw = np.ascontiguousarray(rows["address"]).view("V16").reshape(-1).tolist()
    ends = zip(raw, rows["family"].tolist(), rows["port"].tolist(), strict=True)
    return [f"{_address(address, family)}:{port}" for address, family, port in ends]


def _host(address: Array, family: int, port: int) -> str:
    return f"{_address(address.tobytes(), int(family))}:{port}"


@lru_cache(maxsize=1 << 12)
def _address(raw: bytes, family: int) -> str:
    if family == _IPV4:
        return f"{ipaddress.IPv4Address(raw[:4])}"
    return f"[{ipaddress.IPv6Address(raw)}]"
