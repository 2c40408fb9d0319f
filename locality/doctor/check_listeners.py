"""Sockets that several threads share: whichever wakes first gets what comes, on its CPU."""

from __future__ import annotations

from typing import TYPE_CHECKING

from locality.doctor.findings import Finding, Level
from locality.doctor.values import Value
from locality.machine.topology import format_cpu_list
from locality.reuseport.servers import moves_between_threads, server_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from locality.reuseport.survey import FoundGroup


def shared_listeners(found: Iterable[FoundGroup]) -> Iterator[tuple[FoundGroup, Finding]]:
    """Each socket without SO_REUSEPORT that threads on several CPUs serve."""
    for one in found:
        (member,) = one.group.members
        if len(member.workers) < 2 or len(member.cpus) < 2:  # noqa: PLR2004 - several
            continue
        first = member.workers[0]
        server = server_of(first.pid)
        processes = {worker.pid for worker in member.workers}
        who = f"{len(processes)} processes"
        if len(processes) < len(member.workers):
            who = f"{len(member.workers)} threads"
        cpus = format_cpu_list(member.cpus)
        moves = "" if not moves_between_threads(first.pid) else ", and work moves between them"
        yield (
            one,
            Finding(
                Level.MAY,
                f"{one} listener",
                f"{who} of {server.name} on CPUs {cpus} share one socket without SO_REUSEPORT"
                f"{moves}",
                "Whichever wakes first takes what comes, whatever CPU received it: about 1 in "
                f"{len(member.cpus)} is local by chance, and no program can choose.",
                (Value(f"socket {one}", f"{who}, CPUs {cpus}"),),
                not_applied=f"only the server can give each worker a socket: {server.own}",
            ),
        )
