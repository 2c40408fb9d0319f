"""Control traffic to one socket, everything else to the others.

Over a group, a session with a neighbour (keep-alives both ways, all of one 4-tuple) has to
reach one socket, while the data of the same 4-tuple is spread. A byte of the payload tells
them apart, as the packet type does in the protocols of routers.

Index 0 gets the control traffic and, unless the hash chooses, nothing else: data that fills
its buffer would have keep-alives dropped, and a session that is lost costs more than one
socket's share of the data.
"""

from __future__ import annotations

from dataclasses import dataclass

from locality.cbpf.encoding import (
    ADD,
    AND,
    HASH,
    JEQ,
    JGE,
    LD_BYTE,
    LD_LENGTH,
    MAX_GROUP,
    RET,
    Instruction,
    Program,
)
from locality.cbpf.programs import load, modulo
from locality.errors import LocalityError

OTHERS = ("random", "cpu", "hash")
"""How what is not control traffic is spread. hash: over all sockets, index 0 too."""

LONGEST_PAYLOAD = 65_527  # of UDP over IPv6, whose length field has 16 bits

_BYTE = 0xFF
_SMALLEST_GROUP = 2


@dataclass(frozen=True, slots=True)
class Control:
    """Control traffic is what has this byte: payload[offset] & mask == value.

    Attributes:
        offset: From the start of the UDP payload.
        others: Of `OTHERS`: random and cpu spread over indexes 1 and up.

    Raises:
        LocalityError: No payload has such a byte.
    """

    offset: int
    value: int
    mask: int = _BYTE
    others: str = OTHERS[0]

    def __post_init__(self) -> None:
        if not 0 <= self.offset < LONGEST_PAYLOAD:
            raise LocalityError(
                f"a payload has bytes 0 to {LONGEST_PAYLOAD - 1}, not {self.offset}", exit_code=2
            )
        if not (0 < self.mask <= _BYTE and 0 <= self.value <= _BYTE):
            raise LocalityError(
                f"the mask is 0x1 to 0xff and the value 0x0 to 0xff, not {self.mask:#x} and "
                f"{self.value:#x}",
                exit_code=2,
            )
        if self.value & ~self.mask:
            raise LocalityError(
                f"no byte & {self.mask:#x} is {self.value:#x}: the value has bits that the mask "
                "takes away",
                exit_code=2,
            )

    def __str__(self) -> str:
        masked = "" if self.mask == _BYTE else f" & {self.mask:#x}"
        return f"payload[{self.offset}]{masked} == {self.value:#x}"

    @property
    def shortest(self) -> bytes:
        """The shortest payload that has it."""
        return bytes(self.offset) + bytes([self.value])


def payload(group: int, control: Control) -> Program:
    """Control traffic to index 0; what is not, and what is too short to tell, to the others.

    The length is asked first, for a load past the end of the payload ends a program with
    0, which would be an answer: index 0.

    Args:
        group: Its size, at least 2.
        control: What control traffic is, and how the rest is spread.

    Raises:
        LocalityError: The group is too small to set a socket aside, or impossible.
    """
    if not _SMALLEST_GROUP <= group <= MAX_GROUP:
        raise LocalityError(
            f"index 0 takes the control traffic: a group of {_SMALLEST_GROUP} to {MAX_GROUP} "
            f"sockets has others, not one of {group}",
            exit_code=2,
        )
    masked = () if control.mask == _BYTE else (Instruction(AND, 0, 0, control.mask),)
    return Program(
        (
            Instruction(LD_LENGTH, 0, 0, 0),
            Instruction(JGE, 0, 3 + len(masked), control.offset + 1),
            Instruction(LD_BYTE, 0, 0, control.offset),
            *masked,
            Instruction(JEQ, 0, 1, control.value),
            Instruction(RET, 0, 0, 0),
            *_others(group, control.others),
        )
    )


def _others(group: int, name: str) -> tuple[Instruction, ...]:
    if name == "hash":
        return (Instruction(RET, 0, 0, HASH),)
    remainder, answer = modulo(group - 1)
    return load(name), remainder, Instruction(ADD, 0, 0, 1), answer


def recognise(program: Program) -> Control | None:
    """What `payload` was given to make this program, or None if it did not make it."""
    loads = [ins.k for ins in program.instructions if ins.code == LD_BYTE]
    masks = [ins.k for ins in program.instructions if ins.code == AND] or [_BYTE]
    values = [ins.k for ins in program.instructions if ins.code == JEQ]
    if not (len(loads) == len(masks) == len(values) == 1):
        return None
    try:
        for others in OTHERS:
            control = Control(loads[0], values[0], masks[0], others)
            if payload(max(program.group, _SMALLEST_GROUP), control) == program:
                return control
    except LocalityError:  # numbers that are no byte's
        pass
    return None
