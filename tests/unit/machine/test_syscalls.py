"""Which descriptors a blocked system call waits for."""

from __future__ import annotations

import re
import struct

import pytest

from locality.bpf.compiled import PROBES
from locality.machine.syscalls import (
    NUMBERS,
    Call,
    Names,
    Waits,
    number,
    numbers,
    parse_call,
    waits,
)

X86, ARM = numbers("x86_64"), numbers("aarch64")
#: The probes' names for the parts of architecture.h.
PARTS = {"x86_64": "__TARGET_ARCH_x86", "aarch64": "__TARGET_ARCH_arm64"}
REST = "0x7ffd6b1f6cfc 0x800 0x0 0x0 0x7ffd6b1f6ce8 0x7f0c4bd2c3b3"


def nothing(_at: int, _size: int) -> bytes:
    return b""


# Bugs: the first argument of any call passes for a descriptor: the clock of clock_nanosleep(), the
# type of waitid(), the number of descriptors of select(); a number of another architecture's call.
@pytest.mark.parametrize(
    ("line", "known", "expected"),
    [
        (f"288 0x6 0x7ffd6b1f6d00 {REST}", X86, Call(Names.SOCKET, 6, 0x7FFD6B1F6D00)),
        (f"232 0x9 0x7ffd6b1f6d00 {REST}", X86, Call(Names.EPOLL, 9, 0x7FFD6B1F6D00)),
        (f"23 0x4 0x7ffd6b1f6d00 {REST}", X86, Call(Names.SELECT, 4, 0x7FFD6B1F6D00)),
        (f"7 0x7ffd6b1f6d00 0x3 {REST}", X86, Call(Names.POLL, 0x7FFD6B1F6D00, 3)),
        (f"22 0x9 0x7ffd6b1f6d00 {REST}", ARM, Call(Names.EPOLL, 9, 0x7FFD6B1F6D00)),
        (f"22 0x9 0x7ffd6b1f6d00 {REST}", X86, None),  # pipe
        (f"230 0x1 0x0 {REST}", X86, None),  # clock_nanosleep
        (f"247 0x1 0x0 {REST}", X86, None),  # waitid
        (f"202 0x6 0x80 {REST}", X86, None),  # futex
        (f"426 0x6 0x1 {REST}", X86, None),  # io_uring_enter: its ring
        ("running", X86, None),
        ("-1 0x7ffd6b1f6ce8 0x7f0c4bd2c3b3", X86, None),
        ("", X86, None),
    ],
)
def test_the_number_says_what_the_argument_is(
    line: str, known: dict[int, Names], expected: Call | None
) -> None:
    assert parse_call(line, known) == expected


# Bug: a machine of an architecture that is not known takes another one's numbers.
def test_an_unknown_architecture_has_no_calls() -> None:
    assert numbers("riscv64") == {}
    assert number("accept4", "riscv64") is None
    assert numbers("aarch64")[242] is Names.SOCKET


# Bug: the probes look for another call than the rest of the tool, on the architecture that is not
# at hand. The header is the other place with numbers, as the compiler reads no Python.
@pytest.mark.parametrize("machine", NUMBERS)
def test_the_probes_have_the_same_numbers(machine: str) -> None:
    text = (PROBES / "architecture.h").read_text()
    (part,) = [
        one
        for one in re.split(r"^#(?:el)?if ", text, flags=re.MULTILINE)
        if PARTS[machine] in one.partition("\n")[0]
    ]
    found = dict(re.findall(r"^#define NR_([A-Z]\w+) (\d+)$", part, re.MULTILINE))
    assert {"ACCEPT", "ACCEPT4", "RECVFROM", "RECVMSG", "RECVMMSG"} <= set(found)
    assert {name: int(value) for name, value in found.items()} == {
        name: number(name.lower(), machine) for name in found
    }


# Bugs: the highest descriptor plus one passes for a descriptor; bits are counted from the wrong
# end; descriptors that are only written to count; a negative entry, which poll() passes over.
def test_poll_and_select_name_theirs_in_memory() -> None:
    mask = bytes([0b0000_1000, 0, 0b0000_0010])
    asked = []

    def memory(at: int, size: int) -> bytes:
        asked.append((at, size))
        return mask[:size]

    chosen = frozenset({3, 17})
    assert waits(Call(Names.SELECT, 18, 0x1000), memory) == Waits(chosen, chosen)
    assert asked == [(0x1000, 3)]

    pollin, pollout = 1, 4
    array = b"".join(
        struct.pack("=ihh", fd, events, 0)
        for fd, events in ((7, pollin), (8, pollout), (-1, pollin), (9, pollin | pollout))
    )
    found = waits(Call(Names.POLL, 0x2000, 4), lambda _at, size: array[:size]).sockets
    assert {fd for fd in found if fd >= 0} == {7, 9}


# Bugs: memory that cannot be read, or only in part, ends the run; an absurd number of descriptors
# is read for minutes.
def test_what_cannot_be_read_names_nothing() -> None:
    assert waits(Call(Names.POLL, 0, 4), nothing) == Waits()
    assert waits(Call(Names.SELECT, 1 << 62, 0x1000), nothing) == Waits()
    sizes = []

    def measure(_at: int, size: int) -> bytes:
        sizes.append(size)
        return b"\0" * 7  # less than one struct pollfd

    assert waits(Call(Names.POLL, 0x1000, (1 << 31) - 1), measure) == Waits()
    assert sizes == [65536 * 8]


# Bug: a descriptor with its upper half still in the register is another one.
def test_a_descriptor_has_32_bits() -> None:
    assert waits(Call(Names.SOCKET, 0xFFFFFFFF00000006, 0), nothing).sockets == {6}
