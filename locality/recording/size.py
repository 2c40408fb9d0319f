"""How much memory a recording takes as DataFrames, before it is read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from locality.errors import LocalityError
from locality.recording.columns import frame_bytes
from locality.recording.message import most_rows
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
    """Check that a recording's frames fit into the memory that is available.

    Raises:
        LocalityError: They do not; says what does.
    """
    try:
        with path.open("rb", buffering=0) as file:
            found = frames_size(kind, most_rows(file.fileno()))
    except (OSError, ValueError):
        return  # who reads it says what is wrong with it
    available = _available()
    if found is None or available is None or found.bytes * WHILE_MADE <= available:
        return
    raise LocalityError(
        f"cannot load {printable(str(path))}: its DataFrames take {found}; {size(available)} of "
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
