"""From the DataFrame of accepted connections to the numbers that tables and figures show."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from locality.machine.topology import Distance
from locality.reporting.over_time import binned, matrix_of

if TYPE_CHECKING:
    import pandas as pd

    from locality.arrays import Array
    from locality.machine.distance import Counts
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


def accept_distances(accepts: pd.DataFrame) -> Counts:
    """Connections by how far accept CPU and RX CPU are apart, nearest first."""
    counted = accepts["distance"].value_counts()
    return {distance: int(counted.get(distance.word, 0)) for distance in Distance}


def workers(accepts: pd.DataFrame) -> pd.DataFrame:
    """Each process on each CPU it accepted on, busiest first.

    Returns:
        Columns pid, cpu, comm (of its first accept), accepts, local, and missed_from: the
        RX CPU that most of its other accepts came from (NA if there are none, -1 if these
        had no RX CPU).
    """
    local = _is_local(accepts)
    who = accepts[["pid", "cpu"]].assign(local=local)
    found = who.groupby(["pid", "cpu"], sort=False).agg(
        accepts=("local", "size"), local=("local", "sum")
    )
    first = accepts.drop_duplicates(["pid", "cpu"])[["pid", "cpu", "comm"]]
    found.insert(0, "comm", first.set_index(["pid", "cpu"])["comm"].astype(str))
    misses = accepts.loc[~local, ["pid", "cpu", "rxcpu"]]
    by_rxcpu = misses.groupby(["pid", "cpu", "rxcpu"]).size().rename("missed").reset_index()
    most = by_rxcpu.sort_values("missed").drop_duplicates(["pid", "cpu"], keep="last")
    missed_from = most.set_index(["pid", "cpu"])["rxcpu"].astype("Int64").rename("missed_from")
    return found.join(missed_from).reset_index().sort_values("accepts", ascending=False)


def waits(accepts: pd.DataFrame) -> Array:
    """The times in the accept queue that are known, ns, ascending."""
    return np.sort(accepts["wait_ns"].dropna().to_numpy(np.int64))
