"""Causes and remedies as text of at most 80 columns, and as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from locality.explain.words import in_words
from locality.spill.text import sums, totals
from locality.steering.count import READS
from locality.steering.verify import counted_line
from locality.text import percent, share, wrap, wrap_command

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from locality.explain.causes import Attribution, Cause
    from locality.explain.observe import Observation
    from locality.explain.remedies import Remedy
    from locality.steering.count import Measured

_INDENT = 8
#: So many commands of a remedy are shown; JSON has them all.
_SHOWN = 4


def seen_lines(when: str, seen: Observation) -> Iterator[str]:
    """What was measured."""
    yield counted_line(when, seen.counted, seen.seconds)
    if seen.measured is READS:
        yield from wrap(
            f"{when}: nothing was accepted; these are reads of connections that were made before. "
            "A program chooses for new connections only",
            "  ",
        )
    elif seen.hand_off is not None and seen.hand_off.reads:
        read = seen.hand_off
        yield f"{when}: {percent(share(read.local, read.reads), 2)} read-local, {read.reads} reads"
        if read.elsewhere:
            yield from wrap(
                f"{when}: {read.elsewhere} of {read.connections} connections were first read by "
                "another thread than the one that accepted them",
                "  ",
            )
    for group, answers in seen.spilled.items():
        yield from wrap(f"{when}: the program of {group} answered: {totals(answers)}", "  ")
    if seen.consumed_local is not None:
        packets = f"{percent(seen.consumed_local)} of the machine's received packets"
        yield f"{when}: {packets} consumed-local"


def cause_lines(seen: Observation, remedies: Mapping[Cause, Remedy]) -> Iterator[str]:
    """The causes, most frequent first, each with its remedy; then the main one in words."""
    told, measured = seen.attribution, seen.measured
    if seen.is_handed_off:
        yield from _handed_off(seen)
    if not told.causes:
        yield f"all {measured.things} were {measured.done} where they were received"
        return
    yield f"{'share':>{_INDENT - 2}}  cause and remedy"
    parts = tenths(told)
    for cause, _ in told.causes.most_common():
        yield f"{parts[cause] / 10:{_INDENT - 3}.1f}%  {cause.value}"
        if remedy := remedies.get(cause):
            yield from _remedy(remedy, told.total, measured)
    yield from wrap(_main(seen), "  ")
    for one in seen.groups:
        if doubt := one.group.incoming_doubt:
            yield from wrap(
                f"{one}: whether this kernel selects by SO_INCOMING_CPU, which its listeners have, "
                f"is not known, so nothing is proposed that depends on it: {doubt}",
                "  ",
            )


def _handed_off(seen: Observation) -> Iterator[str]:
    """What it means that one thread accepts and another one serves."""
    yield from wrap(
        "handed off: one thread accepts and another one serves, so accept-local says nothing about "
        "where connections are served; read-local does",
        "  ",
    )
    if seen.server.together:
        yield from wrap_command(f"# to serve where it is accepted: {seen.server.together}", _INDENT)


def _remedy(remedy: Remedy, total: int, measured: Measured) -> Iterator[str]:
    lead = " " * _INDENT
    hidden = len(remedy.commands) - _SHOWN
    for command in remedy.commands[: _SHOWN if hidden > 0 else None]:
        yield from wrap_command(command, _INDENT)
    if hidden > 0:
        yield f"{lead}... {hidden} more: --format json"
    note = f" ({remedy.note})" if remedy.note else ""
    text = f"predicted: {percent(share_of(remedy, total), 2)} {measured.figure}{note}"
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
    """What was done and measured then, as one object, for JSON."""
    total = before.attribution.total
    return {"applied": remedy_object(remedy, total), "after": as_object(after, {})}


def _main(seen: Observation) -> str:
    """The most frequent cause in words, with its share of what is not local."""
    ((cause, _),) = seen.attribution.causes.most_common(1)
    part = tenths(seen.attribution)[cause] / 10
    return f"{part:.1f}% of what is not local: {in_words(seen, cause)}"


def as_object(seen: Observation, remedies: Mapping[Cause, Remedy]) -> dict[str, Any]:
    """What was measured, and why: for JSON."""
    told, read = seen.attribution, seen.hand_off
    return {
        "seconds": seen.seconds,
        "figure": seen.measured.figure,
        seen.measured.done: told.total,
        "local": told.local,
        "lost": told.lost,
        "consumed_local_percent": seen.consumed_local,
        "reads": read
        and {
            "reads": read.reads,
            "local": read.local,
            "connections": read.connections,
            "first_read_elsewhere": read.elsewhere,
        },
        "server": seen.server.name,
        "groups": [str(one) for one in seen.groups],
        "incoming_cpu_not_known": {
            str(one): one.group.incoming_doubt for one in seen.groups if one.group.incoming_doubt
        },
        "spill": {group: sums(answers) for group, answers in seen.spilled.items()},
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
