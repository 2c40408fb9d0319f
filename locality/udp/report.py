"""What the report says of datagrams: who gets them, on which CPU, of which flow."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from locality.reporting import figures as draw
from locality.reporting.blocks import Measure, picture
from locality.reporting.over_time import OverTime
from locality.reporting.page import Picture, Table
from locality.reporting.sections import lost_runs
from locality.reporting.statistics import Series
from locality.text import percent, share
from locality.udp import figures as draw_udp
from locality.udp import report_change
from locality.udp.advice import concentration, cures, meaning
from locality.udp.balance import (
    arrivals,
    balances,
    effective_sockets,
    endpoint,
    places_of,
    shares_of,
)
from locality.udp.processing import processed, rx_share, says_more
from locality.udp.text import busiest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pandas as pd

    from locality.arrays import Array
    from locality.recording.recording import Recording
    from locality.reporting.blocks import Block, Named
    from locality.reporting.page import Section
    from locality.udp.balance import Balance
    from locality.udp.interval import UdpInterval

#: The busiest have a figure of their own; the rest is counted in words.
MOST_GROUPS = 6
MOST_SOCKETS = 64
_AT_LEAST_TWO = 2


def udp_over(recording: Recording) -> OverTime:
    """Datagrams, and those read on their alloc CPU, interval by interval."""
    return udp_over_time(recording.udp.intervals, recording.udp.sockets)


def processed_over(recording: Recording) -> OverTime:
    """Datagrams, and those read on the CPU that processed them; no series if none was moved."""
    total = recording.udp.total
    over = udp_over_time(
        recording.udp.intervals, recording.udp.sockets, known="rx_known", local="rx_local"
    )
    return over if total is not None and says_more(total.sockets) else replace(over, series=None)


def events(recording: Recording) -> int:
    """Datagrams that were read or dropped."""
    total = recording.udp.total
    return 0 if total is None else int(arrivals(total.sockets).sum())


def headline(recording: Recording) -> str:
    """What was read where, and the single flow if there is one."""
    total = recording.udp.total
    if total is None or not (counted := events(recording)):
        return "0 datagrams"
    sockets = total.sockets
    known, local, read = (int(sockets[name].sum()) for name in ("known", "local", "datagrams"))
    sentence = (
        f"{read:,} datagrams read, {percent(share(local, known), 2)} on the CPU that allocated "
        f"them, {counted - read:,} dropped"
    )
    if (words := processed(sockets, 2)) is not None:
        sentence += f"; {words}"
    for one in busiest(balances(total))[:1]:
        if (words := concentration(one)) is not None:
            sentence += f"; {one.name}: {words}"
    return sentence


def cautions(recording: Recording) -> Iterator[str]:
    """What must be known of the figures: lost runs, unknown CPUs and lost samples."""
    yield from lost_runs(recording, "datagram")
    total = recording.udp.total
    if total is None:
        return
    read, known = (int(total.sockets[name].sum()) for name in ("datagrams", "known"))
    if known < read:
        yield f"of {read - known:,} of {read:,} datagrams the alloc CPU is not known"
    rx_known = int(total.sockets["rx_known"].sum())
    if says_more(total.sockets) and rx_known < read:
        yield (
            f"of {read - rx_known:,} of {read:,} datagrams the CPU that processed them is not known"
        )
    if total.flows_lost:
        yield (
            f"{total.flows_lost:,} samples of {int(total.sockets['sampled'].sum()):,} lost: shares "
            "of flows are of those kept"
        )


def blocks(prefix: str, recording: Recording) -> Iterator[Block]:
    """Figures and tables of a recording of datagrams."""
    total = recording.udp.total
    if total is None:
        return
    yield _totals_table(total)
    curves = {"datagrams": udp_over(recording)}
    caption = "Datagrams read on the CPU that allocated them"
    if says_more(total.sockets):
        curves = {
            "where allocated": curves["datagrams"],
            "where processed": processed_over(recording),
        }
        caption += ", those read on the CPU that processed them"
    yield picture(
        f"{prefix}local-over-time",
        f"{caption}, and datagrams a second, over time.",
        draw.local_over_time(curves, "datagrams/s"),
    )
    if total.matrix.any():
        yield picture(
            f"{prefix}matrix",
            "Datagrams by alloc CPU and reader's CPU; the diagonal is local.",
            draw.heat_map(total.matrix.astype(np.int64), "alloc CPU", "reader's CPU"),
        )
    found = [one for one in busiest(balances(total)) if one.counts.any()]
    for number, one in enumerate(found[:MOST_GROUPS], 1):
        yield from _group_blocks(f"{prefix}{number}-", one, total)
    if len(found) > MOST_GROUPS:
        yield f"The busiest {MOST_GROUPS} groups and lone sockets are shown; there are more."
    yield from _effective(prefix, recording, found[:MOST_GROUPS])


def _totals_table(total: UdpInterval) -> Table:
    rows = total.sockets
    known, local, read = (int(rows[name].sum()) for name in ("known", "local", "datagrams"))
    cells = (
        f"{read:,}",
        f"{read / total.seconds / 1000:,.1f}",
        f"{int(rows['bytes'].sum()) * 8 / total.seconds / 1e6:,.1f}",
        percent(share(local, known), 2),
        f"{read - known:,}",
        f"{int(rows['drops'].sum()):,}",
        f"{int(rows['refused'].sum()):,}",
        f"{int(rows['sampled'].sum()):,}",
        f"{total.flows_lost:,}",
    )
    heading = ("datagrams read", "kpps", "Mbit/s", "local", "CPU unknown", "dropped")
    return Table((*heading, "dropped for lack of UDP memory", "sampled", "samples lost"), (cells,))


def _local(row: Array, *, processed: bool) -> tuple[str, ...]:
    """Per cent read where allocated and, if that is shown, where processed."""
    if not row["datagrams"]:
        return ("-",) * (2 if processed else 1)
    local = percent(share(int(row["local"]), int(row["known"])))
    return (local, percent(rx_share(row))) if processed else (local,)


def _group_blocks(prefix: str, one: Balance, total: UdpInterval) -> Iterator[Block]:
    """One group: how even it is, the single flow and its cure, who reads."""
    sentence = f"{_of_sockets(one)}: {_evenness(one)}"
    if (words := concentration(one)) is not None:
        top = one.top_flow
        sentence += f"; {words}" + (f" ({top.samples:,} of {top.of:,} samples)" if top else "")
    yield f"{sentence}."
    if (means := meaning(one)) is not None:
        yield f"{means[0].upper()}{means[1:]}."
    for cure in cures(one):
        yield f"Cure: {cure.command}. It costs: {cure.cost}."
    if len(one.sockets) >= _AT_LEAST_TWO:
        yield picture(
            f"{prefix}shares",
            f"Share of each socket of {one.name}: datagrams read or dropped.",
            draw_udp.socket_shares({one.name: shares_of(one)}, places_of(one)),
        )
    yield _readers_table(one, total)


def _of_sockets(one: Balance) -> str:
    count = len(one.sockets)
    return one.name if one.group is None else f"{one.name}, {count} socket{'s'[: count != 1]}"


def _evenness(one: Balance) -> str:
    counted = f"{int(one.counts.sum()):,} datagrams"
    if len(one.sockets) < _AT_LEAST_TWO or one.imbalance is None or one.effective is None:
        return counted
    return f"{counted}, max/mean {one.imbalance:.2f}, effective sockets {one.effective:.2f}"


def _readers_table(one: Balance, total: UdpInterval) -> Table:
    """A row a reader, and one for each socket without; what is the socket's own is there once."""
    rows: list[tuple[str, ...]] = []
    whole = int(one.counts.sum())
    processed = says_more(total.sockets)
    for place, socket in list(zip(places_of(one), one.sockets, strict=True))[:MOST_SOCKETS]:
        own = (f"{int(socket['drops'] + socket['refused']):,}", f"{int(socket['peak']):,}")
        readers = one.readers[one.readers["inode"] == socket["inode"]]
        most = readers[np.argsort(-readers["datagrams"].astype("i8"), kind="stable")]
        names = [f"{_text(reader['comm'])}/{reader['tid']}" for reader in most[: draw.MOST_WORKERS]]
        for name, row in zip(names or ["-"], most if names else [socket], strict=False):
            part = share(int(row["datagrams"]), whole)
            batches = int(row["batches"])
            batch = f"{int(row['batched']) / batches:.1f}" if batches else "-"
            rows.append(
                (
                    place,
                    endpoint(socket),
                    name,
                    f"{int(row['datagrams']):,}",
                    percent(part),
                    *_local(row, processed=processed),
                    *own,
                    batch if total.batches_seen else "?",
                )
            )
            own = ("", "")
    heading = ("index", "socket", "reader", "read", "share", "local")
    second = ("where processed",) if processed else ()
    return Table((*heading, *second, "drops", "peak", "batch"), tuple(rows))


def _text(comm: bytes) -> str:
    return comm.decode(errors="backslashreplace")


def _effective(prefix: str, recording: Recording, found: Sequence[Balance]) -> Iterator[Picture]:
    curves = {}
    groups = [one for one in found if len(one.sockets) >= _AT_LEAST_TWO]
    for one in groups:
        curves[one.name] = effective_of(recording, int(one.sockets["group"][0]))
    if curves:
        yield picture(
            f"{prefix}effective",
            "Effective sockets over time: how many share the work as if evenly (exp of the "
            "entropy of the shares).",
            draw_udp.effective_over_time(curves, max(len(one.sockets) for one in groups)),
        )


def effective_of(recording: Recording, group: int) -> tuple[Array, Array]:
    """Seconds from the start, and the effective sockets of a group; NaN for an idle interval."""
    sockets = recording.udp.sockets
    mine = sockets[(sockets["group"] == group).fillna(value=False)]
    counts = mine["datagrams"] + mine["drops"] + mine["refused"]
    by_time = counts.groupby(mine["time"], sort=True)
    times = recording.udp.intervals["time"]
    effective = by_time.apply(lambda some: effective_sockets(some.to_numpy()) or np.nan)
    at = udp_over(recording).at
    return at, effective.reindex(times).to_numpy(np.float64)


def udp_over_time(
    intervals: pd.DataFrame, sockets: pd.DataFrame, known: str = "known", local: str = "local"
) -> OverTime:
    """Datagrams that were read, and how many on their alloc CPU, interval by interval.

    Args:
        intervals: `UdpFrames.intervals`.
        sockets: `UdpFrames.sockets`.
        known: The column of those whose CPU is known.
        local: The column of those that were read there.
    """
    seconds = intervals["seconds"].to_numpy(np.float64)
    names = ["datagrams", known, local]
    sums = sockets.groupby("time")[names].sum().reindex(intervals["time"], fill_value=0)
    datagrams, whole, part = (sums[name].to_numpy(np.int64) for name in names)
    return OverTime(np.cumsum(seconds) - seconds / 2, seconds, datagrams, Series(part, whole))


MEASURES = (
    Measure("datagrams, read on their alloc CPU", "udp", udp_over),
    Measure("datagrams, read on the CPU that processed them", "udp-processed", processed_over),
)


def change_sections(before: Sequence[Named], after: Sequence[Named]) -> Iterator[Section]:
    """How evenly the sockets share the datagrams, before and after."""
    yield from report_change.change_sections(before, after)
