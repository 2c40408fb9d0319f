"""A recording played to the sinks that a live run has, in its own time or faster.

The sinks are given what they were given then, but for what a recording does not keep: a
time in queue that was not valid, and the padding.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

from locality.stream import Batch, interruptible

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from locality.stream import Sink

B = TypeVar("B", bound=Batch)


def play(timed: Iterable[tuple[float, B]], sinks: Sequence[Sink[B]], speed: float = 0) -> None:
    """Hand batches to the sinks when they are due, until the end, SIGINT or SIGTERM.

    Args:
        timed: Each batch with the seconds after the recording's start at which it came.
        sinks: Each gets every batch, in this order.
        speed: How many times faster than it was; 0 does not wait at all.

    Raises:
        BrokenPipeError: Nobody reads standard output any more.
    """
    begin = time.monotonic()
    with interruptible() as wait:
        for seconds, batch in timed:
            due = begin + seconds / speed if speed else begin
            while True:
                if wait(due - time.monotonic()).stop:
                    return
                if time.monotonic() >= due:
                    break
            for sink in sinks:
                sink.write(batch)
