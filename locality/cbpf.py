"""Classic BPF as data: build, assemble, disassemble and evaluate small programs.

A program attached to a reuseport group answers, for each TCP SYN or UDP datagram,
with an index into the group's order. An answer past the end means "no opinion":
the kernel then chooses by its own hash, as it would without a program.
`HASH` is the answer that is past the end of every group.

The encoding is that of linux/bpf_common.h, the text that of the kernel's bpf_asm
(Documentation/networking/filter.rst). Evaluation covers what such programs need: loads
from the packet and its metadata, arithmetic and jumps with constants, returns. An
instruction with the X register or scratch memory is shown as a number and not evaluated.
"""

from __future__ import annotations

import operator
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from locality.errors import LocalityError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

HASH = 0xFFFF_FFFF
"""The answer that leaves the choice to the kernel's hash."""

MAX_INSTRUCTIONS = 4096  # BPF_MAXINSNS
MAX_GROUP = 0xFFFF  # struct sock_reuseport counts its sockets in 16 bits
MAX_TABLE = (MAX_INSTRUCTIONS - 2) // 2  # two instructions a CPU, one load, one return

_WORD = 0xFFFF_FFFF
_ANCILLARY_BASE = 0xFFFF_F000  # SKF_AD_OFF as an unsigned number
_HEADER_BASE = 0xFFE0_0000  # SKF_LL_OFF: from here up an offset is not into the payload

_CLASS, _OPERATION = 0x07, 0xF0
_ALU, _JMP, _RET = 4, 5, 6
_LD_IMM, _LD_ABS, _SUB, _MOD, _JA, _JEQ, _RET_A = 0x00, 0x20, 0x14, 0x94, 0x05, 0x15, 0x16
_LOADS = {_LD_ABS: ("ld", 4), 0x28: ("ldh", 2), 0x30: ("ldb", 1)}  # name, bytes

# Ancillary offset: the field of Packet, and the kernel's name for it in text.
_ANCILLARY = {
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
_OFFSET = {name: _ANCILLARY_BASE + offset for offset, (name, _) in _ANCILLARY.items()}

# The text and the meaning of arithmetic and jumps; the code is the one with a constant.
_ARITHMETIC: dict[int, tuple[str, Callable[[int, int], int]]] = {
    0x04: ("add", operator.add),
    _SUB: ("sub", operator.sub),
    0x24: ("mul", operator.mul),
    0x34: ("div", operator.floordiv),
    0x44: ("or", operator.or_),
    0x54: ("and", operator.and_),
    0x64: ("lsh", operator.lshift),
    0x74: ("rsh", operator.rshift),
    _MOD: ("mod", operator.mod),
    0xA4: ("xor", operator.xor),
}
_COMPARISON: dict[int, tuple[str, Callable[[int, int], object]]] = {
    _JEQ: ("jeq", operator.eq),
    0x25: ("jgt", operator.gt),
    0x35: ("jge", operator.ge),
    0x45: ("jset", operator.and_),
}


class Instruction(NamedTuple):
    """One ``struct sock_filter``: jt and jf count the instructions to skip."""

    code: int
    jt: int
    jf: int
    k: int


@dataclass(frozen=True, slots=True)
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
        if self.instructions[-1].code & _CLASS != _RET:
            raise LocalityError("a classic BPF program must end in a return")
        for pc, instruction in enumerate(self.instructions):
            if max(_targets(pc, instruction), default=0) >= count:
                raise LocalityError(f"instruction {pc} of the program jumps past its end")

    def __len__(self) -> int:
        return len(self.instructions)

    @property
    def group(self) -> int:
        """The number of sockets it was made for: one more than its largest index."""
        moduli = [ins.k for ins in self.instructions if ins.code == _MOD]
        answers = [ins.k + 1 for ins in self.instructions if ins.code == _RET and ins.k != HASH]
        return max(moduli + answers, default=0)

    @property
    def reads(self) -> frozenset[str]:
        """The fields of `Packet` it loads."""
        offsets = {ins.k - _ANCILLARY_BASE for ins in self.instructions if ins.code == _LD_ABS}
        return frozenset(_ANCILLARY[offset][0] for offset in offsets & _ANCILLARY.keys())

    def assemble(self) -> bytes:
        """The program as an array of ``struct sock_filter``, 8 bytes an instruction."""
        return b"".join(struct.pack("=HBBI", *instruction) for instruction in self.instructions)

    @classmethod
    def from_bytes(cls, filters: bytes) -> Program:
        """The opposite of `assemble`, for a program read back from the kernel."""
        return cls(tuple(Instruction(*fields) for fields in struct.iter_unpack("=HBBI", filters)))


@dataclass(frozen=True, slots=True)
class Packet:
    """What a program can ask about the packet it is run for.

    Attributes:
        cpu: CPU running the program: where the SYN or the datagram is processed.
        random: A new random 32-bit number for each load.
        queue: RX queue **plus one**; 0 when the device recorded none.
        rxhash: The device's or RPS's flow hash; 0 when there is none.
        payload: Bytes after the transport header.
    """

    cpu: int = 0
    random: int = 0
    queue: int = 0
    rxhash: int = 0
    mark: int = 0
    ifindex: int = 0
    protocol: int = 0
    packet_type: int = 0
    hatype: int = 0
    payload: bytes = b""


# --- the programs ---------------------------------------------------------------------


def cpu(group: int) -> Program:
    """Index = CPU that processes the packet, modulo the group size."""
    return Program((_load("cpu"), *_modulo(group)))


def random(group: int) -> Program:
    """Index = a random number modulo the group size: spreads even a single flow."""
    return Program((_load("random"), *_modulo(group)))


def queue(group: int) -> Program:
    """Index = RX queue modulo the group size, counting queues from 0 as ethtool does.

    The kernel's ancillary is the queue plus one, so one is taken off. A packet without
    a recorded queue (loopback, veth) is left to the hash instead of to one socket.
    """
    subtract_one = Instruction(_SUB, 0, 0, 1)
    return Program((_load("queue"), *_hash_if_zero(), subtract_one, *_modulo(group)))


def rxhash(group: int) -> Program:
    """Index = the flow hash modulo the group size.

    A packet without one (0: loopback, many virtual devices) is left to the kernel's
    own hash; otherwise index 0 would get everything.
    """
    return Program((_load("rxhash"), *_hash_if_zero(), *_modulo(group)))


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
    instructions = [_load("cpu")]
    for number, index in sorted(indexes.items()):
        if not 0 <= number <= _WORD or not 0 <= index < MAX_GROUP:
            raise LocalityError(
                f"CPU map entry {number}:{index} is out of range; "
                f"a CPU is 0 or more, an index 0 to {MAX_GROUP - 1}"
            )
        instructions += [Instruction(_JEQ, 0, 1, number), Instruction(_RET, 0, 0, index)]
    return Program((*instructions, Instruction(_RET, 0, 0, HASH)))


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
        number, colon, index = (part.strip() for part in entry.partition(":"))
        if not (colon and all(part.isascii() and part.isdigit() for part in (number, index))):
            raise LocalityError(
                f"CPU map entry {entry.strip()!r} is not CPU:index; write 0:1,1:0", exit_code=2
            )
        if int(number) in indexes:
            raise LocalityError(f"the CPU map names CPU {int(number)} twice", exit_code=2)
        indexes[int(number)] = int(index)
    return indexes


def format_map(indexes: Mapping[int, int]) -> str:
    """The text `parse_map` reads, in order of CPU."""
    return ",".join(f"{number}:{index}" for number, index in sorted(indexes.items()))


def _load(name: str) -> Instruction:
    return Instruction(_LD_ABS, 0, 0, _OFFSET[name])


def _modulo(group: int) -> tuple[Instruction, Instruction]:
    if not 1 <= group <= MAX_GROUP:
        raise LocalityError(f"a group has 1 to {MAX_GROUP} sockets, not {group}", exit_code=2)
    return Instruction(_MOD, 0, 0, group), Instruction(_RET_A, 0, 0, 0)


def _hash_if_zero() -> tuple[Instruction, Instruction]:
    return Instruction(_JEQ, 0, 1, 0), Instruction(_RET, 0, 0, HASH)


# --- text -----------------------------------------------------------------------------


def disassemble(program: Program) -> list[str]:
    """One line an instruction, such as ``l1: jeq #0, l2, l3``."""
    return [f"l{pc}: {_text(pc, ins)}" for pc, ins in enumerate(program.instructions)]


def _text(pc: int, ins: Instruction) -> str:
    match ins.code:
        case code if code in _LOADS:
            return f"{_LOADS[code][0]} {_source(ins.k)}"
        case code if code in _ARITHMETIC:
            return f"{_ARITHMETIC[code][0]} #{_number(ins.k)}"
        case code if code in _COMPARISON:
            taken, other = _targets(pc, ins)
            return f"{_COMPARISON[code][0]} #{_number(ins.k)}, l{taken}, l{other}"
        case code if code in _FIXED:
            return _FIXED[code].format(k=_number(ins.k), target=pc + 1 + ins.k)
        case code:
            return f".insn {code:#04x}, {ins.jt}, {ins.jf}, {ins.k:#x}"


_FIXED = {_LD_IMM: "ld #{k}", _JA: "jmp l{target}", _RET: "ret #{k}", _RET_A: "ret a"}


def _source(offset: int) -> str:
    """What a load reads: a name, or an offset into the payload."""
    return _ANCILLARY.get(offset - _ANCILLARY_BASE, ("", f"[{_number(offset)}]"))[1]


def _number(k: int) -> str:
    """Decimal for what counts CPUs and sockets; hexadecimal for masks and `HASH`."""
    return str(k) if k <= MAX_GROUP else hex(k)


def _targets(pc: int, ins: Instruction) -> list[int]:
    """Where a jump can go; nothing for any other instruction."""
    if ins.code & _CLASS != _JMP:
        return []
    return [pc + 1 + step for step in ([ins.k] if ins.code == _JA else [ins.jt, ins.jf])]


# --- evaluation -----------------------------------------------------------------------


def evaluate(program: Program, packet: Packet) -> int:
    """The answer the kernel would get from this program for this packet.

    Returns:
        An unsigned 32-bit number; an index only if it is below the group's size.
        0 where the kernel gives up: a load past the end of the payload.

    Raises:
        LocalityError: The program has an instruction that is not evaluated here.
    """
    accumulator, pc = 0, 0
    while True:
        ins = program.instructions[pc]
        pc += 1
        if ins.code == _RET:
            return ins.k
        if ins.code == _RET_A:
            return accumulator
        if ins.code == _JA:
            pc += ins.k
        elif ins.code in _COMPARISON:
            pc += ins.jt if _COMPARISON[ins.code][1](accumulator, ins.k) else ins.jf
        elif ins.code in _ARITHMETIC:
            accumulator = _ARITHMETIC[ins.code][1](accumulator, ins.k) & _WORD
        elif (loaded := _fetch(ins, packet)) is not None:
            accumulator = loaded
        else:
            return 0


def _fetch(ins: Instruction, packet: Packet) -> int | None:
    """What a load loads, None past the end of the payload."""
    if ins.code == _LD_IMM:
        return ins.k
    if ins.code in _LOADS and ins.k - _ANCILLARY_BASE in _ANCILLARY:
        known: int = getattr(packet, _ANCILLARY[ins.k - _ANCILLARY_BASE][0])
        return known
    if ins.code not in _LOADS or ins.k >= _HEADER_BASE:
        raise LocalityError(f"cannot evaluate the instruction {_text(0, ins)!r}")
    loaded = packet.payload[ins.k : ins.k + _LOADS[ins.code][1]]
    return int.from_bytes(loaded, "big") if len(loaded) == _LOADS[ins.code][1] else None
