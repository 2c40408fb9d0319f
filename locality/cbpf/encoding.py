"""What classic BPF programs are made of: instructions, their codes, and a whole program.

The encoding is that of linux/bpf_common.h.
"""

from __future__ import annotations

import operator
import struct
from dataclasses import dataclass
from functools import cached_property
from itertools import takewhile
from typing import TYPE_CHECKING, NamedTuple

from locality.errors import LocalityError

if TYPE_CHECKING:
    from collections.abc import Callable

HASH = 0xFFFF_FFFF
"""The answer that leaves the choice to the kernel's hash."""

MAX_INSTRUCTIONS = 4096  # BPF_MAXINSNS
MAX_GROUP = 0xFFFF  # struct sock_reuseport counts its sockets in 16 bits
MAX_TABLE = (MAX_INSTRUCTIONS - 2) // 2  # two instructions a CPU, one load, one return

WORD = 0xFFFF_FFFF
ANCILLARY_BASE = 0xFFFF_F000  # SKF_AD_OFF as an unsigned number
HEADER_BASE = 0xFFE0_0000  # SKF_LL_OFF: from here up an offset is not into the payload

CLASS = 0x07
JMP, RET = 5, 6
LD_IMM, LD_ABS, LD_BYTE, LD_LENGTH = 0x00, 0x20, 0x30, 0x80
ADD, SUB, AND, MOD = 0x04, 0x14, 0x54, 0x94
JA, JEQ, JGE, JSET, RET_A = 0x05, 0x15, 0x35, 0x45, 0x16
LOADS = {LD_ABS: ("ld", 4), 0x28: ("ldh", 2), LD_BYTE: ("ldb", 1)}  # name, bytes

# Ancillary offset: the field of Packet, and the kernel's name for it in text.
ANCILLARY = {
    0: ("protocol", "proto"),
    4: ("packet_type", "type"),
    8: ("ifindex", "ifidx"),
    20: ("mark", "mark"),
    24: ("queue", "queue"),
    28: ("hatype", "hatype"),
    32: ("rxhash", "rxhash"),
    36: ("cpu", "cpu"),
    56: ("random", "rand"),
}
OFFSET = {name: ANCILLARY_BASE + offset for offset, (name, _) in ANCILLARY.items()}

# The text and the meaning of arithmetic and jumps; the code is the one with a constant.
ARITHMETIC: dict[int, tuple[str, Callable[[int, int], int]]] = {
    ADD: ("add", operator.add),
    SUB: ("sub", operator.sub),
    0x24: ("mul", operator.mul),
    0x34: ("div", operator.floordiv),
    0x44: ("or", operator.or_),
    AND: ("and", operator.and_),
    0x64: ("lsh", operator.lshift),
    0x74: ("rsh", operator.rshift),
    MOD: ("mod", operator.mod),
    0xA4: ("xor", operator.xor),
}
COMPARISON: dict[int, tuple[str, Callable[[int, int], object]]] = {
    JEQ: ("jeq", operator.eq),
    0x25: ("jgt", operator.gt),
    JGE: ("jge", operator.ge),
    JSET: ("jset", operator.and_),
}


class Instruction(NamedTuple):
    """One ``struct sock_filter``: jt and jf count the instructions to skip."""

    code: int
    jt: int
    jf: int
    k: int


class Chain(NamedTuple):
    """Comparisons with a constant that each have an answer of their own, one after the other.

    Attributes:
        answers: What is returned, by what the accumulator is equal to.
        end: The instruction behind them, for everything else.
    """

    answers: dict[int, int]
    end: int


@dataclass(frozen=True)
class Program:
    """A complete classic BPF program.

    Raises:
        LocalityError: It is empty, longer than the kernel takes, does not end in a
            return, or jumps past its end.
    """

    instructions: tuple[Instruction, ...]

    def __post_init__(self) -> None:
        count = len(self.instructions)
        if not 1 <= count <= MAX_INSTRUCTIONS:
            raise LocalityError(
                f"a classic BPF program has 1 to {MAX_INSTRUCTIONS} instructions, not {count}"
            )
        if self.instructions[-1].code & CLASS != RET:
            raise LocalityError("a classic BPF program must end in a return")
        for pc, instruction in enumerate(self.instructions):
            if max(targets(pc, instruction), default=0) >= count:
                raise LocalityError(f"instruction {pc} of the program jumps past its end")

    def __len__(self) -> int:
        return len(self.instructions)

    @property
    def group(self) -> int:
        """The number of sockets it was made for: one more than its largest index."""
        moduli = [
            ins.k + self._added_after(pc)
            for pc, ins in enumerate(self.instructions)
            if ins.code == MOD
        ]
        answers = [ins.k + 1 for ins in self.instructions if ins.code == RET and ins.k != HASH]
        return max(moduli + answers, default=0)

    def _added_after(self, pc: int) -> int:
        """What is added to a remainder before the program answers with it."""
        later = takewhile(lambda ins: ins.code & CLASS != RET, self.instructions[pc + 1 :])
        return next((ins.k for ins in later if ins.code == ADD), 0)

    @property
    def reads(self) -> frozenset[str]:
        """The fields of `Packet` it loads."""
        loads = [ins for ins in self.instructions if ins.code in LOADS]
        offsets = {ins.k - ANCILLARY_BASE for ins in loads}
        known = {ANCILLARY[offset][0] for offset in offsets & ANCILLARY.keys()}
        if any(ins.k < HEADER_BASE for ins in loads) or LD_LENGTH in {
            ins.code for ins in self.instructions
        }:
            known.add("payload")
        return frozenset(known)

    @cached_property
    def chains(self) -> dict[int, Chain]:
        """The comparisons of a table from CPU to index, by the first instruction of each chain.

        To follow them one by one takes the square of the CPUs' number for all CPUs.
        """
        found: dict[int, Chain] = {}
        pc = 0
        while pc < len(self.instructions) - 1:
            begin, answers = pc, dict[int, int]()
            while pc < len(self.instructions) - 1:
                compare, answer = self.instructions[pc : pc + 2]
                if (compare.code, compare.jt, compare.jf, answer.code) != (JEQ, 0, 1, RET):
                    break
                answers.setdefault(compare.k, answer.k)
                pc += 2
            if answers:
                found[begin] = Chain(answers, pc)
            else:
                pc += 1
        return found

    def assemble(self) -> bytes:
        """The program as an array of ``struct sock_filter``, 8 bytes an instruction."""
        return b"".join(struct.pack("=HBBI", *instruction) for instruction in self.instructions)

    @classmethod
    def from_bytes(cls, filters: bytes) -> Program:
        """The opposite of `assemble`, for a program read back from the kernel."""
        return cls(tuple(Instruction(*fields) for fields in struct.iter_unpack("=HBBI", filters)))


def targets(pc: int, ins: Instruction) -> list[int]:
    """Where a jump can go; nothing for any other instruction."""
    if ins.code & CLASS != JMP:
        return []
    return [pc + 1 + step for step in ([ins.k] if ins.code == JA else [ins.jt, ins.jf])]
