"""The offset between two clocks, and whether one was set."""

from __future__ import annotations

import time

import pytest

from locality.cost import clock
from locality.cost.clock import Offset
from locality.machine.clocks import namespace_offset


# Bug: a clock that was set is not noticed, or each measurement passes for one that was.
def test_what_two_measurements_agree_on() -> None:
    assert Offset(10, 20).agreed(Offset(15, 30)) == Offset(15, 20)
    assert Offset(10, 20).agreed(Offset(20, 30)) == Offset(20, 20)
    assert Offset(10, 20).agreed(Offset(21, 30)) is None


# Bug: the offset is that of the other clock, or its bounds are the wrong way round.
def test_the_offset_of_this_machine() -> None:
    measured = clock.measure()
    assert measured.low <= measured.high
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
    real = time.clock_gettime_ns(time.CLOCK_REALTIME)
    after = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
    shift = namespace_offset()
    assert measured.agreed(Offset(real - after + shift, real - before + shift)) is not None


# Bug: the clock is set while it is read, and what was read before and after makes no offset.
@pytest.mark.parametrize("set_by", [-5_000, 5_000])
def test_a_clock_that_is_set_while_it_is_read(set_by: int, monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter(range(1, 1000))
    readings = iter(range(1000))

    def read(which: int) -> int:
        now = next(ticks)
        step = 0 if next(readings) < 15 else set_by
        return now if which == time.CLOCK_MONOTONIC else now + 1_000_000 + step

    monkeypatch.setattr(time, "clock_gettime_ns", read)
    measured = clock.measure(20)
    assert measured.low <= measured.high
    assert measured.middle == pytest.approx(1_000_000 + set_by + namespace_offset(), abs=2)
