from __future__ import annotations

import numpy as np
import pytest

from locality.accept.batch import ACCEPT, WAIT_KNOWN
from locality.trial.counters import Refusals
from locality.trial.guard import WINDOW_S, Bounds, Guard

NONE = Refusals(0, 0)


def accepts(count: int, wait_ms: float) -> np.ndarray[tuple[int], np.dtype[np.void]]:
    records = np.zeros(count, ACCEPT)
    records["flags"] = WAIT_KNOWN
    records["wait"] = int(wait_ms * 1e6)
    return records


def guarded(*, before_ms: float = 1.0, overflows: int = 0, sockets: int = 4) -> Guard:
    """A guard that has seen ten seconds of what there was before, and now judges."""
    guard = Guard(Bounds(), sockets)
    guard.begin(0.0, NONE)
    guard.write(1.0, accepts(1000, before_ms), np.arange(1000) % sockets)
    guard.finish_before(10.0, Refusals(overflows, 0))
    guard.begin(10.0, Refusals(overflows, 0))
    return guard


# Bugs: refusals from before the trial end it; those of the trial do not.
def test_refusals_are_harm_where_they_are_more_than_before() -> None:
    assert guarded().harm(20.0, Refusals(10, 0)) is None
    assert "accept queue full" in (guarded().harm(20.0, Refusals(11, 0)) or "")
    assert "dropped" in (guarded().harm(20.0, Refusals(0, 101)) or "")
    usual = guarded(overflows=1000)
    assert usual.harm(20.0, Refusals(2000, 0)) is None
    assert usual.harm(20.0, Refusals(2500, 0)) is not None
    assert guarded().harm(20.0, Refusals(None, None)) is None


# Bugs: a server that always waits long is stopped at once; one that waits tenfold is not; what was
# long ago counts.
@pytest.mark.parametrize(
    ("before_ms", "now_ms", "is_harm"),
    [(1, 9, False), (1, 49, False), (1, 60, True), (20, 190, False), (20, 210, True)],
)
def test_waiting_is_judged_by_what_was_before(
    before_ms: float, now_ms: float, *, is_harm: bool
) -> None:
    guard = guarded(before_ms=before_ms)
    guard.write(12.0, accepts(1000, now_ms), np.arange(1000) % 4)
    harm = guard.harm(12.0, NONE)
    assert (harm is not None) == is_harm
    assert not harm or "waited" in harm
    later = 12.0 + 2 * WINDOW_S
    guard.write(later, accepts(1000, 1), np.arange(1000) % 4)
    assert guard.harm(later, NONE) is None


# Bug: without knowing how it was before, the first late thread ends the trial.
def test_without_a_before_only_very_long_waits_are_harm() -> None:
    guard = Guard(Bounds(), 4)
    guard.begin(0.0, NONE)
    guard.write(1.0, accepts(1000, 400), np.arange(1000) % 4)
    assert guard.harm(1.0, NONE) is None
    guard.write(1.5, accepts(1000, 600), np.arange(1000) % 4)
    assert guard.harm(1.5, NONE) is not None


# Bugs: one worker gets everything and nobody notices; ten connections are taken for a trend.
def test_imbalance_needs_enough_connections() -> None:
    guard = guarded()
    guard.write(12.0, accepts(50, 1), np.zeros(50, np.int64))
    assert guard.harm(12.0, NONE) is None
    guard.write(12.1, accepts(100, 1), np.zeros(100, np.int64))
    assert "4.0 times its even share" in (guard.harm(12.1, NONE) or "")
    alone = guarded(sockets=1)
    alone.write(12.0, accepts(1000, 1), np.zeros(1000, np.int64))
    assert alone.harm(12.0, NONE) is None


# Bug: a server whose packets all come to one CPU is stopped for what it was before.
def test_imbalance_from_before_is_no_harm() -> None:
    guard = Guard(Bounds(), 4)
    guard.begin(0.0, NONE)
    guard.write(1.0, accepts(1000, 1), np.zeros(1000, np.int64))
    guard.finish_before(10.0, NONE)
    guard.begin(10.0, NONE)
    guard.write(12.0, accepts(1000, 1), np.zeros(1000, np.int64))
    assert guard.harm(12.0, NONE) is None
