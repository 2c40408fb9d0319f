"""From the DataFrame of accepted connections to the numbers that tables and figures show.

For notebooks: a report takes them from `locality.accept.aggregate`, without DataFrames.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from locality.accept.workers import NO_MISSES, WorkerCounts
from locality.reporting.over_time import binned, matrix_of

if TYPE_CHECKING:
    from locality.arrays import Array
    from locality.reporting.over_time import OverTime


def accept_over_time(accepts: pd.DataFrame) -> OverTime:
    """Accepts and accept-local in equal bins from the first accept to the last."""
    times = accepts["time"].to_numpy("datetime64[ns]").view(np.int64)
    return binned(times, np.ones(len(times), np.int64), _is_local(accepts).astype(np.int64))


def _is_local(accepts: pd.DataFrame) -> Array:
    return np.asarray(accepts["cpu"].to_numpy() == accepts["rxcpu"].to_numpy())


def accept_matrix(accepts: pd.DataFrame, possible: int) -> Array:
    """(CPUs, CPUs) connections by RX CPU and accept CPU, those whose RX CPU is known."""
    rxcpu, cpu = accepts["rxcpu"].to_numpy(), accepts["cpu"].to_numpy()
    known = (rxcpu >= 0) & (rxcpu < possible) & (cpu >= 0) & (cpu < possible)
    return matrix_of(rxcpu[known], cpu[known], np.ones(int(known.sum()), np.int64), possible)


def workers(accepts: pd.DataFrame) -> pd.DataFrame:
    """Each process on each CPU it accepted on, busiest first.

    Returns:
        Columns pid, cpu, comm (of its first accept), accepts, local, and missed_from: the
        RX CPU that most of its other accepts came from (NA if there are none, -1 if these
        had no RX CPU).
    """
    comm = accepts["comm"].cat
    counts = WorkerCounts()
    pid, cpu, rxcpu = (accepts[name].to_numpy() for name in ("pid", "cpu", "rxcpu"))
    counts.add(
        *(pid, cpu, rxcpu, comm.codes.to_numpy()),
        [name.encode() for name in comm.categories],
    )
    found = counts.table()
    missed = pd.Series(found.missed_from).astype("Int64")
    columns = {
        "pid": found.pid,
        "cpu": found.cpu,
        "comm": [name.decode() for name in found.comm],
        "accepts": found.accepts,
        "local": found.local,
        "missed_from": missed.mask(missed == NO_MISSES),
    }
    return pd.DataFrame(columns)


def waits(accepts: pd.DataFrame) -> Array:
    """The times in the accept queue that are known, ns, ascending."""
    return np.sort(accepts["wait_ns"].dropna().to_numpy(np.int64))
