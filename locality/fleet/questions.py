"""The questions that are asked of a data set, in Ibis: each is said once, for every engine.

Each function takes the table of a data set (`locality.dataset.schema`) and gives an expression that
an engine carries out. What it answers is as long as there are hosts and servers, however long was
measured.
"""

from __future__ import annotations

from functools import reduce
from operator import add, or_
from typing import Any

from locality.dataset.schema import (
    COUNT,
    EFFECT,
    EVIDENCE,
    PARTS,
    PERIOD,
    PRICE,
    RECORDING,
    SUMS,
)

#: Of ibis, which has no types that mypy could read here.
Table = Any

HOST = ("cluster", "host")
OF_MEASURE = (*HOST, "kind", "measure")
SERVER = ("protocol", "port", "outgoing", "name")
OF_SERVER = (*OF_MEASURE, *SERVER)
#: A number is smaller than this: its square times that of a count is still a number.
MOST = 1e120
#: What rows of a part must have, beside host and kind.
_OF_PART = {
    PERIOD: ("measure", "seconds"),
    COUNT: ("measure", *SERVER, *SUMS),
    EVIDENCE: (
        *("measure", *SERVER, "known", "local", "by_chance", "no_worker", "reachable", "mapped"),
        *("busiest", "worker_cpus"),
    ),
    PRICE: ("timed_local", "timed_remote", "local_ns", "remote_ns"),
    EFFECT: ("arm_a", "arm_b", "outcome", "unit", "better", "scale", "estimate", "low", "high"),
}
#: The same by column: the parts that must have it.
REQUIRED = {
    **dict.fromkeys(("cluster", "host", "kind", "time"), PARTS),
    **{
        name: tuple(part for part, names in _OF_PART.items() if name in names)
        for names in _OF_PART.values()
        for name in names
    },
}
_KNOWN = ("same_cpu", "same_core", "same_llc", "same_node", "other_node", "elsewhere")


def shares(facts: Table) -> Table:
    """Events of each host and measure, and how they vary over bins and over hours.

    Columns: `OF_MEASURE`; local, known, unknown: events. Over bins and over hours each: how many
    (bins, hours), and sums of squares of local (ll), of known (kk) and of products (lk).
    """
    counts = facts.filter(facts["part"] == COUNT)
    bins = counts.group_by([*OF_MEASURE, "time"]).agg(
        local=_sum(counts["same_cpu"]),
        known=_sum(reduce(add, (counts[name] for name in _KNOWN))),
        missing=_sum(counts["unknown"]),
    )
    bins = bins.mutate(hour=bins["time"].truncate("h"))
    hours = bins.group_by([*OF_MEASURE, "hour"]).agg(
        h_local=bins["local"].sum(),
        h_known=bins["known"].sum(),
        h_missing=bins["missing"].sum(),
        h_bins=bins.count(),
        **_squares(bins["local"], bins["known"], "bin"),
    )
    return hours.group_by([*OF_MEASURE]).agg(
        local=hours["h_local"].sum(),
        known=hours["h_known"].sum(),
        unknown=hours["h_missing"].sum(),
        bins=hours["h_bins"].sum(),
        hours=hours.count(),
        **{name: hours[name].sum() for name in ("bin_ll", "bin_lk", "bin_kk")},
        **_squares(hours["h_local"], hours["h_known"], "hour"),
    )


def servers(facts: Table) -> Table:
    """Events of each server: `OF_SERVER`, local and known."""
    counts = facts.filter(facts["part"] == COUNT)
    return counts.group_by([*OF_SERVER]).agg(
        local=_sum(counts["same_cpu"]),
        known=_sum(reduce(add, (counts[name] for name in _KNOWN))),
    )


def periods(facts: Table) -> Table:
    """How long was measured, and what was missed: `OF_MEASURE`, seconds and lost."""
    rows = facts.filter(facts["part"] == PERIOD)
    return rows.group_by([*OF_MEASURE]).agg(seconds=_sum(rows["seconds"]), lost=_sum(rows["lost"]))


def evidence(facts: Table) -> Table:
    """What tells the cause: `OF_SERVER`, and the columns of the part."""
    rows = facts.filter(facts["part"] == EVIDENCE)
    sums = ("known", "local", "by_chance", "no_worker", "reachable", "mapped", "busiest", "moved")
    return rows.group_by([*OF_SERVER]).agg(
        **{name: _sum(rows[name]) for name in sums},
        worker_cpus=rows["worker_cpus"].max(),
        # If it was not always the same, the last one in order; null if it was never known.
        program=rows["program"].max(),
    )


def prices(facts: Table) -> Table:
    """How much later remote reads come, over bins weighted by their remote reads.

    Columns: cluster, host; bins; w: the sum of the weights; wd: of weight times difference, ns; ww,
    wwd, wwdd: of the squares of the weights, times the difference, and times its square.
    """
    rows = facts.filter(facts["part"] == PRICE)
    weight = rows["timed_remote"].cast("float64")
    later = rows["remote_ns"] - rows["local_ns"]
    return rows.group_by([*HOST]).agg(
        bins=rows.count(),
        w=weight.sum(),
        wd=(weight * later).sum(),
        ww=(weight * weight).sum(),
        wwd=(weight * weight * later).sum(),
        wwdd=(weight * weight * later * later).sum(),
    )


def hosts(facts: Table) -> Table:
    """Each host: its recordings, kernel and CPUs."""
    rows = facts.filter(facts["part"] == RECORDING)
    return rows.group_by([*HOST]).agg(
        recordings=rows["recording"].nunique(),
        kernel=rows["kernel"].max(),
        cpus=rows["cpus"].max(),
    )


def effects(facts: Table) -> Table:
    """What each trial shows: a row for each outcome."""
    rows = facts.filter(facts["part"] == EFFECT)
    return rows.select(
        *HOST,
        *("recording", "target", "arm_a", "arm_b", "outcome", "unit", "better", "scale"),
        *("estimate", "low", "high", "units", "verdict"),
    )


def unusable(facts: Table) -> Table:
    """Rows without a value that their part must have, or with a number that cannot be added up.

    Columns: cluster, host, part; and no_NAME for each column of `REQUIRED`, how many rows lack it.
    There are only hosts with such rows.
    """
    lacks = {name: _lacks(facts, name, parts) for name, parts in REQUIRED.items()}
    rows = facts.mutate(**{f"no_{name}": lacking for name, lacking in lacks.items()})
    rows = rows.filter(reduce(or_, (rows[f"no_{name}"] for name in REQUIRED)))
    return rows.group_by([*HOST, "part"]).agg(
        **{f"no_{name}": rows[f"no_{name}"].cast("int64").sum() for name in REQUIRED}
    )


def _lacks(facts: Table, name: str, parts: tuple[str, ...]) -> Table:
    column = facts[name]
    lacking = column.isnull()
    if column.type().is_floating():
        lacking = lacking | column.isnan() | (column.abs() >= MOST)
    # A comparison with null is null, and that is no answer.
    return (facts["part"].isin(parts) & lacking).fill_null(False)


def newest_version(facts: Table) -> Table:
    """The newest version of any row: one number."""
    return facts.agg(version=facts["version"].max())


def _sum(column: Table) -> Table:
    """As a float, which squares of counts fit into and which every engine gives alike."""
    return column.cast("float64").sum()


def _squares(local: Table, known: Table, of: str) -> dict[str, Table]:
    return {
        f"{of}_ll": (local * local).sum(),
        f"{of}_lk": (local * known).sum(),
        f"{of}_kk": (known * known).sum(),
    }
