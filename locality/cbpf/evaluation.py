"""What a program answers for a packet, without a kernel.

Covers what such programs need: loads from the packet and its metadata, arithmetic and jumps
with constants, returns. An instruction with the X register or scratch memory is not evaluated.
"""

from __future__ import annotations

from itertools import cycle
from typing import TYPE_CHECKING, NamedTuple

from locality.cbpf.encoding import (
    ANCILLARY,
    ANCILLARY_BASE,
    ARITHMETIC,
    COMPARISON,
    HEADER_BASE,
    JA,
    LD_IMM,
    LD_LENGTH,
    LOADS,
    OFFSET,
    RET,
    RET_A,
    WORD,
)
from locality.cbpf.text import instruction_text
from locality.errors import LocalityError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from locality.cbpf.encoding import Instruction, Program


class Packet(NamedTuple):
    """What a program can ask about the packet it is run for.

    Attributes:
        cpu: CPU running the program: where the SYN or the datagram is processed.
        random: A random 32-bit number; or one for each load in turn, and again from the first.
        queue: RX queue **plus one**; 0 when the device recorded none.
        rxhash: The device's or RPS's flow hash; 0 when there is none.
        payload: Bytes after the transport header.
    """

    cpu: int = 0
    random: int | tuple[int, ...] = 0
    queue: int = 0
    rxhash: int = 0
    mark: int = 0
    ifindex: int = 0
    protocol: int = 0
    packet_type: int = 0
    hatype: int = 0
    payload: bytes = b""


def evaluate(program: Program, packet: Packet) -> int:
    """The answer the kernel would get from this program for this packet.

    Returns:
        An unsigned 32-bit number; an index only if it is below the group's size.
        0 where the kernel gives up: a load past the end of the payload.

    Raises:
        LocalityError: The program has an instruction that is not evaluated here.
    """
    accumulator, pc = 0, 0
    numbers = cycle(packet.random if isinstance(packet.random, tuple) else (packet.random,))
    while True:
        if (chain := program.chains.get(pc)) is not None:
            if accumulator in chain.answers:
                return chain.answers[accumulator]
            pc = chain.end
        ins = program.instructions[pc]
        pc += 1
        if ins.code == RET:
            return ins.k
        if ins.code == RET_A:
            return accumulator
        if ins.code == JA:
            pc += ins.k
        elif ins.code in COMPARISON:
            pc += ins.jt if COMPARISON[ins.code][1](accumulator, ins.k) else ins.jf
        elif ins.code in ARITHMETIC:
            accumulator = ARITHMETIC[ins.code][1](accumulator, ins.k) & WORD
        elif (loaded := _fetch(ins, packet, numbers)) is not None:
            accumulator = loaded
        else:
            return 0


def _fetch(ins: Instruction, packet: Packet, numbers: Iterator[int]) -> int | None:
    """What a load loads, None past the end of the payload."""
    if ins.code == LD_IMM:
        return ins.k
    if ins.code == LD_LENGTH:
        return len(packet.payload)
    if ins.code in LOADS and ins.k == OFFSET["random"]:
        return next(numbers)
    if ins.code in LOADS and ins.k - ANCILLARY_BASE in ANCILLARY:
        known: int = getattr(packet, ANCILLARY[ins.k - ANCILLARY_BASE][0])
        return known
    if ins.code not in LOADS or ins.k >= HEADER_BASE:
        raise LocalityError(f"cannot evaluate the instruction {instruction_text(0, ins)!r}")
    loaded = packet.payload[ins.k : ins.k + LOADS[ins.code][1]]
    return int.from_bytes(loaded, "big") if len(loaded) == LOADS[ins.code][1] else None
