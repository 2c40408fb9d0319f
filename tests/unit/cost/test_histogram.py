"""Buckets of times, and percentiles from them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some

from locality.cost.histogram import BUCKETS, EDGES, bucket_of, percentile


def in_the_kernel(ns: int) -> int:
    """What bucket_of() of probes/read_times.h says, in its own words."""
    if ns < 1 << 6:
        return 0
    if ns >> 34:
        return BUCKETS - 1
    bit = ns.bit_length() - 1
    return 1 + (bit - 6 << 3) + (ns >> bit - 3 & 7)


# Bug: the kernel side counts a time in one bucket, and user space takes it for another.
@given(some.integers(0, 1 << 40))
def test_both_sides_mean_the_same_bucket(ns: int) -> None:
    assert bucket_of(ns) == in_the_kernel(ns)
    assert EDGES[bucket_of(ns)] <= ns


# Bug: a bucket is wider than it is said to be, or a time belongs to none.
def test_buckets_are_an_eighth_wide_at_most() -> None:
    lower, upper = EDGES[1:-1], EDGES[2:]
    assert ((upper - lower) / lower).max() <= 0.125
    assert (EDGES[0], EDGES[1], EDGES[-1]) == (0, 64, 1 << 34)
    assert [bucket_of(int(edge)) for edge in EDGES] == [*range(BUCKETS)]
    assert [bucket_of(int(edge) - 1) for edge in EDGES[1:]] == [*range(BUCKETS - 1)]


# Bugs: the median of an even number is the upper one; p99 of few is beyond the last.
@pytest.mark.parametrize(
    ("times", "percent", "expected"),
    [
        ([1000, 2000], 50, 1000),
        ([1000, 2000], 51, 2000),
        ([1000] * 99 + [5000], 99, 1000),
        ([1000] * 98 + [5000] * 2, 99, 5000),
        ([7000], 99, 7000),
    ],
)
def test_percentiles_are_in_the_middle_of_their_bucket(
    times: list[int], percent: float, expected: int
) -> None:
    counts = np.bincount([bucket_of(ns) for ns in times], minlength=BUCKETS)
    found = percentile(counts, percent)
    assert found == pytest.approx(expected, rel=0.0626)


# Bug: where nothing was timed, the first bucket is shown as a time.
def test_nothing_has_no_percentile() -> None:
    assert percentile(np.zeros(BUCKETS, "i8"), 50) is None
