"""The report's figures of accepted connections: see `locality.reporting.figures`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

import locality.reporting.settings  # noqa: F401 - before matplotlib: see there

# isort: split
from matplotlib.ticker import EngFormatter

from locality.reporting.figures import (
    HATCH,
    LOCAL,
    MOST_WORKERS,
    REMOTE,
    figure_of,
    legend,
    plain,
    time_distribution,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.figure import Figure

    from locality.arrays import Array


#: Inches of a letter of a tick label, at most and on average; and the letters of the longest one.
_LETTER, _LONGEST = 0.085, 44


def workers_bars(workers: Mapping[str, Any]) -> Figure:
    """The busiest workers: accepts, and which part local.

    Args:
        workers: Columns, the busiest first: a DataFrame of `locality.accept.numbers.workers`, or a
            `locality.accept.workers.Workers` as a mapping.
    """
    pids, cpus, comms, accepts, local = (
        np.asarray(workers[name])[:MOST_WORKERS][::-1]
        for name in ("pid", "cpu", "comm", "accepts", "local")
    )
    names = [
        _shortened(f"{plain(comm)}/{pid} on CPU {cpu}")
        for comm, pid, cpu in zip(comms, pids, cpus, strict=True)
    ]
    left = _LETTER * max(map(len, names), default=0) + 0.2
    figure, axis = figure_of(height=1.0 + 0.28 * len(pids), left=left)
    places = np.arange(len(pids))
    axis.barh(places, local, color=LOCAL, label="local")
    axis.barh(places, accepts - local, left=local, color=REMOTE, hatch=HATCH, label="elsewhere")
    axis.set_yticks(places, names, parse_math=False)
    axis.xaxis.set_major_formatter(EngFormatter(sep=""))
    axis.set_xlabel("accepts")
    legend(figure, axis)
    return figure


def _shortened(name: str) -> str:
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST // 2]}...{name[-_LONGEST // 2 :]}"


def wait_distribution(waits: Mapping[str, Array]) -> Figure:
    """How many connections waited how long in the accept queue, cumulated.

    Args:
        waits: By legend: ns, ascending.
    """
    return time_distribution(
        waits, "connections, %", "waited in the queue for at most (dotted: median, p99)"
    )
