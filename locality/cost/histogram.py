"""Histograms of times as the kernel side keeps them: eight buckets of equal width a doubling.

A time is known to within 12.5 % of itself, and a percentile is given as the middle of a bucket: it
is off by 6.25 % at most. The probes' side is probes/read_times.h.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from locality.arrays import Array

#: Times below 2^6 ns and from 2^34 ns (17 s) on have a bucket each.
LOWEST_BIT, HIGHEST_BIT = 6, 33
PARTS = 8


def _edges() -> Array:
    doublings = 2 ** np.arange(LOWEST_BIT, HIGHEST_BIT + 1, dtype=np.int64)
    parts = doublings[:, None] + doublings[:, None] // PARTS * np.arange(PARTS)
    return np.concatenate([[0], parts.ravel(), [2 ** (HIGHEST_BIT + 1)]])


#: (buckets,) the shortest time of each bucket, ns.
EDGES = _edges()
BUCKETS = len(EDGES)
#: (buckets,) what stands for the times of a bucket; for the last one, which has no end, the least.
MIDDLES = np.append((EDGES[:-1] + EDGES[1:]) / 2, EDGES[-1])


def bucket_of(ns: int) -> int:
    """The bucket of a time."""
    return int(np.searchsorted(EDGES, ns, side="right")) - 1


def percentile(counts: Array, percent: float) -> float | None:
    """The middle of the bucket that holds a percentile, ns; None of nothing.

    Args:
        counts: (buckets,) how many times fell into each.
        percent: 50 for the median.
    """
    total = int(counts.sum())
    if not total:
        return None
    rank = max(1, int(np.ceil(total * percent / 100)))
    return float(MIDDLES[int(np.searchsorted(np.cumsum(counts), rank))])
