"""The programs that choose by CPU, queue, hash or chance, and tables from CPU to index."""

from __future__ import annotations

from typing import TYPE_CHECKING

from locality.cbpf.encoding import (
    HASH,
    JEQ,
    LD_ABS,
    MAX_GROUP,
    MAX_INSTRUCTIONS,
    MAX_TABLE,
    MOD,
    OFFSET,
    RET,
    RET_A,
    SUB,
    WORD,
    Instruction,
    Program,
)
from locality.errors import LocalityError
from locality.machine.digits import whole

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def cpu(group: int) -> Program:
    """Index = CPU that processes the packet, modulo the group size."""
    return Program((load("cpu"), *modulo(group)))


def random(group: int) -> Program:
    """Index = a random number modulo the group size: spreads even a single flow."""
    return Program((load("random"), *modulo(group)))


def queue(group: int) -> Program:
    """Index = RX queue modulo the group size, counting queues from 0 as ethtool does.

    The kernel's ancillary is the queue plus one, so one is taken off. A packet without
    a recorded queue (loopback, veth) is left to the hash instead of to one socket.
    """
    subtract_one = Instruction(SUB, 0, 0, 1)
    return Program((load("queue"), *_hash_if_zero(), subtract_one, *modulo(group)))


def rxhash(group: int) -> Program:
    """Index = the flow hash modulo the group size.

    A packet without one (0: loopback, many virtual devices) is left to the kernel's
    own hash; otherwise index 0 would get everything.
    """
    return Program((load("rxhash"), *_hash_if_zero(), *modulo(group)))


def table(indexes: Mapping[int, int]) -> Program:
    """A jump table from CPU to index; packets on any other CPU are left to the hash.

    Each CPU takes a compare and a return, so that no jump is longer than one
    instruction: the 8-bit jump fields never limit the table.

    Raises:
        LocalityError: The table is empty, too long, or names an impossible CPU or index.
    """
    if not 1 <= len(indexes) <= MAX_TABLE:
        raise LocalityError(
            f"a CPU map has 1 to {MAX_TABLE} entries (the kernel's limit of "
            f"{MAX_INSTRUCTIONS} instructions), not {len(indexes)}"
        )
    instructions = [load("cpu")]
    for number, index in sorted(indexes.items()):
        if not 0 <= number <= WORD or not 0 <= index < MAX_GROUP:
            raise LocalityError(
                f"CPU map entry {number}:{index} is out of range; "
                f"a CPU is 0 or more, an index 0 to {MAX_GROUP - 1}"
            )
        instructions += [Instruction(JEQ, 0, 1, number), Instruction(RET, 0, 0, index)]
    return Program((*instructions, Instruction(RET, 0, 0, HASH)))


BUILDERS: dict[str, Callable[[int], Program]] = {
    "cpu": cpu,
    "random": random,
    "queue": queue,
    "rxhash": rxhash,
}
"""The programs that need only a group size, by the name users give them."""


def parse_map(text: str) -> dict[int, int]:
    """Read ``0:1,1:0`` as CPU: index.

    Raises:
        LocalityError: An entry is not two numbers, or a CPU is named twice.
    """
    indexes: dict[int, int] = {}
    for entry in text.split(","):
        left, _, right = entry.partition(":")
        try:
            number, index = whole(left), whole(right)
        except ValueError:
            raise LocalityError(
                f"CPU map entry {entry!r} is not CPU:index; write 0:1,1:0", exit_code=2
            ) from None
        if number in indexes:
            raise LocalityError(f"the CPU map names CPU {number} twice", exit_code=2)
        indexes[number] = index
    return indexes


def format_map(indexes: Mapping[int, int]) -> str:
    """The text `parse_map` reads, in order of CPU."""
    return ",".join(f"{number}:{index}" for number, index in sorted(indexes.items()))


def load(name: str) -> Instruction:
    """Load a field of the packet's metadata, by its name in `Packet`."""
    return Instruction(LD_ABS, 0, 0, OFFSET[name])


def modulo(group: int) -> tuple[Instruction, Instruction]:
    """Answer with what is loaded, modulo the size of the group.

    Raises:
        LocalityError: No group has this size.
    """
    if not 1 <= group <= MAX_GROUP:
        raise LocalityError(f"a group has 1 to {MAX_GROUP} sockets, not {group}", exit_code=2)
    return Instruction(MOD, 0, 0, group), Instruction(RET_A, 0, 0, 0)


def _hash_if_zero() -> tuple[Instruction, Instruction]:
    return Instruction(JEQ, 0, 1, 0), Instruction(RET, 0, 0, HASH)
