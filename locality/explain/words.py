"""What happened to one connection or datagram that was not local, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from locality.explain.causes import Cause, chosen
from locality.machine.topology import format_cpu_list
from locality.steering.attachment import describe_present
from locality.steering.count import ACCEPTS, READS

if TYPE_CHECKING:
    from locality.explain.causes import Accepted, Place
    from locality.explain.observe import Observation
    from locality.steering.count import Measured


def in_words(seen: Observation, cause: Cause) -> str:  # noqa: C901, PLR0911 - one for each cause
    """What happened to the accept that stands for a cause."""
    one = seen.attribution.examples[cause]
    place = seen.places.get((one.tid, one.socket))
    if place is None:
        return _stranger(one, seen.measured)
    group, index = place.group, place.index
    there = f"index {index}, whose worker runs on {_cpus(group.members[index].cpus)}"
    program = _chooser(place)
    match cause:
        case Cause.NOT_PINNED:
            cpus = _cpus(group.members[index].cpus)
            return (
                f"{one.task} may run on {cpus}, and {seen.measured.done} on CPU {one.cpu} "
                f"what CPU {one.rxcpu} received"
            )
        case Cause.ONE_LISTENER | Cause.SHARED | Cause.MOVES:
            return _shared(one, place, seen)
        case Cause.NO_WORKER:
            everywhere = frozenset[int]().union(*(member.cpus for member in group.members))
            return f"CPU {one.rxcpu} received, and the workers run on {_cpus(everywhere)}"
        case Cause.NO_PROGRAM:
            return f"the hash gave what CPU {one.rxcpu} received to {there}"
        case Cause.BLIND:
            return f"{program} gave what CPU {one.rxcpu} received to {there}"
        case Cause.OUT_OF_RANGE:
            size = len(group.members)
            return f"{program} has no socket of this group of {size} for CPU {one.rxcpu}"
        case Cause.WRONG_WORKER:
            return f"{program} sends what CPU {one.rxcpu} received to {there}"
        case Cause.SPILLED:
            (right,) = sorted(chosen(group, one.rxcpu) or {index})[:1]
            return (
                f"{program}: index {right}, for CPU {one.rxcpu}, had a long queue, so what was "
                f"received there went to {there}"
            )
        case Cause.SYN_ELSEWHERE:
            (right,) = sorted(chosen(group, one.rxcpu) or {index})[:1]
            return (
                f"{program} has index {right} for CPU {one.rxcpu}, which received last, and "
                f"index {index} accepted: the SYN was processed on another CPU"
            )
        case Cause.OTHER:
            return _unknown(one, place)


def _stranger(one: Accepted, measured: Measured) -> str:
    """Who handled what was not put to any socket of the port."""
    if measured is ACCEPTS:
        return f"{one.task} accepts on fd {one.socket}, a socket of none of these groups"
    if measured is READS:
        return f"{one.task} reads, and serves none of the port's listening sockets"
    return f"{one.task} reads socket {one.socket}, which is in none of these groups"


def _shared(one: Accepted, place: Place, seen: Observation) -> str:
    """Who shares a socket, and what that does to locality."""
    workers = place.group.members[place.index].workers
    processes = {worker.pid for worker in workers}
    count = f"{len(workers)} threads"
    if len(processes) == len(workers):
        count = f"{len(workers)} processes"
    elif len(processes) > 1:
        count += f" of {len(processes)} processes"
    cpus = _cpus(place.group.members[place.index].cpus)
    return (
        f"{count} of {seen.server.name} on {cpus} serve one socket, and whichever wakes first "
        f"takes what comes, whatever CPU received it: {one.task} {seen.measured.done} on CPU "
        f"{one.cpu} what CPU {one.rxcpu} received. No program can choose among them"
    )


def _cpus(cpus: frozenset[int]) -> str:
    return f"CPU{'s' * (len(cpus) > 1)} {format_cpu_list(cpus)}"


def _chooser(place: Place) -> str:
    return describe_present(place.group) or "SO_INCOMING_CPU"


def _unknown(one: Accepted, place: Place) -> str:
    """Why nothing can be told."""
    group = place.group
    if one.rxcpu < 0:
        return "the stack noted no RX CPU"
    if not group.members[place.index].cpus:
        return f"no thread was seen to wait for index {place.index}, so its CPUs are not known"
    if group.order_known and group.by_cpu is not None:
        return (
            f"the program sends what CPU {one.rxcpu} receives elsewhere than to index "
            f"{place.index}: it came to a connected socket, or waited there from before"
        )
    if group.incoming_doubt:
        return (
            f"SO_INCOMING_CPU of a listener is CPU {one.rxcpu}, and whether this kernel selects by "
            "it is not known"
        )
    if group.is_opaque:
        return f"the group has {describe_present(group)}, and what it answers is not known"
    return f"the group's order and program are not known ({group.how})"
