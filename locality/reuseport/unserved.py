"""Ports that nobody serves: most often a number that was mistyped, or that of another protocol."""

from __future__ import annotations

from typing import TYPE_CHECKING

from locality.reuseport.places import namespaces, places

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

#: What a server does on a port, by its protocol.
_DOES = {"tcp": "listens on TCP port", "udp": "reads UDP port"}

#: A connection that has ended, in a table (TCP_TIME_WAIT of include/net/tcp_states.h).
_TIME_WAIT = "06"


def nothing_serves(port: int, protocols: Sequence[str], netns: int | None, also: str = "") -> str:
    """That nothing serves a port, in words.

    Args:
        port: The port.
        protocols: Of tcp and udp: those that were looked at.
        netns: The inode of the network namespace that was looked at; None for all.
        also: A protocol of which something does serve it.
    """
    does = " and ".join(f"nothing {_DOES[one]} {port}" for one in protocols)
    where = f"in network namespace {netns}" if netns else "in any network namespace"
    but = f", but something {_DOES[also]} {port}" if also else ""
    return f"{does} {where}{but}: ss -lntup shows what there is"


def unserved(
    ports: Collection[int],
    protocols: Sequence[str],
    netns: int | None,
    *,
    connected: bool = False,
) -> list[str]:
    """What to say of ports that nobody serves now, a line for each.

    Args:
        ports: The ports; none are missed where there are none.
        protocols: Of tcp and udp: it is enough that one of them is served.
        netns: Only in the network namespace of this inode; in all if None.
        connected: Connections, and connected UDP sockets, on a port are enough.
    """
    if not ports:
        return []
    served = {
        (place.protocol, one.port) for place, at in places(ports, netns).items() for one in at
    }
    missing = [port for port in ports if not any((one, port) in served for one in protocols)]
    if connected and missing:
        used = _used(protocols, netns)
        missing = [port for port in missing if port not in used]
    others = [one for one in _DOES if one not in protocols]
    return [
        nothing_serves(
            port, protocols, netns, next((one for one in others if (one, port) in served), "")
        )
        for port in dict.fromkeys(missing)
    ]


def _used(protocols: Iterable[str], netns: int | None) -> set[int]:
    """The local ports of all sockets that something may still be read from."""
    found = set[int]()
    for namespace in namespaces():
        if netns in {None, namespace.netns}:
            for table in (f"{one}{version}" for one in protocols for version in ("", "6")):
                found |= namespace.read(table, _local_ports) or set()
    return found


def _local_ports(lines: Iterable[str]) -> set[int]:
    """The local ports of a table such as /proc/net/tcp, with its heading."""
    rows = iter(lines)
    next(rows, None)
    fields = (row.split(None, 4) for row in rows)
    return {int(row[1].rpartition(":")[2], 16) for row in fields if row[3] != _TIME_WAIT}
