"""A BPF ring buffer as a numpy array.

The kernel's ring (kernel/bpf/ringbuf.c) is three mappings: the consumer's position,
which we write; the producer's position; and the data, mapped twice in a row so that
a record that wraps around the end still lies in one piece. Each record has an 8-byte
header: its length, whose top bits say that it is still being written (busy) or was
given up (discarded).

All records of one ring have the same size here, so everything between the two
positions is an array of slots, and one batch is one copy: no call per event.

The order of a reading matters, because the kernel writes meanwhile, on other CPUs:

    the producer's position   before   the headers: what lies behind the position is old
    the headers               before   the records: what is still busy is half written
    the records               before   the consumer's position, which gives them back

The kernel orders the other end: it stores the position with release semantics after it marked the
header busy, and exchanges the header, a full barrier, after the record is written. In between here
stands a barrier each time (`barrier.memory_barrier`): three in a reading that finds something,
however many records it takes.
"""

from __future__ import annotations

import mmap
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from locality.bpf.barrier import memory_barrier
from locality.errors import LocalityError, Unsupported
from locality.machine.limits import raise_if_ours

if TYPE_CHECKING:
    from collections.abc import Callable

# BPF_RINGBUF_BUSY_BIT, BPF_RINGBUF_DISCARD_BIT, BPF_RINGBUF_HDR_SZ of include/uapi/linux/bpf.h
BUSY = np.uint32(1 << 31)
DISCARD = np.uint32(1 << 30)
HEADER = 8


Slots = np.ndarray[tuple[int], np.dtype[np.void]]

#: What a ring can be read from: the kernel's pages, or any memory laid out like them.
Memory = mmap.mmap | memoryview | bytearray


def slot_size(record: np.dtype[Any]) -> int:
    """Bytes one record takes in the ring: header and record, rounded up to 8."""
    return (HEADER + record.itemsize + 7) // 8 * 8


class Ring:
    """The reading end of a ring of equal records.

    Args:
        consumer: 8 writable bytes, the consumer's position.
        producer: 8 bytes, the producer's position.
        data: The data pages, twice in a row.
        size: Bytes of data pages (once); a power of two.
        record: The dtype of a record.
        barrier: Puts all loads and stores before it before those after it; by default what
            this machine needs for that.

    Raises:
        Unsupported: The kernel refuses what is needed.
    """

    def __init__(
        self,
        consumer: Memory,
        producer: Memory,
        data: Memory,
        size: int,
        record: np.dtype[Any],
        *,
        barrier: Callable[[], object] | None = None,
    ) -> None:
        self._barrier = barrier or memory_barrier()
        self._consumer = np.ndarray((), np.uint64, buffer=consumer)
        self._producer = np.ndarray((), np.uint64, buffer=producer)
        self._data = data
        self._size = size
        self._record = record
        self._slot = np.dtype(
            {
                "names": ["length", "record"],
                # Raw bytes: copying them is 15 times faster than copying a record field by field.
                "formats": [np.uint32, np.dtype((np.void, record.itemsize))],
                "offsets": [0, HEADER],
                "itemsize": slot_size(record),
            }
        )

    @classmethod
    def map(cls, fd: int, size: int, record: np.dtype[Any]) -> Self:
        """Map the ring of a BPF_MAP_TYPE_RINGBUF descriptor.

        Raises:
            Unsupported: The kernel refused the mapping.
        """
        page = mmap.PAGESIZE
        try:
            consumer = mmap.mmap(fd, page, mmap.MAP_SHARED)
            rest = mmap.mmap(fd, page + 2 * size, mmap.MAP_SHARED, mmap.PROT_READ, offset=page)
        except OSError as error:
            raise_if_ours(error.errno)
            raise Unsupported(f"cannot map the ring buffer: {error.strerror}") from None
        return cls(consumer, rest, memoryview(rest)[page:], size, record)

    def read(self) -> np.ndarray[tuple[int], np.dtype[Any]]:
        """Take every record that is complete.

        Returns:
            A copy, one row a record, in the order of reservation; perhaps empty. Records
            behind one that is still being written wait for the next call.

        Raises:
            LocalityError: A record has another size than this ring's.
        """
        consumed, produced = int(self._consumer), int(self._producer)
        if consumed == produced:
            return np.empty(0, self._record)
        self._barrier()
        slots = np.ndarray(
            ((produced - consumed) // self._slot.itemsize,),
            self._slot,
            buffer=self._data,
            offset=consumed & (self._size - 1),
        )
        kept = None
        if (slots["length"] != self._record.itemsize).any():
            slots, kept = self._sort_out(slots)
        self._barrier()
        # Choosing some copies them.
        taken = slots["record"].copy() if kept is None else slots["record"][kept]
        records = taken.view(self._record)
        # Only now may the kernel write over them.
        self._barrier()
        self._consumer[...] = consumed + slots.nbytes
        return records

    def _sort_out(self, slots: Slots) -> tuple[Slots, np.ndarray[tuple[int], np.dtype[np.bool]]]:
        """The slots before the first busy one, and which of them were not discarded."""
        # One reading of each length: the writer may clear the busy bit at any moment.
        length = slots["length"].copy()
        busy = (length & BUSY) != 0
        if busy.any():
            slots, length = slots[: busy.argmax()], length[: busy.argmax()]
        if ((length & ~DISCARD) != self._record.itemsize).any():
            raise LocalityError(
                "a record of the ring buffer does not have the expected "
                f"{self._record.itemsize} bytes: rebuild the probes (make probes)"
            )
        return slots, (length & DISCARD) == 0
