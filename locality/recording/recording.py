"""A recording that was read: what it says of itself, and what was made of its rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from locality.kinds import KINDS
from locality.recording.reader import Reader

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    import pyarrow as pa

    from locality.recording.format import Meta


@dataclass(frozen=True)
class Recording:
    """What `locality.load` gives. Its frames are attributes; NA is a figure that was not seen.

    Of every kind of measurement the frames are there, with their columns; those of the kinds
    that were not recorded have no rows. docs/reference/recordings.md lists the columns of each.

    ``accepts``: one row a connection. ``connections``: one row a connection that ended. ``skb``:
    one row for each interval, direction and pair of CPUs that had packets. ``skb_totals``: one row
    for each interval and direction. ``udp``: the frames of datagrams, see
    `locality.udp.frames.UdpFrames`. ``trial``: those of a trial, see
    `locality.trial.frames.TrialFrames`.

    Attributes:
        meta: Where, on which rung and with which filter; how it ended.
        frames: The frames by name.
        lost: The latest count of what was lost; also of a recording that was cut.
        torn: Bytes at the end that were not read: see `locality.recording.reader.Reader`.
        note: In words, what is wrong with the end; empty if nothing.
    """

    meta: Meta
    frames: Mapping[str, Any]
    lost: int
    torn: int
    note: str

    @property
    def kind(self) -> str:
        """The kind of measurement: a key of `locality.kinds.KINDS`."""
        return self.meta.kind

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - a frame, or what holds frames
        """A frame by its name."""
        # Not self.frames: while a copy is unpickled, that is not there yet.
        frames = self.__dict__.get("frames", {})
        if name not in frames:
            raise AttributeError(f"a recording has no {name!r}")
        return frames[name]


class Aggregate(Protocol):
    """What a report needs of a recording, added up batch by batch; made for its `Meta`.

    Attributes:
        COLUMNS: Of the file: those that it needs; empty for all.
    """

    COLUMNS: ClassVar[Sequence[str]]

    def __init__(self, meta: Meta) -> None: ...

    def add(self, rows: pa.RecordBatch) -> None:
        """Add a batch of the file."""
        ...


def add_up(
    path: Path,
    progress: Callable[[int, int], object] | None = None,
    tell: Callable[[str], object] = lambda _note: None,
) -> Recording | None:
    """Read a recording for a report, in memory that does not grow with its length.

    Args:
        path: The file.
        progress: As of `locality.load`.
        tell: As of `Reader`.

    Returns:
        With one frame, ``aggregate``: an `Aggregate` of its kind. None: its kind has none.

    Raises:
        LocalityError: It cannot be read, or is no recording.
    """
    with Reader(path, tell) as reader:
        lazy = KINDS[reader.meta.kind].aggregate
        if lazy is None:
            return None
        make = lazy.get()
        aggregate = make(reader.meta)
        reader.choose(make.COLUMNS)
        for rows in reader:
            aggregate.add(rows)
            if progress is not None:
                progress(reader.read, reader.size)
        frames = {"aggregate": aggregate}
        return Recording(reader.meta, frames, reader.lost, reader.torn, reader.note)
