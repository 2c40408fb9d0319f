"""Accepts and reads of made-up connections: who reads what another thread accepted."""

from __future__ import annotations

import numpy as np

from locality.accept.batch import ACCEPT, AcceptBatch
from locality.explain.hand_off import Connections, HandOff, hand_off
from locality.reads.batch import ReadBatch
from locality.reads.tcp import TCP_READ


def accepts(*rows: tuple[int, int, int]) -> AcceptBatch:
    """Accepts of (time, client's port, thread)."""
    records = np.zeros(len(rows), ACCEPT)
    for record, (time, port, tid) in zip(records, rows, strict=True):
        record["rport"], record["tid"], record["netns"], record["lport"] = port, tid, 1, 80
        record["time"] = time
        record["raddr"][:4] = (127, 0, 0, 1)
    return AcceptBatch(records, 0, 0)


def reads(*rows: tuple[int, int, int, int, int]) -> ReadBatch:
    """Reads of (time, client's port, thread, CPU, RX CPU)."""
    records = np.zeros(len(rows), TCP_READ)
    for record, (time, port, tid, cpu, rxcpu) in zip(records, rows, strict=True):
        record["rport"], record["tid"], record["netns"], record["lport"] = port, tid, 1, 80
        record["time"] = time
        record["raddr"][:4] = (127, 0, 0, 1)
        record["cpu"], record["rxcpu"] = cpu, rxcpu
    return ReadBatch(records, 0)


# Bugs: a later read counts for the first; connections of before, or never read, count as handed
# off; connections are told apart by a part of their name only, or not from earlier ones with the
# same ends.
def test_the_first_read_tells_who_serves() -> None:
    accepted, read = Connections(), Connections()
    accepted.write(accepts((10, 1000, 7), (11, 1001, 7)))
    accepted.write(accepts((12, 1002, 8), (13, 256, 8), (30, 1000, 8)))  # 1000: another one
    read.write(reads((14, 1000, 7, 0, 0), (15, 1001, 9, 0, 1), (16, 1000, 9, 0, 0)))
    read.write(reads((17, 256, 8, 1, 1), (18, 2000, 9, 1, 0), (31, 1000, 9, 0, 0)))
    seen = hand_off(accepted, read)
    assert seen == HandOff(
        connections=4, elsewhere=2, reads=6, local=4, threads=frozenset({7, 8, 9})
    )
    assert seen.is_usual


# Bug: nothing seen is a division by zero, or a server that hands everything off.
def test_nothing_was_read() -> None:
    accepted = Connections()
    accepted.write(accepts((1, 1000, 7)))
    seen = hand_off(accepted, Connections())
    assert (seen.connections, seen.reads) == (0, 0)
    assert not seen.is_usual
