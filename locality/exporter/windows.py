"""Probes that are attached in random windows of time, and cost nothing between them.

The pauses are exponential, as RFC 2330 (11.1.1) recommends for sampling: such windows fall into
step with nothing that repeats on the machine, and each moment is as likely to be in one.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections import defaultdict, deque
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

from locality.errors import LocalityError
from locality.exporter import metrics
from locality.exporter.failures import Failures
from locality.exporter.share_interval import interval

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterator, Sequence

    from prometheus_client import Metric

    from locality.exporter.measures import Measure, Share
    from locality.exporter.metrics import PortLabels

#: The share is told over so many of the last windows.
KEPT = 60
#: A pause is at most so many times as long as they are on average.
LONGEST = 5.0
#: What is tried each time, in the words of the log.
_WINDOW = "a window was not measured"


def pause(
    length: float,
    duty: float,
    draw: random.Random = secrets.SystemRandom(),  # noqa: B008
) -> float:
    """A random time between two windows.

    Args:
        length: Of a window, s.
        duty: The share of the time that windows take, above 0 and below 1.
        draw: Where chance comes from.
    """
    mean = length * (1 / duty - 1)
    return min(draw.expovariate(1 / mean), LONGEST * mean)


class Windows:
    """Attaches and detaches the probes of measurements.

    Args:
        measures: Their probes are attached; they are detached until the first window.
        lock: Held by who reads the counters.
        duty: The share of the time that windows take.
        length: Of a window, s.
        tell: Takes a line for the log.

    Attributes:
        last: What the last windows showed, by name: see `Measure.shares`.
    """

    def __init__(
        self,
        measures: Sequence[Measure],
        lock: threading.Lock,
        duty: float,
        length: float,
        tell: Callable[[str], None],
    ) -> None:
        self._measures = measures
        self._lock = lock
        self._duty = duty
        self._length = length
        self._failures = Failures(tell)
        self._count, self._seconds = 0, 0.0
        self._before: dict[str, Share] = {}
        self.last: dict[str, deque[Share]] = defaultdict(lambda: deque(maxlen=KEPT))
        with lock:
            for measure in measures:
                measure.detach()
            self._take()

    def begin(self, settled: Callable[[], None], ended: threading.Event) -> threading.Thread:
        """Attach and detach, in a thread of its own.

        Args:
            settled: Called first by that thread.
            ended: Set when it is to end.
        """

        def work() -> None:
            if not self._failures.survive(_WINDOW, settled):
                return  # with more privileges it does not go on
            while not ended.wait(pause(self.taken, self._duty)):
                self._failures.survive(_WINDOW, partial(self.window, ended.wait))

        thread = threading.Thread(target=work, name="windows", daemon=True)
        thread.start()
        return thread

    @property
    def taken(self) -> float:
        """How long a window takes with attaching and detaching, on average; s."""
        return self._seconds / self._count if self._count else self._length

    def window(self, wait: Callable[[float], object]) -> None:
        """One window. What the kernel refuses to attach is told once, and tried again next time.

        A window in which nothing could be attached is none, and is not counted.
        """
        begin = time.monotonic()
        try:
            with self._lock:
                attached = [self._attach(measure) for measure in self._measures]
            wait(self._length)
        except BaseException:
            with self._lock:
                self._detach()
            raise
        with self._lock:
            self._detach()
            if not any(attached):
                return
            self._seconds += time.monotonic() - begin
            self._count += 1
            for name, share in self._take().items():
                self.last[name].append(share)

    def _attach(self, measure: Measure) -> bool:
        """Attach its probes; False if the kernel refuses, which is told if it is news."""
        try:
            measure.attach()
        except LocalityError as refusal:
            self._failures.failed(measure.name, refusal)
            return False
        self._failures.worked(measure.name)
        return True

    def _detach(self) -> None:
        """Detach all probes, also where one of them cannot be detached."""
        with ExitStack() as stack:
            for measure in self._measures:
                stack.callback(measure.detach)

    def _take(self) -> dict[str, Share]:
        """What was counted since this was called last, by name."""
        grown: dict[str, Share] = {}
        for measure in self._measures:
            measure.read()
            for name, (local, total) in measure.shares().items():
                before_local, before_total = self._before.get(name, (0, 0))
                grown[name] = local - before_local, total - before_total
                self._before[name] = local, total
        return grown

    def families(self, ports: PortLabels) -> Iterator[Metric]:
        """See `locality.exporter.collect.Part`."""
        del ports
        windows, attached = metrics.WINDOWS.counter(), metrics.ATTACHED.counter()
        windows.add_metric([], self._count)
        attached.add_metric([], self._seconds)
        yield windows
        yield attached
        local = metrics.LOCAL.gauge()
        for name, shares in sorted(self.last.items()):
            if (known := interval(shares)) is not None:
                local.add_metric([name, "estimate"], known.share)
                local.add_metric([name, "lower"], known.low)
                local.add_metric([name, "upper"], known.high)
        if local.samples:
            yield local
