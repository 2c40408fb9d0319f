"""A program in the few words that name it, and the options of attach-cbpf that make it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from locality.cbpf.coin import recognise as recognise_coin
from locality.cbpf.control import recognise
from locality.cbpf.encoding import MAX_GROUP
from locality.cbpf.programs import BUILDERS, format_map, table

if TYPE_CHECKING:
    from locality.cbpf.control import Control
    from locality.cbpf.encoding import Program


def describe(program: Program) -> str:
    """A program in a few words: ``cpu % 4``, ``map 0:1,1:0``, ``coin: ...``, or its length."""
    if control := recognise(program):
        return f"{control} -> 0, others {others_go(program, control)}"
    if coin := recognise_coin(program):
        return str(coin)
    size = program.group
    for name, build in BUILDERS.items():
        if 1 <= size <= MAX_GROUP and build(size) == program:
            return f"{name} % {size}"
    pairs = zip(program.instructions[1::2], program.instructions[2::2], strict=False)
    indexes = {compare.k: answer.k for compare, answer in pairs}
    if indexes and max(indexes.values()) < MAX_GROUP and table(indexes) == program:
        return f"map {format_map(indexes)}"
    return f"a program of {len(program)} instructions"


def option_for(program: Program) -> str:
    """The options of attach-cbpf that make a program; empty if none do."""
    if control := recognise(program):
        group = f" --group {program.group}" if control.others != "hash" else ""
        return (
            f"--program payload --payload-offset {control.offset} --mask {control.mask:#x} "
            f"--value {control.value:#x} --others {control.others}{group}"
        )
    name, _, rest = describe(program).partition(" ")
    if name == "map":
        return f"--map {rest}"
    return f"--program {name} --group {program.group}" if name in BUILDERS else ""


def others_go(program: Program, control: Control) -> str:
    """Where datagrams that are not control traffic go: ``by hash``, ``random % 3 + 1``."""
    by_hash = control.others == "hash"
    return "by hash" if by_hash else f"{control.others} % {program.group - 1} + 1"
