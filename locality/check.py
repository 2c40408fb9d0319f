"""`locality check`: what this kernel and these privileges allow, found by trying."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from locality.bpf import engine
from locality.errors import Unsupported
from locality.kinds import KINDS
from locality.machine.capabilities import NEEDS, PURPOSES, lacking
from locality.spill import program
from locality.text import printable

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
    """The ladder of each measurement, the engines, the capabilities and who needs them."""
    yield f"{'measurement':<12} {'rung':<15} answer"
    for attempt in attempts:
        answer = attempt.refusal or ("used" if attempt.chosen else "usable")
        yield f"{attempt.measurement:<12} {attempt.rung:<15} {printable(answer)}"
        if attempt.note:
            yield f"{'':<28} {printable(attempt.note)}"
    yield ""
    yield f"{'engine':<12} {'':<15} answer"
    for one in engines:
        answer = one.refusal or ("used" if one.chosen else "usable")
        yield f"{one.engine:<28} {printable(answer)}"
    yield ""
    for name, has in held.items():
        yield f"{name:<19} {'held' if has else 'missing':<8} {PURPOSES[name]}"
    yield ""
    yield f"{'command':<14} {'needs CAP_...':<39} lacks"
    for command, needs in NEEDS.items():
        lacks = lacking(command, held)
        told = "all of them" if [*needs] == lacks else _short(lacks) or "nothing"
        yield f"{command:<14} {_short(needs):<39} {told}"


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
