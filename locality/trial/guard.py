"""The guard against harm: it looks at the server while a trial runs, and says when to stop.

A trial moves the connections of real users. Where they are refused, wait much longer than before,
or all come to one worker, it must end at once. What is looked at is told apart from what was there
before: by the rate of the A/A part where there was one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from locality.accept.batch import WAIT_KNOWN
from locality.text import duration

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from locality.accept.batch import Records
    from locality.arrays import Array
    from locality.trial.counters import Refusals

#: Seconds of accepts that waiting and imbalance are judged by.
WINDOW_S = 2.0
#: Fewer accepts than this in the window say nothing of them.
FEWEST = 100
#: Counted events are harm where they are more than was expected by so many standard deviations.
_DEVIATIONS = 4.0
#: Imbalance is harm where it is so many times the one before.
_MORE = 1.5


@dataclass(frozen=True)
class Bounds:
    """What is harm.

    Attributes:
        overflows: More connections that an accept queue had no room for than this, since the
            trial began, beyond what the rate before explains.
        drops: More packets dropped by a CPU's backlog, or SYNs refused, than this; the same.
        wait_times: The p99 of the time in the accept queue is more than so many times what it was
            before, and more than `wait_s`.
        wait_s: Seconds. Where it is not known how it was before, so many times of these are harm.
        imbalance: A socket gets more than so many times its even share, and more than one and a
            half times what the busiest socket got before.
    """

    overflows: int = 10
    drops: int = 100
    wait_times: float = 10.0
    wait_s: float = 0.05
    imbalance: float = 3.0

    @property
    def words(self) -> str:
        """All of them, for people."""
        return (
            f"more than {self.overflows} accept-queue overflows, {self.drops} drops, a p99 of "
            f"waiting beyond {self.wait_times:g} times the one before and {self.wait_s * 1e3:g} "
            f"ms, or {self.imbalance:g} times the even share on one socket"
        )


@dataclass
class Watched:
    """What was seen of a server over some time.

    Attributes:
        seconds: For how long.
        overflows: Connections that an accept queue had no room for; None where it is not known.
        drops: Packets dropped and SYNs refused; None where it is not known.
        wait_ns: The p99 of the time in the accept queue; None of too few.
        imbalance: How many times its even share the busiest socket got; None of too few.
    """

    seconds: float
    overflows: int | None
    drops: int | None
    wait_ns: float | None
    imbalance: float | None


@dataclass
class Guard:
    """Takes accepts and counters while a trial runs.

    Args:
        bounds: What is harm.
        sockets: How many listening sockets share the connections.
    """

    bounds: Bounds
    sockets: int
    before: Watched | None = None
    _began: float = 0.0
    _judging: bool = False
    _first: Refusals | None = None
    _last: Refusals | None = None
    _recent: list[tuple[float, Array, Array]] = field(default_factory=list)
    _waits: list[Array] = field(default_factory=list)
    _inodes: list[Array] = field(default_factory=list)
    _seen: dict[str, tuple[float, float]] = field(default_factory=dict)

    def begin(self, now: float, refusals: Refusals) -> None:
        """Count from now on.

        Args:
            now: Seconds of the monotonic clock.
            refusals: Counters as they are.
        """
        self._began, self._first, self._last = now, refusals, refusals
        self._recent.clear()
        self._waits.clear()
        self._inodes.clear()
        self._seen.clear()

    def write(self, now: float, accepts: Records, inodes: Array) -> None:
        """Take accepts of the server's, with their listening sockets."""
        known = (accepts["flags"] & WAIT_KNOWN) > 0
        waits = accepts["wait"][known]
        self._recent.append((now, waits, inodes))
        self._recent = [part for part in self._recent if part[0] > now - WINDOW_S]
        if not self._judging:
            self._waits.append(waits)
            self._inodes.append(inodes)

    def finish_before(self, now: float, refusals: Refusals) -> None:
        """What was seen until now is how it is without the trial."""
        self._last = refusals
        waits = np.concatenate(self._waits) if self._waits else np.zeros(0)
        self.before = Watched(
            seconds=now - self._began,
            overflows=self._counted("overflows"),
            drops=self._counted("drops"),
            wait_ns=float(np.percentile(waits, 99)) if len(waits) >= FEWEST else None,
            imbalance=self._imbalance(self._inodes),
        )

    def harm(self, now: float, refusals: Refusals) -> str | None:
        """What harm there is, in words; None if there is none."""
        self._judging, self._last = True, refusals
        return next(self._harms(now), None)

    def _harms(self, now: float) -> Iterator[str]:
        for name, bound, words in (
            ("overflows", self.bounds.overflows, "connections found an accept queue full"),
            ("drops", self.bounds.drops, "packets or SYNs were dropped"),
        ):
            counted, expected = self._counted(name), self._expected(name, now)
            if counted is not None and counted > expected + bound:
                yield f"{counted} {words} since the trial began, and {expected:.0f} were expected"
        for lasting in (self._long_wait(), self._uneven()):
            if lasting is not None and self._lasts(lasting[0], now):
                yield lasting[1]

    def _lasts(self, name: str, now: float) -> bool:
        """Whether something is so for longer than a window: what else runs may hold all up once."""
        began, seen = self._seen.get(name, (now, now))
        # Not seen at the last look, or at the one before: it is new.
        began = now if now - seen > WINDOW_S / 2 else began
        self._seen[name] = (began, now)
        return now - began >= WINDOW_S

    def _long_wait(self) -> tuple[str, str] | None:
        waits = np.concatenate([part[1] for part in self._recent] or [np.zeros(0)])
        if len(waits) < FEWEST:
            return None
        now_ns, before = float(np.percentile(waits, 99)), self.before and self.before.wait_ns
        floor, times = self.bounds.wait_s * 1e9, self.bounds.wait_times
        if now_ns <= max(floor, times * (before or floor)):
            return None
        was = f", and {duration(before)} before the trial" if before else ""
        return "wait", f"1 % of the connections waited {duration(now_ns)} to be accepted{was}"

    def _uneven(self) -> tuple[str, str] | None:
        times = self._imbalance([part[2] for part in self._recent])
        usual = (self.before.imbalance if self.before else None) or 0.0
        if times is None or times <= max(self.bounds.imbalance, _MORE * usual):
            return None
        return "share", f"one of {self.sockets} sockets gets {times:.1f} times its even share"

    def _imbalance(self, parts: Sequence[Array]) -> float | None:
        """How many times its even share the busiest socket gets; None of too few."""
        inodes = np.concatenate(parts or [np.zeros(0)])
        if len(inodes) < FEWEST or self.sockets < 2:  # noqa: PLR2004 - one has all
            return None
        return float(np.unique(inodes, return_counts=True)[1].max()) * self.sockets / len(inodes)

    def _counted(self, name: str) -> int | None:
        first, last = getattr(self._first, name, None), getattr(self._last, name, None)
        return last - first if first is not None and last is not None else None

    def _expected(self, name: str, now: float) -> float:
        """How many there would be without the trial, and what chance may add to that."""
        counted = getattr(self.before, name, None)
        if not self.before or not counted or self.before.seconds <= 0:
            return 0.0
        usual = float(counted) * (now - self._began) / self.before.seconds
        return usual + _DEVIATIONS * float(np.sqrt(usual))
