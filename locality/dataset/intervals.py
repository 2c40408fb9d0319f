"""What recordings of intervals put into a data set: one interval at a time."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    import pyarrow as pa

    from locality.dataset.facts import Facts
    from locality.recording.format import Meta


class IntervalContents(ABC):
    """The contents of a recording; each kind adds what an interval has.

    Args:
        meta: Of the recording.
        facts: What to add it to.
    """

    measure: ClassVar[str]

    def __init__(self, meta: Meta, facts: Facts) -> None:
        self._facts, self._meta, self._lost = facts, meta, 0

    @abstractmethod
    def _interval_of(self, rows: pa.RecordBatch) -> Any:  # noqa: ANN401 - each kind's own
        """The interval behind a batch."""

    @abstractmethod
    def _add(self, interval: Any, middle: float) -> None:  # noqa: ANN401 - each kind's own
        """Add what was counted, at the middle of the interval: seconds since the epoch."""

    def add(self, rows: pa.RecordBatch) -> None:
        """Add an interval."""
        interval = self._interval_of(rows)
        middle = interval.time - interval.seconds / 2
        lost = max(0, interval.lost - self._lost)
        self._facts.period(middle, self.measure, interval.seconds, lost)
        self._lost = interval.lost
        self._add(interval, middle)

    def end(self, lost: int, ended: float | None) -> None:
        """Nothing more comes; what was missed, each interval has told."""
        del lost, ended
