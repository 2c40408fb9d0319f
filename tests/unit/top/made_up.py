"""Intervals of reads made up for tests."""

from __future__ import annotations

from typing import Any

import numpy as np

from locality.top.interval import DISTANCES, READER, TopInterval


def reader(tid: int, port: int = 80, **more: Any) -> np.void:  # noqa: ANN401
    """A reader with nothing but its numbers; `more` are fields."""
    row: np.void = np.zeros(1, READER)[0]
    row["netns"], row["port"], row["protocol"] = 4026531833, port, 6
    row["pid"], row["tid"], row["comm"] = 1 + tid // 10, tid, b"worker"
    row["sources"] = -1
    for name, value in more.items():
        row[name] = value
    if not row["reads"]:
        row["reads"] = sum(int(row[name]) for name in DISTANCES)
    return row


def interval(*rows: np.void, lost: int = 0, **more: object) -> TopInterval:
    """An interval of these readers."""
    whole = {"time": 1_790_000_001.25, "seconds": 2.0, "rung": "fentry", "bytes_seen": True}
    readers = np.array([*rows], READER) if rows else np.zeros(0, READER)
    return TopInterval(readers=readers, lost=lost, **whole | more)  # type: ignore[arg-type]
