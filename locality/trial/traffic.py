"""The connections of a port while a trial runs, and the loop that hands them out."""

from __future__ import annotations

import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from locality.accept.source import AcceptSource, Filter
from locality.connections.source import ConnectionSource
from locality.trial.arms import Sockets

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from locality.accept.batch import Records
    from locality.arrays import Array
    from locality.stream import Awakened
    from locality.trial.targets import Target

#: Seconds between readings of the rings.
PERIOD_S = 0.05
#: For what is accepted while an interval is worked out.
_RING_BYTES = 16 << 20


class Taken(NamedTuple):
    """What one reading gave.

    Attributes:
        now: Seconds of the monotonic clock.
        accepts: dtype `locality.accept.batch.ACCEPT`.
        inodes: (accepts,) their listening sockets; 0 where not known.
        connections: dtype `locality.connections.source.CONNECTION`: those that have ended.
    """

    now: float
    accepts: Records
    inodes: Array
    connections: Records


class Ending(NamedTuple):
    """Why the loop ended.

    Attributes:
        stopped: A signal asked to end.
        harm: Why a taker ended it; None if none did.
    """

    stopped: bool = False
    harm: str | None = None

    @property
    def early(self) -> bool:
        """Whether it ended before its time."""
        return self.stopped or self.harm is not None


@dataclass
class Traffic:
    """The sources of a trial, attached.

    Attributes:
        accepts: Each accept at once.
        connections: Each connection when it has ended.
        wait: From `locality.stream.interruptible`.
        sockets: Finds the listening socket of an accept.
    """

    accepts: AcceptSource
    connections: ConnectionSource
    wait: Callable[[float], Awakened]
    sockets: Sockets = field(default_factory=Sockets)
    _lost: int = 0
    _lost_before: int = 0

    @property
    def lost(self) -> int:
        """Accepts and connections that were lost since the last `discard`."""
        return self._lost - self._lost_before

    def run(self, seconds: float, takers: Sequence[Callable[[Taken], str | None]] = ()) -> Ending:
        """Read until the time is over, a signal comes, or a taker ends it.

        Args:
            seconds: How long.
            takers: Each gets every reading, in this order. A text that one returns ends the loop,
                and says why.
        """
        end = time.monotonic() + seconds
        while True:
            left = end - time.monotonic()
            stopped = self.wait(max(0.0, min(PERIOD_S, left))).stop
            now = time.monotonic()
            taken = self._take(now)
            harm = None
            for taker in takers:
                harm = taker(taken) or harm
            if stopped or harm or now >= end:
                return Ending(stopped, harm)

    def discard(self) -> None:
        """Leave out what has come until now."""
        self._take(0.0)
        self._lost_before = self._lost

    def _take(self, now: float) -> Taken:
        # Accepts first: who ended was accepted before.
        accepts = self.accepts.read()
        connections = self.connections.read()
        self._lost = accepts.lost + connections.lost
        inodes = self.sockets.of(accepts.records)
        return Taken(now, accepts.records, inodes, connections.records)


@contextmanager
def watching(target: Target, wait: Callable[[float], Awakened]) -> Iterator[Traffic]:
    """Attach the probes of both sources for the time of the block.

    Raises:
        Unsupported: This kernel allows none for one of them.
    """
    wanted = Filter(ports=(target.port,), netns=target.netns)
    with ExitStack() as stack:
        connections = stack.enter_context(ConnectionSource(wanted, ring_bytes=_RING_BYTES))
        accepts = stack.enter_context(AcceptSource(wanted, ring_bytes=_RING_BYTES))
        yield Traffic(accepts, connections, wait)
