"""Which groups attach-cbpf means, and why there is none where there is none. Imports on use."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from locality.commands.lines import show, tell
from locality.errors import LocalityError
from locality.text import printable

if TYPE_CHECKING:
    from collections.abc import Callable

    from locality.commands.steering_request import Request
    from locality.reuseport.evidence import Seen
    from locality.reuseport.survey import FoundGroup

STEERED = frozenset({"tcp", "udp"})
"""The protocols whose groups take a program."""


def find_groups(
    request: Request, known: Seen | None = None, look: float = 0, *, served: bool = True
) -> list[FoundGroup]:
    """The groups that the request names now; servers come and go.

    Args:
        request: What was asked for.
        known: Which threads serve which sockets, as far as a probe saw it.
        look: Seconds to look by probe for the workers that /proc does not tell.
        served: Look who serves the sockets; else no member has a worker.
    """
    from locality.machine.processes import require_pids
    from locality.reuseport.survey import find

    pids = () if request.pid is None else (request.pid,)
    require_pids(pids)
    found = find(
        ports=() if request.port is None else (request.port,),
        pids=pids,
        comm=request.comm,
        known=known,
        look=look,
        netns=request.netns,
        served=served,
    )
    protocols = STEERED if request.proto is None else {request.proto}
    return [group for group in found if group.protocol in protocols]


def groups_of_one_server(request: Request) -> list[FoundGroup]:
    """The groups that the request names, without their workers; see `of_request` for errors."""
    return of_request(request, find_groups(request, served=False))


def of_request(request: Request, found: list[FoundGroup]) -> list[FoundGroup]:
    """The groups that were found for a request, if they are of one network namespace.

    Raises:
        LocalityError: There are none, and why; or they are of several.
    """
    from locality.reuseport.one_server import of_one_server
    from locality.reuseport.survey import find

    if not found and request.port is not None:
        on_port = find(ports=(request.port,), alone=True, netns=request.netns, served=False)
        if why := why_none(request, on_port):
            raise LocalityError(why)
    return of_one_server(found)


def in_namespace_of(request: Request, groups: list[FoundGroup]) -> Request:
    """The request with the network namespace of its groups, if that is not ours."""
    from locality.machine.namespaces import own_network_namespace

    netns = groups[0].netns if groups else None
    if request.netns is not None or netns in {None, own_network_namespace()}:
        return request
    return replace(request, netns=netns)


def why_none(request: Request, on_port: list[FoundGroup]) -> str:
    """Why a request means no group, in words; empty if nothing is on its port.

    Args:
        request: What was asked for.
        on_port: What is on its port and in its network namespace, whoever holds it, with sockets
            that are alone.
    """
    there = [one for one in on_port if one.protocol == (request.proto or one.protocol)]
    if not there:
        other = ", ".join(map(str, on_port))
        proto = (request.proto or "").upper()
        return f"nothing of {proto} is on port {request.port}, only {other}" if other else ""
    groups = [one for one in there if one.shares and one.protocol in STEERED]
    if groups:
        return _not_theirs(request, groups)
    one = next((one for one in there if one.shares), there[0])
    if one.shares:
        return f"{one} has MPTCP listeners only, and these take no program: listen with plain TCP"
    from locality.reuseport.servers import server_of

    return (
        f"{one} has one socket, without SO_REUSEPORT, so there is nothing to choose from: "
        f"give each worker a socket of its own first ({server_of(one.pid or 0).own})"
    )


def _not_theirs(request: Request, groups: list[FoundGroup]) -> str:
    """That --pid or --comm names nobody who holds a socket of these groups."""
    from locality.reuseport.servers import server_of

    sizes = [len(one.group.members) for one in groups]
    what = f"a group of {sizes[0]}" if len(sizes) == 1 else f"{len(sizes)} groups"
    pids = frozenset[int]().union(*(one.pids for one in groups))
    if not pids:
        return (
            f"port {request.port} has {what}, but which processes hold it cannot be seen: run as "
            "root, or leave --comm and --pid out"
        )
    names = ", ".join(sorted({server_of(pid).name for pid in pids}))
    if request.pid is not None and request.pid not in pids:
        nobody = f"process {request.pid} holds no socket of it"
    else:
        nobody = f"no process or thread of it is called '{printable(request.comm or '')}'"
    return f"port {request.port} is served by {names} ({what}); {nobody}"


def change_each(groups: list[FoundGroup], change: Callable[[FoundGroup], str]) -> None:
    """Change each group, whatever becomes of the others.

    Raises:
        LocalityError: Why the only group was not changed; or how many of several were not.
    """
    failed = 0
    for group in groups:
        try:
            line = change(group)
        except LocalityError as error:
            if len(groups) == 1:
                raise
            tell(f"{group}: not changed: {error}")
            failed += 1
        else:
            show([line])
    if failed:
        raise LocalityError(f"{failed} of {len(groups)} groups were not changed: see above")
