"""Rows of numbers that processes share: counters that are read while they are written.

The memory is a memfd of the process that made it. The others open it through /proc, so it
needs no name and goes with the last of them. Each row has one writer, each number is written
at once; rows fill cache lines of their own, so that counting on one CPU slows no other.
"""

from __future__ import annotations

import mmap
import os
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from locality.errors import LocalityError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

CACHE_LINE = 64

Rows = np.ndarray[tuple[int], np.dtype[np.void]]


@dataclass(frozen=True)
class SharedRows:
    """Rows, and where other processes find them."""

    rows: Rows
    """Zero at first."""
    path: str
    """Good until the block ends in which they were made."""


def layout(names: Sequence[str]) -> np.dtype[np.void]:
    """A row of 64-bit counters of these names, padded to whole cache lines."""
    size = -(-8 * len(names) // CACHE_LINE) * CACHE_LINE
    offsets = [8 * number for number in range(len(names))]
    fields: Any = {
        "names": list(names),
        "formats": ["u8"] * len(names),
        "offsets": offsets,
        "itemsize": size,
    }
    row: np.dtype[np.void] = np.dtype(fields)
    return row


@contextmanager
def shared_rows(row: np.dtype[np.void], count: int) -> Iterator[SharedRows]:
    """Rows to share; when the block ends no other process finds them any more.

    Raises:
        LocalityError: There is no memory for them.
    """
    with ExitStack() as stack:
        try:
            fd = os.memfd_create("locality-lab", os.MFD_CLOEXEC)
            stack.callback(os.close, fd)
            os.ftruncate(fd, row.itemsize * count)
            rows = _mapped(fd, row)
        except OSError as error:
            raise LocalityError(f"memory to share with the lab: {error.strerror}") from None
        yield SharedRows(rows, f"/proc/{os.getpid()}/fd/{fd}")


def open_rows(path: str, row: np.dtype[np.void]) -> Rows:
    """The rows that another process made.

    Raises:
        OSError: It has gone.
    """
    with Path(path).open("r+b") as file:
        return _mapped(file.fileno(), row)


def _mapped(fd: int, row: np.dtype[np.void]) -> Rows:
    return np.frombuffer(mmap.mmap(fd, os.fstat(fd).st_size), row)
