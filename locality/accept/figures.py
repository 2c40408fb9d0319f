"""The report's figures of accepted connections: see `locality.reporting.figures`."""

from __future__ import annotations

from typing import TYPE_CHECKING

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

    import pandas as pd
    from matplotlib.figure import Figure

    from locality.arrays import Array


def workers_bars(workers: pd.DataFrame) -> Figure:
    """The busiest workers: accepts, and which part local.

    Args:
        workers: As `report_numbers.workers` gives them.
    """
    shown = workers.head(MOST_WORKERS).iloc[::-1]
    figure, axis = figure_of(height=1.2 + 0.28 * len(shown))
    places = np.arange(len(shown))
    accepts, local = (shown[name].to_numpy(np.int64) for name in ("accepts", "local"))
    axis.barh(places, local, color=LOCAL, label="local")
    axis.barh(places, accepts - local, left=local, color=REMOTE, hatch=HATCH, label="elsewhere")
    names = [
        f"{plain(comm)}/{pid} on CPU {cpu}"
        for comm, pid, cpu in zip(shown["comm"], shown["pid"], shown["cpu"], strict=True)
    ]
    axis.set_yticks(places, names, parse_math=False)
    axis.xaxis.set_major_formatter(EngFormatter(sep=""))
    axis.set_xlabel("accepts")
    legend(figure, axis)
    return figure


def wait_distribution(waits: Mapping[str, Array]) -> Figure:
    """How many connections waited how long in the accept queue, cumulated.

    Args:
        waits: By legend: ns, ascending.
    """
    return time_distribution(
        waits, "connections, %", "waited in the queue for at most (dotted: median, p99)"
    )
