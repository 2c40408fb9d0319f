"""Recordings: batches to an Arrow IPC stream that can be read whatever ends the recorder.

The format is that of `locality.recording.format`.
"""

from __future__ import annotations

import io
import json
import os
import stat
import time
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pyarrow as pa

from locality.accept.columns import address
from locality.accept.source import WAIT_KNOWN
from locality.errors import LocalityError
from locality.machine.topology import WORDS
from locality.recording.format import ACCEPT_SCHEMA, KEY, SKB_SCHEMA
from locality.skb.interval import RX, TX

if TYPE_CHECKING:
    from pathlib import Path

    from locality.accept.source import AcceptBatch, Records
    from locality.arrays import Array
    from locality.machine.topology import Topology
    from locality.recording.format import Meta
    from locality.skb.interval import Interval

#: No connection waits longer than this to be written, in seconds ...
FLUSH_S = 1.0
#: ... and no more of them than this at once.
FLUSH_ROWS = 1 << 17

#: Batches are compressed: half the size, and a disk is slower than LZ4.
OPTIONS = pa.ipc.IpcWriteOptions(compression="lz4")

DIRECTIONS = pa.array(["rx", "tx"])


def create(path: Path, *, force: bool = False) -> int:
    """Make a new file that only its owner may read.

    Args:
        path: Where.
        force: Replace a regular file of that name.

    Returns:
        A descriptor to write to.

    Raises:
        LocalityError: There is something of that name, or no file can be made there.
    """
    try:
        if force and _is_regular(path):
            # A new file, not the old one emptied: who reads the old one may finish.
            path.unlink()
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        if _is_regular(path):
            raise LocalityError(f"{path} exists: --force replaces it", exit_code=2) from None
        raise LocalityError(f"cannot write {path}: it is no regular file", exit_code=2) from None
    except OSError as error:
        raise LocalityError(f"cannot write {path}: {error.strerror}") from None


def _is_regular(path: Path) -> bool:
    """Whether a file of this name, not a link to one, is there."""
    return path.exists() and stat.S_ISREG(path.lstat().st_mode)


class _Pending(io.RawIOBase):
    """What Arrow wants written, kept until it makes a whole batch."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._position = 0

    def writable(self) -> bool:
        return True

    def write(self, piece: Any) -> int:  # noqa: ANN401 - any buffer, as in io
        self._pieces.append(bytes(piece))
        self._position += len(self._pieces[-1])
        return len(self._pieces[-1])

    def tell(self) -> int:
        return self._position

    def take(self) -> bytes:
        """All of it, once."""
        taken = b"".join(self._pieces)
        self._pieces.clear()
        return taken


class Recorder:
    """A recording that is being written.

    Args:
        path: The new file, mode 0600.
        meta: What its reader must know.
        force: Replace a file of that name.

    Raises:
        LocalityError: The file exists, or cannot be written.
    """

    def __init__(self, path: Path, meta: Meta, *, force: bool = False) -> None:
        self._path = path
        self._meta = meta
        self._lost = 0
        self._count = 0
        self._written = 0
        self._pending = _Pending()
        self._fd = create(path, force=force)
        self._open = True
        self._schema = meta.schema()
        self._stream = pa.ipc.new_stream(self._pending, self._schema, options=OPTIONS)
        # Arrow writes the schema with the first batch: an empty one, so that it is there at once.
        self._append(self._nothing())

    def _nothing(self) -> pa.RecordBatch:
        return pa.RecordBatch.from_pylist([], schema=self._schema)

    def _append(self, batch: pa.RecordBatch, **said: int) -> None:
        """Write a batch to the disk, or nothing of it."""
        told = {KEY: json.dumps({"lost": self._lost, **said}).encode()}
        self._stream.write_batch(batch, custom_metadata=told)
        self._to_disk(self._pending.take())

    def _to_disk(self, data: bytes) -> None:
        left = memoryview(data)
        try:
            while left:
                left = left[os.write(self._fd, left) :]
            os.fdatasync(self._fd)
        except OSError as error:
            # What is there of the batch is worth nothing; the ones before it stay.
            os.ftruncate(self._fd, self._written)
            os.close(self._fd)
            self._open = False
            raise LocalityError(
                f"cannot record to {self._path}: {error.strerror}; what was recorded before can "
                "be read"
            ) from None
        self._written += len(data)

    def close(self) -> None:
        """Write what is left and how it ended; nothing if the disk refused before."""
        if not self._open:
            return
        self._append(self._nothing(), ended=time.time_ns(), count=self._count)
        self._stream.close()
        self._to_disk(self._pending.take())
        os.close(self._fd)
        self._open = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()


class AcceptRecorder(Recorder):
    """A sink that records connections: a batch a second, or more often if they are many."""

    def __init__(self, path: Path, meta: Meta, *, force: bool = False) -> None:
        self._machine = meta.machine
        self._kept: list[Records] = []
        self._rows = 0
        self._due = time.monotonic() + FLUSH_S
        super().__init__(path, meta, force=force)

    def write(self, batch: AcceptBatch) -> None:
        """Take a batch."""
        if not self._open:
            return
        self._lost = batch.lost
        if len(batch):
            self._kept.append(batch.records)
            self._rows += len(batch)
        if self._rows >= FLUSH_ROWS or time.monotonic() >= self._due:
            self._flush()

    def _flush(self) -> None:
        self._due = time.monotonic() + FLUSH_S
        if not self._rows:
            return
        records = np.concatenate(self._kept)
        self._kept.clear()
        self._rows = 0
        self._append(accept_rows(records, self._meta.clock_offset, self._machine))
        self._count += len(records)

    def close(self) -> None:
        """Write what is left and how it ended."""
        if self._open:
            self._flush()
        super().close()


class SkbRecorder(Recorder):
    """A sink that records intervals, each with its whole matrix."""

    def write(self, batch: Interval) -> None:
        """Take an interval."""
        if not self._open:
            return
        self._lost = batch.lost
        self._append(interval_rows(batch))
        self._count += 1


def accept_rows(records: Records, clock_offset: int, machine: Topology) -> pa.RecordBatch:
    """Records as rows of `ACCEPT_SCHEMA`; addresses and names once for each distinct one."""
    times = (records["time"] + np.uint64(clock_offset)).astype(np.int64)
    waits = records["wait"].astype(np.int64)
    found: dict[str, pa.Array] = {
        "time": pa.array(times).cast(ACCEPT_SCHEMA.field("time").type),
        "comm": _names(records),
        "laddr": _addresses(records, "laddr"),
        "raddr": _addresses(records, "raddr"),
        "wait_ns": pa.array(waits, mask=(records["flags"] & WAIT_KNOWN) == 0),
        "distance": pa.DictionaryArray.from_arrays(
            pa.array(machine.distance(records["cpu"], records["rxcpu"]).astype(np.int8)),
            pa.array(WORDS),
        ),
    }
    for name in ACCEPT_SCHEMA.names:
        if name not in found:
            found[name] = pa.array(np.ascontiguousarray(records[name]))
    columns = [found[field.name].cast(field.type) for field in ACCEPT_SCHEMA]
    return pa.RecordBatch.from_arrays(columns, schema=ACCEPT_SCHEMA)


def _distinct(keys: Array) -> pa.DictionaryArray:
    """Numbers for the distinct ones among keys of fixed size."""
    size = keys.dtype.itemsize
    return pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(size), len(keys), [None, pa.py_buffer(keys.tobytes())]
    ).dictionary_encode()


def _names(records: Records) -> pa.DictionaryArray:
    encoded = _distinct(records["comm"])
    names = [name.rstrip(b"\0") for name in encoded.dictionary.to_pylist()]
    return pa.DictionaryArray.from_arrays(encoded.indices, pa.array(names, pa.binary()))


def _addresses(records: Records, field: str) -> pa.DictionaryArray:
    keys = np.empty(len(records), dtype=[("family", "u1"), ("address", "u1", (16,))])
    keys["family"], keys["address"] = records["family"], records[field]
    encoded = _distinct(keys)
    texts = [address(key) for key in encoded.dictionary.to_pylist()]
    return pa.DictionaryArray.from_arrays(encoded.indices, pa.array(texts, pa.utf8()))


def nanoseconds(time_s: float) -> int:
    """Seconds as whole nanoseconds: exact, which the product of a float is not."""
    whole = int(time_s)
    return whole * 10**9 + round((time_s - whole) * 10**9)


def interval_rows(interval: Interval) -> pa.RecordBatch:
    """An interval as rows of `SKB_SCHEMA`: the totals of rx and tx, then the pairs of CPUs."""
    direction, alloc, consume = np.nonzero(interval.matrix)
    cells = len(direction)
    time_ns = nanoseconds(interval.time)

    def both(of_totals: list[int | None], of_cells: Array | None = None) -> pa.Array:
        below = pa.nulls(cells, pa.int64()) if of_cells is None else pa.array(of_cells)
        return pa.concat_arrays([pa.array(of_totals, pa.int64()), below.cast(pa.int64())])

    flows = (interval.rx, interval.tx)
    found = {
        "time": pa.array(np.full(cells + 2, time_ns)),
        "seconds": pa.array(np.full(cells + 2, interval.seconds)),
        "direction": pa.DictionaryArray.from_arrays(
            pa.array(np.concatenate([[RX, TX], direction]).astype(np.int8)), DIRECTIONS
        ),
        "alloc_cpu": both([None, None], alloc),
        "consume_cpu": both([None, None], consume),
        "packets": both(
            [flow.packets for flow in flows], interval.matrix[direction, alloc, consume]
        ),
        "delivered": both([interval.delivered, None]),
        "delivered_local": both([interval.delivered_local, None]),
        "apart": both(list(interval.apart)),
        "together": both(list(interval.together)),
        "lost": both([interval.lost, interval.lost]),
    }
    for name in ("local", "freed_local", "deferred", "unknown"):
        found[name] = both([getattr(flow, name) for flow in flows])
    columns = [found[field.name].cast(field.type) for field in SKB_SCHEMA]
    return pa.RecordBatch.from_arrays(columns, schema=SKB_SCHEMA)
