"""Causes and remedies as text of at most 80 columns, and as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from locality.cbpf.describe import describe
from locality.explain.causes import Cause, chosen
from locality.machine.topology import format_cpu_list
from locality.text import percent, share, wrap, wrap_command

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from locality.explain.causes import Accepted, Attribution, Place
    from locality.explain.observe import Observation
    from locality.explain.remedies import Remedy

_INDENT = 8
#: So many commands of a remedy are shown; JSON has them all.
_SHOWN = 4


def seen_lines(when: str, seen: Observation) -> Iterator[str]:
    """What was measured."""
    told = seen.attribution
    yield (
        f"{when}: {percent(share(told.local, told.total), 2)} accept-local, "
        f"{told.total} accepted in {seen.seconds:g} s, {told.lost} lost"
    )
    if seen.consumed_local is not None:
        packets = f"{percent(seen.consumed_local)} of the machine's received packets"
        yield f"{when}: {packets} consumed-local"


def cause_lines(seen: Observation, remedies: Mapping[Cause, Remedy]) -> Iterator[str]:
    """The causes, most frequent first, each with its remedy; then the main one in words."""
    told = seen.attribution
    if not told.causes:
        yield "every connection was accepted where it was received"
        return
    yield f"{'share':>{_INDENT - 2}}  cause and remedy"
    parts = tenths(told)
    for cause, _ in told.causes.most_common():
        yield f"{parts[cause] / 10:{_INDENT - 3}.1f}%  {cause.value}"
        if remedy := remedies.get(cause):
            yield from _remedy(remedy, told.total)
    yield from wrap(_main(seen), "  ")


def _remedy(remedy: Remedy, total: int) -> Iterator[str]:
    lead = " " * _INDENT
    hidden = len(remedy.commands) - _SHOWN
    for command in remedy.commands[: _SHOWN if hidden > 0 else None]:
        yield from wrap_command(command, _INDENT)
    if hidden > 0:
        yield f"{lead}... {hidden} more: --format json"
    note = f" ({remedy.note})" if remedy.note else ""
    text = f"predicted: {percent(share_of(remedy, total), 2)} accept-local{note}"
    yield from wrap(f"{lead}{text}", " " * _INDENT)


def share_of(remedy: Remedy, total: int) -> float:
    """What a remedy predicts, in percent."""
    return 100 * remedy.predicted / total


def tenths(told: Attribution) -> dict[Cause, int]:
    """The causes' shares in tenths of a percent, rounded so that they add up to 1000."""
    whole = told.causes.total()
    parts = {cause: divmod(1000 * count, whole) for cause, count in told.causes.items()}
    missing = 1000 - sum(part for part, _ in parts.values())
    favoured = sorted(parts, key=lambda cause: -parts[cause][1])[:missing]
    return {cause: part + (cause in favoured) for cause, (part, _) in parts.items()}


def in_words(seen: Observation, cause: Cause) -> str:  # noqa: PLR0911 - one for each cause
    """What happened to the accept that stands for a cause."""
    one = seen.attribution.examples[cause]
    place = seen.places.get((one.tid, one.listen_fd))
    if place is None:
        return f"{one.task} accepts on fd {one.listen_fd}, a socket of none of these groups"
    group, index = place.group, place.index
    there = f"index {index}, whose worker runs on {_cpus(group.members[index].cpus)}"
    program = _chooser(place)
    match cause:
        case Cause.NOT_PINNED:
            cpus = _cpus(group.members[index].cpus)
            return (
                f"{one.task} may run on {cpus}, and accepted on CPU {one.cpu} "
                f"what CPU {one.rxcpu} received"
            )
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
        case Cause.SYN_ELSEWHERE:
            (right,) = sorted(chosen(group, one.rxcpu) or {index})[:1]
            return (
                f"{program} has index {right} for CPU {one.rxcpu}, which received last, and "
                f"index {index} accepted: the SYN was processed on another CPU"
            )
        case Cause.OTHER:
            return _unknown(one, place)


def _cpus(cpus: frozenset[int]) -> str:
    return f"CPU{'s' * (len(cpus) > 1)} {format_cpu_list(cpus)}"


def _chooser(place: Place) -> str:
    program = place.group.program
    return describe(program) if program else "SO_INCOMING_CPU"


def _unknown(one: Accepted, place: Place) -> str:
    """Why nothing can be told."""
    group = place.group
    if one.rxcpu < 0:
        return "the stack noted no RX CPU"
    if not group.members[place.index].cpus:
        return f"nobody was seen waiting for index {place.index}, so its CPUs are not known"
    if group.attached and group.program is None:
        return "the group has an eBPF program, and what it answers is not known"
    return f"the group's order and program are not known ({group.how})"


def applied_lines(remedy: Remedy, before: Observation, after: Observation) -> Iterator[str]:
    """What was done, and what was measured then, beside what was predicted."""
    yield ""
    for command in remedy.commands[:_SHOWN]:
        yield from wrap_command(f"done: {command}", 0)
    yield from seen_lines("after", after)
    told = after.attribution
    predicted = percent(share_of(remedy, before.attribution.total), 2)
    yield f"predicted {predicted}, measured {percent(share(told.local, told.total), 2)}"
    if told.causes:
        yield from wrap(f"left: {_main(after)}", "  ")


def applied_object(remedy: Remedy, before: Observation, after: Observation) -> dict[str, Any]:
    """The same for JSON."""
    total = before.attribution.total
    return {"applied": remedy_object(remedy, total), "after": as_object(after, {})}


def _main(seen: Observation) -> str:
    """The most frequent cause in words, with its share of what is not local."""
    ((cause, _),) = seen.attribution.causes.most_common(1)
    part = tenths(seen.attribution)[cause] / 10
    return f"{part:.1f}% of what is not local: {in_words(seen, cause)}"


def as_object(seen: Observation, remedies: Mapping[Cause, Remedy]) -> dict[str, Any]:
    """What was measured, and why: for JSON."""
    told = seen.attribution
    return {
        "seconds": seen.seconds,
        "accepted": told.total,
        "local": told.local,
        "lost": told.lost,
        "consumed_local_percent": seen.consumed_local,
        "groups": [str(one) for one in seen.groups],
        "causes": [
            {
                "cause": cause.name.lower(),
                "text": cause.value,
                "connections": count,
                "example": in_words(seen, cause),
                "remedy": remedy_object(remedies[cause], told.total) if cause in remedies else None,
            }
            for cause, count in told.causes.most_common()
        ],
    }


def remedy_object(remedy: Remedy, total: int) -> dict[str, Any]:
    """A remedy: for JSON."""
    return {
        "commands": list(remedy.commands),
        "can_be_applied": bool(remedy.changes),
        "predicted_percent": share_of(remedy, total),
        "note": remedy.note,
    }
