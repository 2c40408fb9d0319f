"""The guard that ends a trial which does harm."""

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


def lasting(
    guard: Guard,
    start: float,
    records: np.ndarray[tuple[int], np.dtype[np.void]],
    inodes: np.ndarray[tuple[int], np.dtype[np.int64]],
) -> str | None:
    """What the guard says of accepts that go on for twice as long as it looks back."""
    harm = None
    for look in range(9):
        now = start + look * WINDOW_S / 4
        guard.write(now, records, inodes)
        harm = guard.harm(now, NONE)
        assert harm is None or look * WINDOW_S / 4 >= WINDOW_S, "a moment is no harm"
    return harm


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
    harm = lasting(guard, 12.0, accepts(1000, now_ms), np.arange(1000) % 4)
    assert (harm is not None) == is_harm
    assert not harm or "waited" in harm
    assert lasting(guard, 30.0, accepts(1000, 1), np.arange(1000) % 4) is None


# Bug: without knowing how it was before, the first late thread ends the trial.
def test_without_a_before_only_very_long_waits_are_harm() -> None:
    guard = Guard(Bounds(), 4)
    guard.begin(0.0, NONE)
    assert lasting(guard, 1.0, accepts(1000, 400), np.arange(1000) % 4) is None
    assert lasting(guard, 20.0, accepts(1000, 600), np.arange(1000) % 4) is not None


# Bugs: one worker gets everything and nobody notices; ten connections are taken for a trend.
def test_imbalance_needs_enough_connections() -> None:
    assert lasting(guarded(), 12.0, accepts(10, 1), np.zeros(10, np.int64)) is None
    harm = lasting(guarded(), 12.0, accepts(100, 1), np.zeros(100, np.int64))
    assert "4.0 times its even share" in (harm or "")
    alone = guarded(sockets=1)
    assert lasting(alone, 12.0, accepts(1000, 1), np.zeros(1000, np.int64)) is None


# Bug: a server whose packets all come to one CPU is stopped for what it was before.
def test_imbalance_from_before_is_no_harm() -> None:
    guard = Guard(Bounds(), 4)
    guard.begin(0.0, NONE)
    guard.write(1.0, accepts(1000, 1), np.zeros(1000, np.int64))
    guard.finish_before(10.0, NONE)
    guard.begin(10.0, NONE)
    assert lasting(guard, 12.0, accepts(1000, 1), np.zeros(1000, np.int64)) is None
