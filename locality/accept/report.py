"""What the report says of accepted connections: sentences, tables, figures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from locality.accept import figures, numbers
from locality.reporting import figures as draw
from locality.reporting.blocks import Measure, picture
from locality.reporting.page import Table
from locality.reporting.sections import counted, distance_blocks
from locality.text import duration, percent, share

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from locality.recording.frames import Recording
    from locality.reporting.blocks import Block, Named
    from locality.reporting.page import Section


def events(recording: Recording) -> int:
    """Connections."""
    return len(recording.accepts)


def headline(recording: Recording) -> str:
    """How many were accepted, and how local."""
    accepts = recording.accepts
    what = f"{counted(len(accepts), 'connection')} accepted"
    if not len(accepts):
        return what
    local = int((accepts["cpu"] == accepts["rxcpu"]).sum())
    of_all = percent(share(local, len(accepts)), 2)
    return f"{what}, {of_all} on the CPU that received their packets"


def cautions(recording: Recording) -> Iterator[str]:
    """What was lost."""
    if recording.lost:
        lost = counted(recording.lost, "connection")
        yield f"{lost} lost beside {events(recording):,} seen; shares are of those seen"


def blocks(prefix: str, recording: Recording) -> Iterator[Block]:
    """Figures and tables of a recording of accepts."""
    accepts = recording.accepts
    over_time = numbers.accept_over_time(accepts)
    yield picture(
        f"{prefix}local-over-time",
        "Connections accepted on their RX CPU, and connections a second, over time.",
        draw.local_over_time({"accept-local": over_time}, "accepts/s"),
    )
    matrix = numbers.accept_matrix(accepts, recording.meta.possible)
    without = len(accepts) - int(matrix.sum())
    beside = f" Not in it: {counted(without, 'connection')} without RX CPU." if without else ""
    yield picture(
        f"{prefix}matrix",
        f"Connections by RX CPU and accept CPU; the diagonal is local.{beside}",
        draw.heat_map(matrix, "RX CPU", "accept CPU"),
    )
    yield picture(
        f"{prefix}per-cpu",
        "Connections by RX CPU (left) and by accept CPU (right).",
        draw.per_cpu(matrix, "RX CPU", "accept CPU"),
    )
    found = numbers.workers(accepts)
    yield picture(
        f"{prefix}workers", "Workers by accepts, the busiest first.", figures.workers_bars(found)
    )
    yield _workers_table(found)
    times = numbers.waits(accepts)
    if len(times):
        median, p99 = (duration(float(np.percentile(times, rank))) for rank in (50, 99))
        yield picture(
            f"{prefix}queue-wait",
            f"Time in the accept queue of {counted(len(times), 'connection')}: "
            f"median {median}, p99 {p99}.",
            figures.wait_distribution({"accepts": times}),
        )
    else:
        yield "Time in the accept queue was not seen on this rung."
    classes = {"accepts": numbers.accept_distances(accepts)}
    yield from distance_blocks(prefix, recording, classes, "RX and accept")


def _workers_table(found: pd.DataFrame) -> Table:
    rows = []
    for worker in found.head(draw.MOST_WORKERS).to_dict("records"):
        missed = worker["missed_from"]
        rows.append(
            (
                str(worker["comm"]),
                str(worker["pid"]),
                str(worker["cpu"]),
                f"{worker['accepts']:,}",
                percent(share(worker["local"], worker["accepts"])),
                "-" if pd.isna(missed) else "none" if missed < 0 else str(missed),
            )
        )
    return Table(
        ("worker", "pid", "CPU", "accepts", "local", "misses mostly of RX CPU"), tuple(rows)
    )


MEASURES = (
    Measure(
        "accept-local",
        "accept",
        lambda recording: numbers.accept_over_time(recording.accepts),
        lambda recording: numbers.accept_distances(recording.accepts),
    ),
)


def change_sections(_before: Sequence[Named], _after: Sequence[Named]) -> Iterator[Section]:
    """Nothing beside `MEASURES`."""
    yield from ()
