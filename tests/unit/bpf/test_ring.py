"""The reader of a BPF ring, on memory laid out and written as kernel/bpf/ringbuf.c does."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from locality.accept.batch import ACCEPT
from locality.bpf.barrier import memory_barrier, nothing
from locality.bpf.ring import BUSY, DISCARD, HEADER, Ring, slot_size
from locality.errors import LocalityError

if TYPE_CHECKING:
    from typing import Any

    from hypothesis.strategies import DataObject

SIZE = 4096
RECORD = np.dtype([("number", "u8"), ("name", "S5")])
SLOT = 24  # 8 of header, 13 of record, rounded up to a multiple of 8
ROOM = SIZE // SLOT


@dataclass
class Producer:
    """The kernel's side: reserves, submits and discards in a ring of our own memory."""

    record: np.dtype[Any] = RECORD
    start: int = 0
    consumer: bytearray = field(default_factory=lambda: bytearray(8))
    producer: bytearray = field(default_factory=lambda: bytearray(8))
    data: bytearray = field(default_factory=lambda: bytearray(2 * SIZE))

    def __post_init__(self) -> None:
        self.consumed = self.produced = self.start

    @property
    def consumed(self) -> int:
        return int.from_bytes(self.consumer, "little")

    @consumed.setter
    def consumed(self, position: int) -> None:
        self.consumer[:] = position.to_bytes(8, "little")

    @property
    def produced(self) -> int:
        return int.from_bytes(self.producer, "little")

    @produced.setter
    def produced(self, position: int) -> None:
        self.producer[:] = position.to_bytes(8, "little")

    def ring(self) -> Ring:
        return Ring(self.consumer, self.producer, self.data, SIZE, self.record)

    def reserve(self, content: bytes) -> int | None:
        """Write a busy record; gives its position, or None where the ring is full."""
        position = self.produced
        taken = (HEADER + len(content) + 7) // 8 * 8
        if position + taken - self.consumed > SIZE:
            return None
        self.write(position, struct.pack("<II", len(content) | int(BUSY), 0) + content)
        self.produced = position + taken
        return position

    def submit(self, position: int) -> None:
        self.write(position, struct.pack("<I", self._length(position)))

    def discard(self, position: int) -> None:
        self.write(position, struct.pack("<I", self._length(position) | int(DISCARD)))

    def add(self, *numbers: int) -> None:
        for number in numbers:
            position = self.reserve(content(number))
            assert position is not None
            self.submit(position)

    def _length(self, position: int) -> int:
        (header,) = struct.unpack_from("<I", self.data, position % SIZE)
        return int(header) & ~int(BUSY)

    def write(self, position: int, content: bytes) -> None:
        # What the second mapping of the same pages does: each byte is seen at both places.
        for at, byte in enumerate(content, position):
            self.data[at % SIZE] = self.data[at % SIZE + SIZE] = byte


def content(number: int) -> bytes:
    return np.array((number, str(number % 10_000).encode()), RECORD).tobytes()


def numbers(ring: Ring) -> list[int]:
    """The records' numbers, after a look at their names too."""
    records = ring.read()
    assert records.dtype == RECORD
    assert [int(name) for name in records["name"]] == [
        int(number) % 10_000 for number in records["number"]
    ]
    return [int(number) for number in records["number"]]


# A slot that is not rounded up to 8 puts every record but the first at a wrong place.
def test_slots_are_multiples_of_eight() -> None:
    sizes = [slot_size(np.dtype((np.void, size))) for size in (1, 8, 9, 13, 16)]
    assert sizes == [16, 16, 24, 24, 24]


# An empty ring must not be read past its end, nor move the consumer.
def test_empty() -> None:
    kernel = Producer()
    assert numbers(kernel.ring()) == []
    assert kernel.consumed == 0


# Records given twice, or in another order than they were reserved in.
def test_each_record_once_in_order() -> None:
    kernel = Producer()
    ring = kernel.ring()
    kernel.add(7, 5, 6)
    assert numbers(ring) == [7, 5, 6]
    assert kernel.consumed == kernel.produced
    assert numbers(ring) == []
    kernel.add(8)
    assert numbers(ring) == [8]


# A record split by the end of the data: SIZE is no multiple of the slot, so in the course
# of some rounds it is split at each of the places where it can be.
def test_wrap_around() -> None:
    kernel = Producer()
    ring = kernel.ring()
    for first in range(0, 20 * ROOM, 7):
        kernel.add(*range(first, first + 7))
        assert numbers(ring) == list(range(first, first + 7))
    assert kernel.consumed == kernel.produced > 19 * SIZE


# Positions never go back to 0; 32 bits of them are enough for 4 GB only. The kernel looks
# at the consumer's position as 64 bits when it decides that the ring is full.
@pytest.mark.parametrize("start", [2**32 - 48, 2**40 + 8, 2**63 - 24])
def test_positions_beyond_32_bits(start: int) -> None:
    kernel = Producer(start=start)
    ring = kernel.ring()
    kernel.add(1, 2, 3)
    assert numbers(ring) == [1, 2, 3]
    assert kernel.consumed == start + 3 * SLOT


# A record still being written holds garbage, and those behind it must not overtake it.
def test_busy_stops_there_and_is_taken_up_later() -> None:
    kernel = Producer()
    ring = kernel.ring()
    kernel.add(1)
    late = kernel.reserve(content(2))
    assert late is not None
    kernel.add(3)
    assert numbers(ring) == [1]
    assert numbers(ring) == []
    kernel.submit(late)
    assert numbers(ring) == [2, 3]


# A discarded record that is given out is one that no probe meant to send; one that is not
# consumed stops the ring for ever.
def test_discarded_is_skipped_and_consumed() -> None:
    kernel = Producer()
    ring = kernel.ring()
    for number in range(5):
        position = kernel.reserve(content(number))
        assert position is not None
        (kernel.discard if number % 2 else kernel.submit)(position)
    assert numbers(ring) == [0, 2, 4]
    assert kernel.consumed == kernel.produced

    position = kernel.reserve(content(5))
    assert position is not None
    kernel.discard(position)
    assert numbers(ring) == []
    assert kernel.consumed == kernel.produced


# Bugs: headers are read before the position behind which they are old, records before the headers
# that say they are complete, or records are given back before they are copied. arm64 may do each of
# these where no barrier stands. Here the true values come to memory only when a barrier is reached.
def test_a_barrier_stands_between_position_headers_records_and_giving_back() -> None:
    kernel = Producer(start=SIZE)
    for number in range(ROOM):  # of a lap before: all slots hold complete records that are old
        kernel.write(number * SLOT, struct.pack("<II", RECORD.itemsize, 0) + content(number))

    def true_headers() -> None:
        kernel.write(SIZE, struct.pack("<I", RECORD.itemsize))
        kernel.write(SIZE + SLOT, struct.pack("<I", RECORD.itemsize | int(BUSY)))

    def true_records() -> None:
        kernel.write(SIZE + HEADER, content(77))

    def written_over() -> None:
        assert kernel.consumed == SIZE, "given back while it was still being copied"
        kernel.write(SIZE + HEADER, content(99))

    late = iter((true_headers, true_records, written_over))
    memory = (kernel.consumer, kernel.producer, kernel.data)

    def barrier() -> None:
        next(late)()

    ring = Ring(*memory, SIZE, RECORD, barrier=barrier)
    kernel.produced = SIZE + 2 * SLOT
    assert numbers(ring) == [77]
    assert kernel.consumed == SIZE + SLOT
    assert list(late) == []


# Bug: on a processor that needs one, the barrier of x86-64 is taken, or a kernel that refuses it is
# not noticed.
def test_the_barrier_of_other_processors_is_a_system_call() -> None:
    assert memory_barrier("x86_64") is nothing
    barrier = memory_barrier("aarch64")
    assert barrier is not nothing
    barrier()


# Full looks like empty to whoever compares positions modulo the size. Slots of 32 bytes
# fill the ring to the last byte.
def test_exactly_full() -> None:
    record = np.dtype([("numbers", "u8", (3,))])
    kernel = Producer(record, start=5 * 32)
    ring = kernel.ring()
    for number in range(SIZE // 32):
        position = kernel.reserve(struct.pack("<3Q", number, number, number))
        assert position is not None
        kernel.submit(position)
    assert kernel.reserve(bytes(24)) is None
    records = ring.read()
    assert records["numbers"].tolist() == [[number] * 3 for number in range(SIZE // 32)]
    assert kernel.reserve(bytes(24)) is not None


# Records of another build of the probe, read as if they were ours, are nonsense with a
# plausible look. Nothing is consumed, so that the next reading complains again.
@pytest.mark.parametrize("size", [8, 12, 14, 37])
def test_a_record_of_another_size_is_an_error(size: int) -> None:
    kernel = Producer()
    ring = kernel.ring()
    kernel.add(1)
    position = kernel.reserve(bytes(size))
    assert position is not None
    kernel.submit(position)
    kernel.add(2, 3)
    for _ in range(2):
        with pytest.raises(LocalityError, match="expected 13 bytes"):
            ring.read()
    assert kernel.consumed == 0


# A view instead of a copy changes under the reader when the kernel writes over the ring.
def test_the_batch_is_a_copy() -> None:
    kernel = Producer()
    ring = kernel.ring()
    kernel.add(1, 2)
    records = ring.read()
    kernel.data[:] = b"\xff" * len(kernel.data)
    assert records["number"].tolist() == [1, 2]


# The same with the record that is really used, whose slots do not divide the ring either:
# a wrong item size in the view shows in the last field.
def test_the_record_of_accept() -> None:
    kernel = Producer(ACCEPT)
    ring = kernel.ring()
    for number in range(100):
        sent = np.zeros(1, ACCEPT)
        sent["time"], sent["comm"], sent["flags"] = number, f"worker {number}", number
        position = kernel.reserve(sent.tobytes())
        assert position is not None
        kernel.submit(position)
        (record,) = ring.read()
        assert record == sent[0]


class AnyOrder(RuleBasedStateMachine):
    """Records submitted and discarded in any order, against a list.

    Catches what the examples above do not combine: busy at the wrap-around, a discarded
    record in front of a busy one, a ring that fills up while one is busy.
    """

    def __init__(self) -> None:
        super().__init__()
        self.kernel = Producer(start=SIZE - 5 * SLOT)
        self.ring = self.kernel.ring()
        self.number = 0
        self.expected: list[tuple[int, str, int]] = []  # position, state, number

    @rule(count=st.integers(1, ROOM))
    def reserve(self, count: int) -> None:
        for _ in range(count):
            position = self.kernel.reserve(content(self.number))
            if position is None:
                break
            self.expected.append((position, "busy", self.number))
            self.number += 1

    @precondition(lambda self: self.busy())
    @rule(data=st.data(), state=st.sampled_from(["submitted", "discarded"]))
    def finish_one(self, data: DataObject, state: str) -> None:
        self._finish(data.draw(st.sampled_from(self.busy())), state)

    @precondition(lambda self: self.busy())
    @rule(data=st.data())
    def finish_all_but_one(self, data: DataObject) -> None:
        spared = data.draw(st.sampled_from(self.busy()))
        for at in self.busy():
            if at != spared:
                self._finish(at, "submitted")

    @rule()
    def read(self) -> None:
        ready: list[int] = []
        while self.expected and self.expected[0][1] != "busy":
            _, state, number = self.expected.pop(0)
            if state == "submitted":
                ready.append(number)
        assert numbers(self.ring) == ready
        stands_at = self.expected[0][0] if self.expected else self.kernel.produced
        assert self.kernel.consumed == stands_at

    def busy(self) -> list[int]:
        return [at for at, (_, state, _) in enumerate(self.expected) if state == "busy"]

    def _finish(self, at: int, state: str) -> None:
        position, _, number = self.expected[at]
        (self.kernel.submit if state == "submitted" else self.kernel.discard)(position)
        self.expected[at] = (position, state, number)


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


# What is read in any portions is what was written: a batch that is cut a record short.
@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, ROOM), max_size=20), st.integers(0, 2**40))
def test_any_portions(portions: list[int], eighths: int) -> None:
    kernel = Producer(start=8 * eighths)
    ring = kernel.ring()
    first = 0
    for portion in portions:
        kernel.add(*range(first, first + portion))
        assert numbers(ring) == list(range(first, first + portion))
        first += portion
