"""How large the next batch of an Arrow IPC stream becomes, before Arrow makes it that large.

Compressed buffers say how long they are when decompressed, and Arrow believes them: a file of some
kilobytes can ask for gigabytes. Here only the message's header and these lengths are read. The
layout is that of https://arrow.apache.org/docs/format/Columnar.html (encapsulated messages,
compressed buffers) and of Message.fbs and Schema.fbs beside it, in FlatBuffers' encoding
(https://flatbuffers.dev/internals/).
"""

from __future__ import annotations

import os
import re
import struct
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

#: What LZ4 can shrink at most. Zstandard can shrink more where all is alike: that is for batches of
#: no more than `SMALL_BATCH` bytes, and for packets between all pairs of many CPUs.
MOST_GROWTH = 255
SMALL_BATCH = 1 << 26
BYTES_OF_A_PAIR = 32

_CONTINUATION = 0xFFFFFFFF
#: A schema or batch of ours has some kilobytes of header; the metadata grow with the CPUs.
_LONGEST_HEADER = 1 << 28
#: A marker and a length stand before each header.
_HEAD = 8
#: The last batch of a recording, which has no rows, is within so many bytes of the end.
_LAST = 1 << 16
#: It says when the recorder ended; the schema has the same word, with null.
_ENDED = re.compile(rb'"ended": [0-9]')
_DICTIONARY_BATCH, _RECORD_BATCH = 2, 3  # union MessageHeader of Message.fbs


class _Table:
    """A FlatBuffers table: fields by number, as offsets into the buffer."""

    def __init__(self, data: bytes, at: int) -> None:
        self._data = data
        self._at = at
        self._vtable = at - self._number("<i", at)
        self._vtable_bytes = self._number("<H", self._vtable)

    def _number(self, form: str, at: int) -> int:
        if at < 0:
            raise struct.error("an offset points before the buffer")
        number: int = struct.unpack_from(form, self._data, at)[0]
        return number

    def _place(self, field: int) -> int | None:
        entry = 4 + 2 * field
        offset = self._number("<H", self._vtable + entry) if entry < self._vtable_bytes else 0
        return self._at + offset if offset else None

    def number(self, field: int, form: str) -> int:
        """A field that is a number; 0 if it is left out."""
        place = self._place(field)
        return 0 if place is None else self._number(form, place)

    def table(self, field: int) -> _Table | None:
        """A field that is a table."""
        place = self._place(field)
        return None if place is None else _Table(self._data, place + self._number("<I", place))

    def pairs(self, field: int) -> list[tuple[int, int]]:
        """A field that is a vector of structs of two 64-bit numbers."""
        place = self._place(field)
        if place is None:
            return []
        start = place + self._number("<I", place)
        count = self._number("<I", start)
        whole = self._data[start + 4 : start + 4 + 16 * count]
        if len(whole) != 16 * count:
            raise struct.error("a vector is longer than the buffer")
        return [struct.unpack_from("<qq", whole, 16 * index) for index in range(count)]


def next_batch_grows(descriptor: int, at: int) -> tuple[int, int]:
    """The size of the messages up to the next record batch, in the file and decompressed.

    Args:
        descriptor: The file.
        at: Where its next message begins.

    Returns:
        Bytes in the file and bytes of memory; both 0 where no whole message begins.

    Raises:
        ValueError: What begins there is no message.
    """
    stored = grown = 0
    with _no_messages():
        for message in _messages(descriptor, at):
            stored += message.size
            grown += _decompressed(descriptor, message.body, message.batch)
            if message.kind == _RECORD_BATCH:
                break
    return stored, grown


def rows_of_batches(descriptor: int) -> int:
    """The rows of all batches of a file, of which only headers are read.

    Args:
        descriptor: The file.

    Raises:
        ValueError: It is no stream of messages.
    """
    with _no_messages():
        return sum(
            message.batch.number(0, "<q")
            for message in _messages(descriptor, 0)
            if message.kind == _RECORD_BATCH
        )


def is_cut_off(descriptor: int, at: int, size: int) -> bool:
    """Whether what a file has from here on is the beginning of a batch, and no more.

    That is what a recorder leaves that was killed, or is writing still. If it is something else,
    the file was damaged after it was written.

    Args:
        descriptor: The file.
        at: Where a message should begin.
        size: Bytes of the file.
    """
    # A length that was damaged may point beyond the end of the file.
    if _has_its_end(descriptor, size):
        return False
    try:
        with _no_messages():
            for message in _messages(descriptor, at):
                at = message.body + message.size
                if message.kind == _RECORD_BATCH:
                    return at > size
    except ValueError:
        return False
    head = os.pread(descriptor, _HEAD, at)
    if len(head) < _HEAD:
        return True
    marker, length = struct.unpack("<II", head)
    begins: bool = marker == _CONTINUATION and 0 < length <= _LONGEST_HEADER
    ends = at + _HEAD + int(length)
    return begins and ends > size


def _has_its_end(descriptor: int, size: int) -> bool:
    """Whether a file ends with the batch that says how it ended, and the marker of the end."""
    last = os.pread(descriptor, _LAST, max(0, size - _LAST))
    marked = last.endswith(struct.pack("<II", _CONTINUATION, 0))
    return marked and _ENDED.search(last) is not None


@contextmanager
def _no_messages() -> Iterator[None]:
    """What reading of other bytes than those of messages raises, as a ValueError."""
    try:
        yield
    except (struct.error, OverflowError) as error:
        raise ValueError("a message that is none") from error


class _Message(NamedTuple):
    """A message with data: a batch, or a dictionary of one."""

    kind: int
    body: int
    size: int
    batch: _Table


def _messages(descriptor: int, at: int) -> Iterator[_Message]:
    """The messages with data that begin here, as far as they are whole; see `_no_messages`."""
    while True:
        head = os.pread(descriptor, _HEAD, at)
        if len(head) < _HEAD:
            return
        marker, length = struct.unpack("<II", head)
        if marker != _CONTINUATION or length > _LONGEST_HEADER:
            return
        header = os.pread(descriptor, length, at + _HEAD)
        if not length or len(header) < length:
            return
        message = _Table(header, struct.unpack_from("<I", header)[0])
        body = at + _HEAD + length
        size = message.number(3, "<q")
        kind = message.number(1, "<B")
        batch = message.table(2)
        if kind == _DICTIONARY_BATCH and batch is not None:
            batch = batch.table(1)
        if size < 0 or batch is None:
            raise ValueError("a message without its parts")
        if kind in {_DICTIONARY_BATCH, _RECORD_BATCH}:
            yield _Message(kind, body, size, batch)
        at = body + size


def _decompressed(descriptor: int, body: int, batch: _Table) -> int:
    """Bytes that the buffers of a batch take in memory."""
    compressed = batch.table(3) is not None
    total = 0
    for offset, length in batch.pairs(2):
        if offset < 0 or length < 0:
            raise ValueError("a buffer of a negative length")
        prefix = os.pread(descriptor, 8, body + offset) if compressed and length else b""
        whole = struct.unpack("<q", prefix)[0] if len(prefix) == 8 else length  # noqa: PLR2004
        # -1 marks a buffer that compression would not have shrunk.
        total += length if whole < 0 else whole
    return total
