"""What the report says of one recording: sentences, tables, figures."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from locality.machine.distance import shares, shown
from locality.reporting import figures as draw
from locality.reporting import over_time as numbers
from locality.reporting.blocks import picture
from locality.reporting.page import Table
from locality.text import duration, percent, share
from locality.udp.report import udp_blocks, udp_cautions, udp_datagrams, udp_headline

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from locality.machine.distance import Counts
    from locality.recording.frames import Recording
    from locality.reporting.blocks import Block, Named
    from locality.reporting.over_time import Direction, OverTime

DIRECTIONS: tuple[tuple[Direction, str], ...] = (("rx", "received"), ("tx", "sent"))


def events(recording: Recording) -> int:
    """Connections, packets in both directions, or datagrams."""
    if recording.meta.kind == "accept":
        return len(recording.accepts)
    if recording.meta.kind == "udp":
        return udp_datagrams(recording)
    return int(recording.skb_totals["packets"].sum())


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def headline(name: str, recording: Recording) -> str:
    """A recording in one sentence or two: what, where, how local."""
    meta = recording.meta
    where = f"{name}: on {meta.host}, Linux {meta.kernel}"
    counted = events(recording)
    if meta.kind == "accept":
        what = f"{_counted(counted, 'connection')} accepted"
        if counted:
            local = int((recording.accepts["cpu"] == recording.accepts["rxcpu"]).sum())
            what += f", {percent(share(local, counted), 2)} on the CPU that received their packets"
    elif meta.kind == "udp":
        what = udp_headline(recording)
    else:
        what = _counted(counted, "packet")
        if counted:
            shares = (
                f"{word} {percent(_share(recording, direction), 2)}"
                for direction, word in DIRECTIONS
            )
            what += f"; consumed on the CPU that allocated them: {', '.join(shares)}"
    return f"{where}: {what}. {_few(counted)}".strip()


def _few(counted: int) -> str:
    if counted == 0:
        return "Nothing was recorded, so there is nothing to draw."
    if counted == 1:
        return "One event is no measurement, so nothing is drawn."
    return ""


def _share(recording: Recording, direction: Direction, part: str = "local") -> float | None:
    series = numbers.skb_over_time(recording.skb_totals, direction, part).series
    return None if series is None else series.share


def facts(runs: Sequence[Named]) -> Table:
    """What was recorded, where, on which rung, and what was lost: a row a recording."""
    rows = []
    for name, recording in runs:
        meta = recording.meta
        started = datetime.fromtimestamp(meta.started / 1e9, UTC)
        length = "?" if meta.ended is None else f"{(meta.ended - meta.started) / 1e9:,.1f} s"
        rows.append(
            (
                name,
                f"{meta.kind} {meta.label}".strip(),
                f"{meta.host}, Linux {meta.kernel}",
                f"{started:%Y-%m-%d %H:%M:%S} UTC",
                length,
                f"{events(recording):,}",
                f"{recording.lost:,}",
                meta.rung,
                meta.filter,
            )
        )
    heading = ("file", "what", "where", "start", "length", "events", "lost", "rung", "filter")
    return Table(heading, tuple(rows))


def cautions(runs: Sequence[Named]) -> Iterator[str]:
    """What a reader must know before believing the figures; what many share is said once."""
    whose: dict[str, list[str]] = {}
    for name, recording in runs:
        for caution in _cautions(recording):
            whose.setdefault(caution, []).append(name)
    for caution, names in whose.items():
        yield f"{', '.join(names)}: {caution}."


def _cautions(recording: Recording) -> Iterator[str]:
    if recording.lost and recording.meta.kind == "accept":
        lost, seen = _counted(recording.lost, "connection"), events(recording)
        yield f"{lost} lost beside {seen:,} seen; shares are of those seen"
    elif recording.lost:
        lost, seen = _counted(recording.lost, "run"), events(recording)
        one = "datagram" if recording.meta.kind == "udp" else "packet"
        yield (
            f"{lost} of probes lost, each perhaps a {one}, beside {seen:,} {one}s seen; shares "
            "are of those seen"
        )
    if recording.meta.kind == "udp":
        yield from udp_cautions(recording)
    if recording.note:
        yield recording.note
    if recording.meta.unseen:
        yield recording.meta.unseen


def blocks(prefix: str, recording: Recording) -> Iterator[Block]:
    """Figures and tables of a recording."""
    of_kind = {"accept": accept_blocks, "skb": skb_blocks, "udp": udp_blocks}
    yield from of_kind[recording.meta.kind](prefix, recording)


def accept_blocks(prefix: str, recording: Recording) -> Iterator[Block]:
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
    beside = f" Not in it: {_counted(without, 'connection')} without RX CPU." if without else ""
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
        f"{prefix}workers", "Workers by accepts, the busiest first.", draw.workers_bars(found)
    )
    yield _workers_table(found)
    times = numbers.waits(accepts)
    if len(times):
        median, p99 = (duration(float(np.percentile(times, rank))) for rank in (50, 99))
        yield picture(
            f"{prefix}queue-wait",
            f"Time in the accept queue of {_counted(len(times), 'connection')}: "
            f"median {median}, p99 {p99}.",
            draw.wait_distribution({"accepts": times}),
        )
    else:
        yield "Time in the accept queue was not seen on this rung."
    classes = {"accepts": numbers.accept_distances(accepts)}
    yield from _distances(prefix, recording, classes, "RX and accept")


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


def skb_blocks(prefix: str, recording: Recording) -> Iterator[Block]:
    """Figures and tables of a recording of packets."""
    totals, meta = recording.skb_totals, recording.meta
    curves: dict[str, OverTime] = {}
    for direction, word in DIRECTIONS:
        for part, name in (("local", "consumed-local"), ("freed_local", "freed-local")):
            run = numbers.skb_over_time(totals, direction, part)
            if run.series is not None:
                curves[f"{word}, {name}"] = run
        # Without any share of this direction its packets are still to be seen.
        if not any(name.startswith(word) for name in curves):
            curves[word] = numbers.skb_over_time(totals, direction)
    yield _totals_table(recording)
    yield picture(
        f"{prefix}local-over-time",
        "Packets whose CPUs are the same, and packets a second, over time.",
        draw.local_over_time(curves, "packets/s"),
    )
    for direction, word in DIRECTIONS:
        matrix = numbers.skb_matrix(recording.skb, direction, meta.possible)
        if not matrix.any():
            yield f"No packets {word} of which both CPUs are known by number."
            continue
        yield picture(
            f"{prefix}matrix-{direction}",
            f"Packets {word}, by alloc CPU and consume CPU; the diagonal is local.",
            draw.heat_map(matrix, "alloc CPU", "consume CPU"),
        )
        yield picture(
            f"{prefix}per-cpu-{direction}",
            f"Packets {word}, by alloc CPU (left) and by consume CPU (right).",
            draw.per_cpu(matrix, "alloc CPU", "consume CPU"),
        )
    classes = {word: packets_by_distance(recording, direction) for direction, word in DIRECTIONS}
    yield from _distances(prefix, recording, classes, "alloc and consume")


def packets_by_distance(recording: Recording, direction: Direction) -> Counts | None:
    """Packets of one direction by how far alloc CPU and consume CPU are apart."""
    return numbers.skb_distances(
        recording.skb, recording.skb_totals, direction, recording.meta.distances
    )


def _totals_table(recording: Recording) -> Table:
    rows = []
    for direction, word in DIRECTIONS:
        of = recording.skb_totals[recording.skb_totals["direction"] == direction]
        packets, seconds = int(of["packets"].sum()), float(of["seconds"].sum())
        deferred = None if of["deferred"].isna().any() else int(of["deferred"].sum())
        rows.append(
            (
                word,
                f"{packets:,}",
                f"{packets / seconds / 1000:,.1f}" if seconds else "-",
                percent(_share(recording, direction), 2),
                percent(_share(recording, direction, "freed_local"), 2),
                percent(share(deferred, packets), 2),
                percent(_share(recording, direction, "delivered_local"), 2),
                f"{int(of['unknown'].sum()):,}",
            )
        )
    heading = (
        "packets",
        "count",
        "kpps",
        "consumed-local",
        "freed-local",
        "deferred",
        "of those delivered to readers, local",
        "CPU unknown",
    )
    return Table(heading, tuple(rows))


def _distances(
    prefix: str, recording: Recording, classes: Mapping[str, Counts | None], which: str
) -> Iterator[Block]:
    heading, rows = share_columns([(recording, counts) for counts in classes.values()])
    yield Table(
        (f"how far {which} CPU are apart", *heading),
        tuple((name, *row) for name, row in zip(classes, rows, strict=True)),
    )
    if not any(classes.values()):
        return
    yield picture(
        f"{prefix}distances",
        f"How far {which} CPU are apart: the same, or sharing a core, a last-level cache, a "
        "NUMA node, less than that, or not known.",
        draw.distance_classes(classes),
    )


def share_columns(
    of: Sequence[tuple[Recording, Counts | None]],
) -> tuple[list[str], list[list[str]]]:
    """A column for each distance that one of them has: headings, and a row for each of them."""
    columns = sorted({one for run, counts in of for one in shown(counts, run.meta.machine)})
    rows = [[percent(shares(counts)[one], 2) for one in columns] for _, counts in of]
    return [one.phrase for one in columns], rows
