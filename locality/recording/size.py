"""How much memory a recording takes as DataFrames, before it is read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from locality.errors import LocalityError
from locality.recording.columns import frame_bytes
from locality.recording.message import rows_of_batches
from locality.text import printable, size

if TYPE_CHECKING:
    from locality.kinds import Kind

#: While frames are made, there are also the batches and a table of them.
WHILE_MADE = 3
MEMORY = Path("/proc/meminfo")


@dataclass(frozen=True)
class FramesSize:
    """What `locality.load` makes of a recording.

    Attributes:
        rows: Of its largest frame.
        bytes: Of that frame.
    """

    rows: int
    bytes: int

    def __str__(self) -> str:
        return f"about {size(self.bytes)}, and {WHILE_MADE} times as much while they are made"


def frames_size(kind: Kind, rows: int) -> FramesSize | None:
    """The size of frames; None for a kind whose rows have different columns.

    Args:
        kind: Of the recording.
        rows: As `locality.recording.info.Info` counts them.
    """
    columns = kind.columns.get()
    if any(column.rows for column in columns) and not kind.main_row:
        return None
    return FramesSize(rows, rows * frame_bytes(columns, kind.main_row))


def require_memory(path: Path, kind: Kind) -> None:
    """Check that a recording's frames fit into the memory that is available, before it is read.

    Of a kind that keeps its rows in another form, that is not known yet: see `require_memory_of`.

    Raises:
        LocalityError: They do not; says what does.
    """
    if kind.stored:
        return
    try:
        with path.open("rb", buffering=0) as file:
            rows = rows_of_batches(file.fileno())
    except (OSError, ValueError):
        return  # who reads it says what is wrong with it
    require_memory_of(path, kind, rows, "its DataFrames")


def require_memory_of(path: Path, kind: Kind, rows: int, frames: str) -> None:
    """Check that frames fit into the memory that is available.

    Args:
        path: The recording.
        kind: Of the recording.
        rows: How many; as of `frames_size`.
        frames: What they are, in words.

    Raises:
        LocalityError: They do not; says what does.
    """
    found, available = frames_size(kind, rows), _available()
    if found is None or available is None or found.bytes * WHILE_MADE <= available:
        return
    raise LocalityError(
        f"cannot load {printable(str(path))}: {frames} take {found}; {size(available)} of "
        "memory are available. Use locality.load_chunks(), or columns= to load some columns"
    )


def _available() -> int | None:
    """Bytes that programs can still take; None if the kernel does not say."""
    try:
        lines = MEMORY.read_text().splitlines()
        line = next(line for line in lines if line.startswith("MemAvailable:"))
        return int(line.split()[1]) * 1024
    except (OSError, StopIteration, IndexError, ValueError):
        return None
