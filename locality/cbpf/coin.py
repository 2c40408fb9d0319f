"""A coin for each connection: half to the worker of a map, half to another one, at random.

It is what a trial attaches. The coin is one bit of a random number of the kernel's, which has
nothing to do with the connection: what differs between the two halves is what the choice of the
worker does. The kernel draws anew for each SYN, so the choice of one connection says nothing of
the next one's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from locality.cbpf.encoding import (
    ADD,
    HASH,
    JA,
    JEQ,
    JGE,
    JSET,
    LD_ABS,
    MAX_GROUP,
    MAX_INSTRUCTIONS,
    MOD,
    OFFSET,
    RET,
    RET_A,
    Instruction,
    Program,
)
from locality.cbpf.programs import format_map, load, table
from locality.errors import LocalityError

if TYPE_CHECKING:
    from collections.abc import Mapping

_SMALLEST_GROUP = 2
_HEAD = 3
"""Instructions before the table: the coin, and the jump past the table."""


class Coin(NamedTuple):
    """What a coin program was made from.

    Attributes:
        indexes: The map: index by CPU.
        group: How many sockets there are to choose from.
    """

    indexes: Mapping[int, int]
    group: int

    def __str__(self) -> str:
        return f"coin: map {format_map(self.indexes)}, or another of {self.group}"


def toss(indexes: Mapping[int, int], group: int) -> Program:
    """By a coin: the index of the map, or any other index of the group, all equally likely.

    A packet on a CPU that is not in the map is left to the hash.

    Args:
        indexes: Index by CPU.
        group: The size of the group, at least 2.

    Raises:
        LocalityError: The group is too small or impossible, the map names an index that is not in
            it, or is too long for a program.
    """
    if not _SMALLEST_GROUP <= group <= MAX_GROUP:
        raise LocalityError(
            f"a coin needs another worker to choose: a group of {_SMALLEST_GROUP} to {MAX_GROUP} "
            f"sockets, not one of {group}",
            exit_code=2,
        )
    local = table(indexes).instructions
    if max(indexes.values()) >= group:
        raise LocalityError(
            f"the map names index {max(indexes.values())}, the group has 0 to {group - 1}",
            exit_code=2,
        )
    others = _others(indexes, group)
    if (length := _HEAD + len(local) + len(others)) > MAX_INSTRUCTIONS:
        raise LocalityError(
            f"a coin for {len(indexes)} CPUs and {group} sockets takes {length} instructions, and "
            f"the kernel takes {MAX_INSTRUCTIONS}"
        )
    return Program(
        (
            load("random"),
            # One bit. The jump over the table is too long for the 8 bits of a conditional one.
            Instruction(JSET, 1, 0, 1),
            Instruction(JA, 0, 0, len(local)),
            *local,
            *others,
        )
    )


def _others(indexes: Mapping[int, int], group: int) -> tuple[Instruction, ...]:
    """For each CPU any index of the group but its own."""
    if group == _SMALLEST_GROUP:
        return table({cpu: 1 - index for cpu, index in indexes.items()}).instructions
    instructions = [load("cpu")]
    for cpu, index in sorted(indexes.items()):
        # One of group - 1 numbers; those from its own index up are one more.
        another = (
            load("random"),
            Instruction(MOD, 0, 0, group - 1),
            Instruction(JGE, 0, 1, index),
            Instruction(ADD, 0, 0, 1),
            Instruction(RET_A, 0, 0, 0),
        )
        instructions += [Instruction(JEQ, 0, len(another), cpu), *another]
    return (*instructions, Instruction(RET, 0, 0, HASH))


def recognise(program: Program) -> Coin | None:
    """What `toss` was given to make this program, or None if it did not make it."""
    instructions = program.instructions
    if len(instructions) <= _HEAD or instructions[1:2] != (Instruction(JSET, 1, 0, 1),):
        return None
    first, last = _HEAD + 1, _HEAD + instructions[2].k - 1
    pairs = zip(instructions[first:last:2], instructions[first + 1 : last : 2], strict=False)
    indexes = {compare.k: answer.k for compare, answer in pairs}
    moduli = [ins.k + 1 for ins in instructions if ins.code == MOD] or [_SMALLEST_GROUP]
    random_again = Instruction(LD_ABS, 0, 0, OFFSET["random"])
    if not indexes or instructions[0] != random_again:
        return None
    found = Coin(indexes, moduli[0])
    try:
        return found if toss(indexes, found.group) == program else None
    except LocalityError:  # numbers that are no group's
        return None
