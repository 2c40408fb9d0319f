"""`locality check`: what this kernel and these privileges allow, found by trying."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from locality.bpf import engine
from locality.errors import Unsupported
from locality.kinds import KINDS
from locality.machine.capabilities import NEEDS, PURPOSES, lacking
from locality.spill import program
from locality.text import wrap

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from locality.kinds import Kind


@dataclass(frozen=True)
class Attempt:
    """One rung of one measurement, tried.

    Attributes:
        refusal: Why it cannot be used, or None if it can.
        chosen: Whether the measurement would use it.
        note: What its numbers would not show; empty if nothing.
    """

    measurement: str
    rung: str
    refusal: str | None
    chosen: bool
    note: str = ""


@dataclass(frozen=True)
class EngineAnswer:
    """Whether an engine could make the probes of accept and skb fit this kernel.

    Attributes:
        refusal: What is missing for it, or None.
        chosen: Whether it is the one that is taken unless another is asked for.
    """

    engine: str
    refusal: str | None
    chosen: bool


def engines() -> list[EngineAnswer]:
    """Look for what each engine needs; nothing is compiled."""
    found: list[EngineAnswer] = []
    for name in engine.NAMES:
        if name == "auto":
            continue
        refusal = None
        try:
            engine.choose(name)
        except Unsupported as missing:
            refusal = str(missing)
        chosen = refusal is None and not any(one.chosen for one in found)
        found.append(EngineAnswer(name, refusal, chosen))
    return found


def attempts() -> list[Attempt]:
    """Load and attach every rung of every measurement for a moment, and load what spills."""
    return [*(attempt for kind in KINDS.values() for attempt in _try(kind)), _try_to_spill()]


def _try_to_spill() -> Attempt:
    """Whether this kernel takes the program of attach-cbpf --spill."""
    refusal = None
    try:
        program.require()
    except Unsupported as error:
        refusal = str(error)
    return Attempt("spill", "sk_reuseport", refusal, refusal is None)


def _try(kind: Kind) -> list[Attempt]:
    tried: list[Attempt] = []
    if kind.rungs is None or kind.source is None:
        return tried
    for rung in kind.rungs.get():
        refusal, note = None, ""
        try:
            source = kind.source.get()(rung=rung.name)
            note = source.attachment.rung.note
            source.close()
        except Unsupported as error:
            refusal = str(error).rpartition(f"{rung.name}: ")[2]
        chosen = refusal is None and not any(attempt.chosen for attempt in tried)
        tried.append(Attempt(kind.name, rung.name, refusal, chosen, note))
    return tried


def check_lines(
    attempts: Sequence[Attempt], engines: Sequence[EngineAnswer], held: Mapping[str, bool]
) -> Iterator[str]:
    """The ladder of each measurement, the engines, the capabilities and who needs them.

    In lines of 80 columns. A reason that holds for several rows stands once, below them.
    """
    times = Counter(attempt.refusal for attempt in attempts if attempt.refusal)
    numbers = {
        reason: number for number, reason in enumerate((r for r in times if times[r] > 1), 1)
    }
    yield f"{'measurement':<12} {'rung':<15} answer"
    for attempt in attempts:
        answer = attempt.refusal or ("used" if attempt.chosen else "usable")
        if answer in numbers:
            answer = f"refused ({numbers[answer]})"
        yield from _row(f"{attempt.measurement:<12} {attempt.rung:<15}", answer)
        if attempt.note:
            yield from _row("", attempt.note)
    for reason, number in numbers.items():
        yield from wrap(reason, "    ", first=f"({number}) ")
    yield ""
    yield f"{'engine':<12} {'':<15} answer"
    for one in engines:
        yield from _row(one.engine, one.refusal or ("used" if one.chosen else "usable"))
    yield ""
    for name, has in held.items():
        yield from _row(f"{name:<19} {'held' if has else 'missing'}", PURPOSES[name])
    yield ""
    yield f"{'command':<{_COMMAND}} {'needs CAP_...':<{_NEEDED}} lacks"
    for command, needs in NEEDS.items():
        lacks = lacking(command, held)
        told = "all of them" if [*needs] == lacks else _short(lacks) or "nothing"
        start = f"{_CALLED.get(command, command):<{_COMMAND}} {_short(needs):<{_NEEDED}} "
        yield from wrap(told, " " * len(start), first=start)


#: Columns of a command, and of what it needs.
_COMMAND, _NEEDED = 20, 39
#: What people read in place of the names that `check_json` has: something that can be typed.
_CALLED = {"attach --spill": "attach-cbpf --spill", "see --spill": "groups after --spill"}
_ANSWERS = 29
"""The column where answers begin."""


def _row(start: str, answer: str) -> Iterator[str]:
    """A row, and the rest of a long answer below it."""
    yield from wrap(answer, " " * _ANSWERS, first=f"{start:<{_ANSWERS}}")


def _short(names: Iterable[str]) -> str:
    """Capabilities without the beginning that all of them have."""
    return " ".join(name.removeprefix("CAP_") for name in names)


def check_json(
    attempts: Sequence[Attempt], engines: Sequence[EngineAnswer], held: Mapping[str, bool]
) -> str:
    """What `check_lines` says as one object, for JSON."""
    found = {"rungs": attempts, "engines": engines}
    lists = {name: [vars(answer) for answer in answers] for name, answers in found.items()}
    commands = {
        command: {"needs": needs, "lacks": lacking(command, held)}
        for command, needs in NEEDS.items()
    }
    return json.dumps({**lists, "capabilities": held, "commands": commands})
