"""Before and after: the size of a change and its interval."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from locality.reporting.statistics import FEWEST_BLOCKS, Change, Series, block_length, compare


def noisy(share: float, bins: int, seed: int, *, memory: float = 0.0) -> Series:
    """A run of about 500 events a bin whose share wanders: AR(1) with this memory."""
    draw = np.random.default_rng(seed)
    noise = draw.normal(size=bins)
    for now in range(1, bins):
        noise[now] += memory * noise[now - 1]
    total = draw.poisson(500, bins)
    chance = np.clip(share + 0.05 * np.sqrt(1 - memory**2) * noise, 0, 1)
    return Series(draw.binomial(total, chance), total)


def flat(local: int, total: int, bins: int = 40) -> Series:
    return Series(np.full(bins, local), np.full(bins, total))


def found(before: list[Series], after: list[Series]) -> Change:
    change = compare(before, after)
    assert change is not None
    return change


# Bugs: before and after exchanged; shares taken for percent; an interval that lies elsewhere.
@pytest.mark.parametrize("runs", [1, 4])
def test_a_known_shift_is_found(runs: int) -> None:
    before = [noisy(0.25, 100, seed, memory=0.5) for seed in range(runs)]
    after = [noisy(0.40, 100, 50 + seed, memory=0.5) for seed in range(runs)]
    change = found(before, after)
    assert change.interval is not None
    low, high = change.interval
    assert low < 15 < high
    assert 10 < low < change.effect < high < 20
    assert change.shown
    assert f"{change.effect:+.2f} percentage points, 95 % interval {low:+.2f}" in change.sentence
    assert "no difference" not in change.sentence


# Bug: packets taken for independent of each other: with a memory of several bins an interval
# without blocks misses zero in half of all comparisons of a server with itself.
@pytest.mark.parametrize(("bins", "memory"), [(60, 0.0), (60, 0.5), (300, 0.9)])
def test_without_a_shift_the_interval_nearly_always_holds_zero(bins: int, memory: float) -> None:
    wrong = 0
    for seed in range(100):
        before, after = (noisy(0.4, bins, number, memory=memory) for number in (seed, 1000 + seed))
        wrong += found([before], [after]).shown
    assert wrong <= 15


# Bug: the length of a block does not follow the memory of the run.
def test_a_run_with_memory_is_cut_into_longer_blocks() -> None:
    short, long = (block_length(noisy(0.4, 400, 3, memory=memory)) for memory in (0.0, 0.95))
    assert short < 12
    assert long > 2 * short


# Bug: three runs that differ widely are taken for one long certain run: what differs from
# start to start is left out.
def test_runs_are_what_is_compared_when_there_are_several() -> None:
    before = [flat(share, 1000) for share in (200, 300, 400)]
    after = [flat(share, 1000) for share in (250, 350, 450)]
    change = found(before, after)
    assert change.effect == pytest.approx(5)
    assert not change.shown
    assert "no difference shown" in change.sentence
    assert "runs" in change.method
    assert found(before[1:2], after[1:2]).shown
    assert "several runs" in found(before[1:2], after).method


# Bugs: division by a variance of zero; dust of floating point taken for a difference.
@pytest.mark.parametrize("runs", [1, 2])
def test_constant_shares(runs: int) -> None:
    third, whole = [flat(1, 3)] * runs, [flat(7, 7)] * runs
    assert found(whole, whole).interval == (0, 0)
    assert not found(third, third).shown
    assert found(third, whole).interval == pytest.approx((200 / 3, 200 / 3))
    assert found(third, whole).shown


# Bug: an interval out of nothing: one block cannot show how blocks differ.
@pytest.mark.parametrize("bins", [1, 2, 3, FEWEST_BLOCKS - 1])
def test_a_recording_that_is_too_short_has_no_interval(bins: int) -> None:
    change = found([flat(1, 4, bins)], [flat(3, 4)])
    assert change.interval is None
    assert not change.shown
    assert change.effect == pytest.approx(50)
    assert "no interval" in change.sentence


# Bug: a run without a single event counts as 0 percent, or ends in a division by zero.
def test_runs_of_nothing() -> None:
    assert compare([flat(0, 0)], [flat(1, 2)]) is None
    assert compare([], [flat(1, 2)]) is None
    assert found([flat(0, 0), flat(1, 2)], [flat(1, 2)]).before == 50


# Bug: series of unlike length are added up with each other.
def test_a_series_is_two_columns_of_one_length() -> None:
    with pytest.raises(ValueError, match="shapes"):
        Series(np.zeros(3), np.zeros(4))


counts = st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), min_size=1, max_size=60)


# Bugs: any warning or NaN out of bins that are empty, of few blocks, of runs of nothing; an
# interval beyond what a share can move by, or one that changes from call to call or when the
# sides are exchanged turns its sign wrongly.
@given(st.tuples(*[st.lists(counts, min_size=1, max_size=3)] * 2))
@settings(deadline=None, max_examples=60)
def test_any_counts(sides: tuple[list[list[tuple[int, int]]], ...]) -> None:
    before, after = (
        [
            Series(np.array([one for one, _ in run]), np.array([one + other for one, other in run]))
            for run in side
        ]
        for side in sides
    )
    change = compare(before, after, resamples=200)
    assert change == compare(before, after, resamples=200)
    back = compare(after, before, resamples=200)
    assert (change is None) == (back is None)
    if change is None or back is None:
        return
    assert back.effect == pytest.approx(-change.effect)
    assert (change.interval is None) == (back.interval is None)
    if change.interval is not None:
        low, high = change.interval
        assert -100 <= low <= high <= 100
