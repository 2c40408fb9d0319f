"""Recordings: batches to an Arrow IPC stream that can be read whatever ends the recorder.

The format is that of `locality.recording.format`.
"""

from __future__ import annotations

import io
import json
import os
import time
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, Self

import pyarrow as pa

from locality.errors import LocalityError
from locality.files import create
from locality.recording.arrow import empty
from locality.recording.format import KEY
from locality.text import printable

if TYPE_CHECKING:
    from pathlib import Path

    from locality.recording.format import Meta


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


class Recorder(ABC):
    """A recording that is being written; each kind adds how a batch becomes rows.

    Attributes:
        COMPRESSION_LEVEL: Of Zstandard, with which batches are compressed. At level 3 it takes the
            CPU time of LZ4 for half of its size.

    Args:
        path: The new file, mode 0600.
        meta: What its reader must know.
        force: Replace a file of that name.

    Raises:
        LocalityError: The file exists, or cannot be written.
    """

    COMPRESSION_LEVEL: ClassVar[int] = 3

    def __init__(self, path: Path, meta: Meta, *, force: bool = False) -> None:
        self._path = path
        self._meta = meta
        self._lost = 0
        #: Told with each batch beside `lost`: counts by name, of the kind's own.
        self._told: dict[str, int] = {}
        self._told_last: dict[bytes, bytes] = {}
        self._count = 0
        self._written = 0
        self._pending = _Pending()
        self._fd = create(path, force=force)
        self._open = True
        self._schema = meta.schema()
        options = pa.ipc.IpcWriteOptions(compression=pa.Codec("zstd", self.COMPRESSION_LEVEL))
        self._stream = pa.ipc.new_stream(self._pending, self._schema, options=options)
        # Arrow writes the schema with the first batch: an empty one, so that it is there at once.
        self._append(self._nothing())

    @abstractmethod
    def write(self, batch: Any) -> None:  # noqa: ANN401 - each kind's own
        """Take a batch; it may be written later."""

    def _nothing(self) -> pa.RecordBatch:
        return empty(self._schema)

    def _append(self, batch: pa.RecordBatch, **said: int) -> None:
        """Write a batch to the disk, or nothing of it."""
        told = {KEY: json.dumps({"lost": self._lost, **self._told, **said}).encode()}
        # Where nothing changed, nothing is told: it would be 64 bytes of each batch.
        changed = told if told != self._told_last else None
        self._told_last = told
        self._stream.write_batch(batch, custom_metadata=changed)
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
                f"cannot record to {printable(str(self._path))}: {error.strerror}; what was "
                "recorded before can be read"
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
