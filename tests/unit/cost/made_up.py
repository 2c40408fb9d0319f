"""Intervals of times made up for tests."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from locality.cost.bill import Bill
from locality.cost.histogram import bucket_of
from locality.cost.interval import LEFT_OUT, READER, TIME, WAIT, CostInterval
from locality.machine.topology import Distance

BILL = Bill(
    *(1000, 1500, 900, 30_000_000, 400, 50, 20, 7),
    causes={"sched_ttwu_pending": 30, "flush_tlb_func": 20},
)


class Times(NamedTuple):
    """So many reads or wake-ups that took so long."""

    ns: int
    reads: int
    distance: Distance = Distance.CPU
    measure: int = WAIT


def reader(pid: int, port: int = 80, **more: Any) -> np.void:  # noqa: ANN401
    """A reader with nothing but its numbers; `more` are fields, or counts of `LEFT_OUT`."""
    row: np.void = np.zeros(1, READER)[0]
    row["netns"], row["port"], row["protocol"] = 4026531833, port, 6
    row["pid"], row["comm"] = pid, b"worker"
    for name, value in more.items():
        if name in LEFT_OUT:
            row["left_out"][LEFT_OUT.index(name)] = value
        else:
            row[name] = value
    return row


def interval(
    *of: tuple[np.void, list[Times]],
    lost: int = 0,
    **more: object,
) -> CostInterval:
    """An interval of these readers with their times."""
    cells = [
        (place, one.measure, one.distance, bucket_of(one.ns), one.reads)
        for place, (_, times) in enumerate(of)
        for one in times
    ]
    whole = {"time": 1_790_000_001.25, "seconds": 2.0, "rung": "fentry", "clock_steps": 0}
    return CostInterval(
        readers=np.array([row for row, _ in of], READER) if of else np.zeros(0, READER),
        times=np.array(cells, TIME) if cells else np.zeros(0, TIME),
        lost=lost,
        **whole | more,  # type: ignore[arg-type]
    )
