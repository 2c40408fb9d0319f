"""Classic BPF programs: what they answer, here and in the kernel, and how they are written."""

from __future__ import annotations

import ctypes
import select
import socket
import struct
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from locality import cbpf
from locality.attach_cbpf import SO_ATTACH_REUSEPORT_CBPF
from locality.cbpf import HASH, Instruction, Packet, Program
from locality.errors import LocalityError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

WORDS = st.integers(0, 2**32 - 1)
GROUPS = st.integers(1, cbpf.MAX_GROUP)
TABLES = st.dictionaries(st.integers(0, 8191), st.integers(0, 1023), min_size=1, max_size=64)


@pytest.fixture(scope="module")
def group() -> Iterator[list[socket.socket]]:
    """Four UDP sockets on one loopback port: a reuseport group of our own."""
    with ExitStack() as stack:
        members: list[socket.socket] = []
        for _ in range(4):
            member = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            member.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            member.bind(members[0].getsockname() if members else ("127.0.0.1", 0))
            members.append(member)
        yield members


def set_program(member: socket.socket, program: Program) -> None:
    filters = ctypes.create_string_buffer(program.assemble())
    option = struct.pack("@HP", len(program), ctypes.addressof(filters))
    member.setsockopt(socket.SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, option)


# A wrong opcode, a swapped jt/jf or an off-by-one in the table gives another answer.


@given(GROUPS, WORDS)
def test_cpu_is_the_remainder(group: int, cpu: int) -> None:
    packet = Packet(cpu=cpu, random=1, queue=2, rxhash=3)
    assert cbpf.evaluate(cbpf.cpu(group), packet) == cpu % group


@given(GROUPS, WORDS)
def test_random_is_the_remainder(group: int, number: int) -> None:
    packet = Packet(cpu=1, random=number, queue=2, rxhash=3)
    assert cbpf.evaluate(cbpf.random(group), packet) == number % group


# The kernel's queue ancillary is the queue plus one: forgetting it measured 0 % local.
@given(GROUPS, st.integers(0, 2**16 - 2))
def test_queue_counts_from_zero(group: int, queue: int) -> None:
    packet = Packet(cpu=1, random=2, queue=queue + 1, rxhash=3)
    assert cbpf.evaluate(cbpf.queue(group), packet) == queue % group


@given(GROUPS, WORDS.filter(bool))
def test_rxhash_is_the_remainder(group: int, rxhash: int) -> None:
    packet = Packet(cpu=1, random=2, queue=3, rxhash=rxhash)
    assert cbpf.evaluate(cbpf.rxhash(group), packet) == rxhash % group


# Where a device gives no queue or no hash, index 0 would get every packet.
@pytest.mark.parametrize("program", [cbpf.queue(4), cbpf.rxhash(4)])
def test_what_is_not_known_is_left_to_the_hash(program: Program) -> None:
    assert cbpf.evaluate(program, Packet()) == HASH


@given(TABLES, st.integers(0, 8192))
def test_table_is_a_dictionary(indexes: dict[int, int], cpu: int) -> None:
    assert cbpf.evaluate(cbpf.table(indexes), Packet(cpu=cpu)) == indexes.get(cpu, HASH)


# 8-bit jumps: a table built with one far jump breaks at 256 CPUs.
def test_the_longest_table_finds_its_last_cpu() -> None:
    program = cbpf.table({cpu: cpu % 7 for cpu in range(cbpf.MAX_TABLE)})
    assert len(program) <= cbpf.MAX_INSTRUCTIONS
    assert cbpf.evaluate(program, Packet(cpu=cbpf.MAX_TABLE - 1)) == (cbpf.MAX_TABLE - 1) % 7
    assert cbpf.evaluate(program, Packet(cpu=cbpf.MAX_TABLE)) == HASH


# The kernel would answer EINVAL, which says nothing about the length.
def test_a_longer_table_names_the_limit() -> None:
    with pytest.raises(LocalityError, match=r"1 to 2047 entries.*not 2048"):
        cbpf.table(dict.fromkeys(range(cbpf.MAX_TABLE + 1), 0))
    with pytest.raises(LocalityError, match="1 to 4096 instructions, not 4097"):
        Program((Instruction(0x06, 0, 0, 0),) * 4097)


# A program that cannot end would hang the evaluator.
@pytest.mark.parametrize(
    ("instructions", "problem"),
    [
        ([], "not 0"),
        ([Instruction(0x20, 0, 0, 0)], "end in a return"),
        ([Instruction(0x15, 0, 1, 0), Instruction(0x06, 0, 0, 0)], "jumps past its end"),
        ([Instruction(0x05, 0, 0, 1), Instruction(0x06, 0, 0, 0)], "jumps past its end"),
    ],
)
def test_a_malformed_program_is_refused(instructions: list[Instruction], problem: str) -> None:
    with pytest.raises(LocalityError, match=problem):
        Program(tuple(instructions))


# Bug: a division by zero, or a group larger than any, reaches the kernel.
@pytest.mark.parametrize("group", [0, -1, cbpf.MAX_GROUP + 1])
def test_an_impossible_group_is_refused(group: int) -> None:
    for build in cbpf.BUILDERS.values():
        with pytest.raises(LocalityError, match=f"not {group}"):
            build(group)


# Bug: a number that does not fit is cut to another CPU or index.
@pytest.mark.parametrize("entry", [{-1: 0}, {2**32: 0}, {0: -1}, {0: cbpf.MAX_GROUP}])
def test_an_impossible_table_entry_is_refused(entry: dict[int, int]) -> None:
    with pytest.raises(LocalityError, match="out of range"):
        cbpf.table(entry)


# The bytes are what the kernel reads: a wrong field order or size would be EINVAL or worse.
def test_assembled_bytes() -> None:
    assert cbpf.cpu(12).assemble().hex(" ", 8) == (
        "2000000024f0ffff 940000000c000000 1600000000000000"
    )


# Bug: a field of an instruction is packed in another order or size than the kernel reads.
@given(TABLES)
def test_assembling_loses_nothing(indexes: dict[int, int]) -> None:
    program = cbpf.table(indexes)
    assert Program.from_bytes(program.assemble()) == program


# People check the dry run by reading it: jump targets must be the lines they name.
def test_disassembly() -> None:
    assert cbpf.disassemble(cbpf.cpu(12)) == ["l0: ld cpu", "l1: mod #12", "l2: ret a"]
    assert cbpf.disassemble(cbpf.queue(4)) == [
        "l0: ld queue",
        "l1: jeq #0, l2, l3",
        "l2: ret #0xffffffff",
        "l3: sub #1",
        "l4: mod #4",
        "l5: ret a",
    ]
    assert cbpf.disassemble(cbpf.table({1: 0, 0: 1})) == [
        "l0: ld cpu",
        "l1: jeq #0, l2, l3",
        "l2: ret #1",
        "l3: jeq #1, l4, l5",
        "l4: ret #0",
        "l5: ret #0xffffffff",
    ]


# A program someone else attached must not crash the command that shows it.
def test_a_foreign_program_is_shown_but_not_guessed_at() -> None:
    tax = Instruction(0x07, 0, 0, 0)
    program = Program((Instruction(0x30, 0, 0, 3), tax, Instruction(0x06, 0, 0, 1)))
    assert cbpf.disassemble(program) == ["l0: ldb [3]", "l1: .insn 0x07, 0, 0, 0x0", "l2: ret #1"]
    with pytest.raises(LocalityError, match=r"cannot evaluate the instruction '\.insn 0x07"):
        cbpf.evaluate(program, Packet(payload=b"1234"))


# Bug: the size that checks compare with the real group is that of another kind of program.
@given(GROUPS, TABLES)
def test_the_group_a_program_is_made_for(group: int, indexes: dict[int, int]) -> None:
    assert {build(group).group for build in cbpf.BUILDERS.values()} == {group}
    assert cbpf.table(indexes).group == max(indexes.values()) + 1


# Bug: a map that the tool prints cannot be given back to it, or means another one.
@given(TABLES)
def test_a_map_is_read_as_it_is_written(indexes: dict[int, int]) -> None:
    assert cbpf.parse_map(cbpf.format_map(indexes)) == indexes


# Bug: half of a map is taken, or digits of other scripts are.
@pytest.mark.parametrize("text", ["", "0", "0:", ":1", "0:1,", "0:1;1:0", "0:-1", "a:b", "0:²"])
def test_a_malformed_map_is_refused(text: str) -> None:
    with pytest.raises(LocalityError, match="is not CPU:index"):
        cbpf.parse_map(text)


# Bug: of two entries of a CPU the last one counts, and nobody is told.
def test_a_cpu_mapped_twice_is_refused() -> None:
    with pytest.raises(LocalityError, match="names CPU 3 twice"):
        cbpf.parse_map("3:0,03:1")


# The kernel's verifier is the judge of every program we build.
@settings(deadline=None, max_examples=50)
@given(size=GROUPS, indexes=TABLES)
def test_the_kernel_accepts_each_program(
    group: list[socket.socket], size: int, indexes: dict[int, int]
) -> None:
    for program in [build(size) for build in cbpf.BUILDERS.values()] + [cbpf.table(indexes)]:
        set_program(group[0], program)


CONTROLS = st.builds(
    lambda offset, mask, value, others: cbpf.Control(offset, value & mask, mask, others),
    st.integers(0, 12),
    st.integers(1, 255),
    st.integers(0, 255),
    st.sampled_from(cbpf.OTHERS),
)


# Bugs: a jump that is one off; a payload too short to tell goes to index 0, for there a load past
# its end ends the program; data goes to the socket that was set aside, or past the end.
@given(st.integers(2, cbpf.MAX_GROUP), CONTROLS, st.binary(max_size=14), WORDS, WORDS)
def test_control_traffic_is_told_by_its_byte(
    group: int, control: cbpf.Control, payload: bytes, cpu: int, number: int
) -> None:
    program = cbpf.payload(group, control)
    answer = cbpf.evaluate(program, Packet(cpu=cpu, random=number, payload=payload))
    at = control.offset
    if at < len(payload) and payload[at] & control.mask == control.value:
        assert answer == 0
    elif control.others == "hash":
        assert answer == HASH
    else:
        assert answer == {"cpu": cpu, "random": number}[control.others] % (group - 1) + 1
    assert cbpf.evaluate(program, Packet(cpu=cpu, payload=control.shortest)) == 0


# Bug: groups and undo commands show another program than the one that is there.
@given(st.integers(2, 64), CONTROLS, TABLES)
def test_a_program_for_control_traffic_is_recognised(
    group: int, control: cbpf.Control, indexes: dict[int, int]
) -> None:
    program = cbpf.payload(group, control)
    assert cbpf.recognise(program) == control
    assert program.group == (1 if control.others == "hash" else group)
    assert "payload" in program.reads
    for other in (cbpf.cpu(group), cbpf.queue(group), cbpf.table(indexes)):
        assert cbpf.recognise(other) is None
    changed = (*program.instructions[:-1], Instruction(0x06, 0, 0, 1))
    assert cbpf.recognise(Program(changed)) is None


# Bug: a jump is shown to another line than it goes to, or an offset without its size.
def test_disassembly_of_control_traffic() -> None:
    assert cbpf.disassemble(cbpf.payload(4, cbpf.Control(4, 0x80, 0xC0))) == [
        "l0: ld len",
        "l1: jge #5, l2, l6",
        "l2: ldb [4]",
        "l3: and #192",
        "l4: jeq #128, l5, l6",
        "l5: ret #0",
        "l6: ld rand",
        "l7: mod #3",
        "l8: add #1",
        "l9: ret a",
    ]


# Bugs: a rule that nothing can match, or a group without a socket for the rest, is attached.
@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda: cbpf.Control(0, 0x80, 0x7F), "no byte & 0x7f is 0x80"),
        (lambda: cbpf.Control(0, 0, 0), "the mask is 0x1 to 0xff"),
        (lambda: cbpf.Control(0, 256), "the value 0x0 to 0xff"),
        (lambda: cbpf.Control(-1, 1), "not -1"),
        (lambda: cbpf.Control(65_527, 1), "not 65527"),
        (lambda: cbpf.payload(1, cbpf.Control(0, 1)), "not one of 1"),
        (lambda: cbpf.payload(65_536, cbpf.Control(0, 1)), "not one of 65536"),
    ],
)
def test_control_traffic_that_cannot_be(make: Callable[[], object], why: str) -> None:
    with pytest.raises(LocalityError, match=why):
        make()


# The kernel is the judge: of four real sockets, index 0 gets it if and only if it has the byte.
@settings(deadline=None, max_examples=200)
@given(control=CONTROLS, payload=st.binary(max_size=14), matching=st.booleans())
def test_the_kernel_tells_control_traffic_too(
    *, group: list[socket.socket], control: cbpf.Control, payload: bytes, matching: bool
) -> None:
    assume(control.others != "hash")
    if matching:
        payload = control.shortest + payload
    set_program(group[0], cbpf.payload(4, control))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.sendto(payload, group[0].getsockname())
    ready, _, _ = select.select(group, [], [], 10)
    assert [member.recv(128) for member in ready] == [payload]
    at = control.offset
    has = at < len(payload) and payload[at] & control.mask == control.value
    assert (group.index(ready[0]) == 0) == has


CONSTANTS = st.one_of(st.integers(1, 40), WORDS.filter(bool))
ARITHMETIC = st.one_of(
    st.builds(
        Instruction,
        st.sampled_from([0x04, 0x14, 0x24, 0x34, 0x44, 0x54, 0x94, 0xA4]),
        st.just(0),
        st.just(0),
        CONSTANTS,
    ),
    st.builds(
        Instruction, st.sampled_from([0x64, 0x74]), st.just(0), st.just(0), st.integers(0, 31)
    ),
)
LOADS = st.builds(
    Instruction, st.sampled_from([0x20, 0x28, 0x30]), st.just(0), st.just(0), st.integers(0, 9)
)
JUMPS = st.builds(
    Instruction,
    st.sampled_from([0x15, 0x25, 0x35, 0x45]),
    st.integers(0, 3),
    st.integers(0, 3),
    CONSTANTS,
)


# The dry run promises what the kernel will do: compare the evaluator with the kernel
# itself, on random programs over the payload, by which of four sockets gets the datagram.
@settings(deadline=None, max_examples=300)
@given(
    body=st.lists(st.one_of(ARITHMETIC, LOADS, JUMPS), max_size=12),
    payload=st.binary(min_size=1, max_size=12),
)
def test_the_evaluator_agrees_with_the_kernel(
    group: list[socket.socket], body: list[Instruction], payload: bytes
) -> None:
    ending = [Instruction(0x94, 0, 0, 4), Instruction(0x16, 0, 0, 0)]
    whole = [Instruction(0x20, 0, 0, 0), *body, *ending]
    for pc, instruction in enumerate(whole):
        if instruction.code & 7 == 5:  # no jump over the final modulo
            assume(pc + 1 + max(instruction.jt, instruction.jf) < len(whole) - 1)
    program = Program(tuple(whole))
    set_program(group[0], program)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.sendto(payload, group[0].getsockname())
    ready, _, _ = select.select(group, [], [], 10)
    assert [member.recv(64) for member in ready] == [payload]
    assert group.index(ready[0]) == cbpf.evaluate(program, Packet(payload=payload))
