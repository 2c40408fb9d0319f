"""Batches of reads, as the loop that hands them on counts and cuts them."""

from __future__ import annotations

import numpy as np

from locality.reads.batch import READ, ReadBatch


# Bugs: a record has holes, which the probe and Python fill differently; a batch that is cut
# forgets what was lost.
def test_a_batch_is_counted_and_cut() -> None:
    assert READ.itemsize == 32
    assert sum(READ[name].itemsize for name in READ.names or ()) == 32
    records = np.zeros(5, READ)
    records["tid"] = np.arange(5)
    batch = ReadBatch(records, lost=3)
    assert len(batch) == 5
    cut = batch.first(2)
    assert (len(cut), cut.records["tid"].tolist(), cut.lost) == (2, [0, 1], 3)
    assert len(batch.first(9)) == 5
