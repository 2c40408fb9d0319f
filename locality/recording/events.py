"""Recordings whose rows are events: written a second at a time, played as they came."""

from __future__ import annotations

import time
from abc import abstractmethod
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar

import numpy as np

from locality.recording.writer import Recorder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    import pyarrow as pa

    from locality.arrays import Array
    from locality.recording.format import Meta

#: No event waits longer than this to be written, in seconds ...
FLUSH_S = 1.0
#: ... and no more of them than this at once.
FLUSH_ROWS = 1 << 17

#: Seconds between the batches of a replay in its own time, as in a live run.
TICK = 0.05


class Events(Protocol):
    """A batch of records of one dtype; a dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def records(self) -> Any:  # noqa: ANN401 - a structured array
        """One an event."""

    @property
    def lost(self) -> int:
        """Records that were missed, since the source was opened."""
        ...

    @property
    def cgroups(self) -> Mapping[int, str]:
        """Paths of cgroups in the records, by id; of those that could be told."""
        ...


E = TypeVar("E", bound=Events)


class EventRecorder(Recorder):
    """A sink that records events: a batch a second, or more often if they are many."""

    def __init__(self, path: Path, meta: Meta, *, force: bool = False) -> None:
        self._kept: list[Any] = []
        self._rows = 0
        self._cgroups: dict[int, str] = {}
        self._due = time.monotonic() + FLUSH_S
        super().__init__(path, meta, force=force)

    @abstractmethod
    def _rows_of(self, records: Any) -> pa.RecordBatch:  # noqa: ANN401 - each kind's own
        """Records as rows of the kind's columns."""

    def write(self, batch: Events) -> None:
        """Take a batch."""
        if not self._open:
            return
        self._lost = batch.lost
        self._cgroups.update(batch.cgroups)
        if len(batch.records):
            self._kept.append(batch.records)
            self._rows += len(batch.records)
        if self._rows >= FLUSH_ROWS or time.monotonic() >= self._due:
            self._flush()

    def _flush(self) -> None:
        self._due = time.monotonic() + FLUSH_S
        if not self._rows:
            return
        records = np.concatenate(self._kept)
        self._kept.clear()
        self._rows = 0
        self._append(self._rows_of(records))
        # Each batch tells those of its own records.
        self._cgroups.clear()
        self._count += len(records)

    def close(self) -> None:
        """Write what is left and how it ended."""
        if self._open:
            self._flush()
        super().close()


def timed(
    batches: Iterable[E], ages: Callable[[E], Array], speed: float = 0
) -> Iterator[tuple[float, E]]:
    """The batches of a recording, each with the seconds after the start at which it came.

    A recorder writes once a second. A replay in time cuts what it wrote into pieces as they
    were read then, and gives an empty one where nothing came.

    Args:
        batches: As they were written.
        ages: ns from the recording's start to each event of a batch.
        speed: As of `locality.recording.replay.play`; 0 gives the batches as they were written.
    """
    tick = TICK * speed
    before = -1
    for batch in batches:
        if not speed:
            yield 0.0, batch
            continue
        # CPUs write side by side: a record may be a little older than the one before it.
        since = ages(batch).astype(np.int64) / (tick * 10**9)
        ticks = np.maximum.accumulate(since.astype(np.int64).clip(min=before))
        numbers, first = np.unique(ticks.clip(min=0), return_index=True)
        pieces = np.split(batch.records, first[1:])
        for number, records in zip(numbers.tolist(), pieces, strict=True):
            for idle in range(before + 1, number):
                yield (idle + 1) * tick, replace(batch, records=batch.records[:0])
            yield (number + 1) * tick, replace(batch, records=records)
            before = number
