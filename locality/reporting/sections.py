"""What the report says of one recording: sentences, tables, figures."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from locality.kinds import KINDS
from locality.machine.distance import shares, shown
from locality.reporting import figures as draw
from locality.reporting.blocks import picture
from locality.reporting.page import Table
from locality.text import counted, percent

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from locality.machine.distance import Counts
    from locality.recording.recording import Recording
    from locality.reporting.blocks import Block, KindReport, Named


def report_of(recording: Recording) -> KindReport:
    """What the recording's kind has to say."""
    return KINDS[recording.kind].report.get()


def events(recording: Recording) -> int:
    """Connections, packets in both directions, or datagrams."""
    return report_of(recording).events(recording)


def headline(name: str, recording: Recording) -> str:
    """A recording in one sentence or two: what, where, how local."""
    meta = recording.meta
    where = f"{name}: on {meta.host}, Linux {meta.kernel}"
    what = report_of(recording).headline(recording)
    return f"{where}: {what}. {_few(events(recording))}".strip()


def _few(number: int) -> str:
    if number == 0:
        return "Nothing was recorded, so there is nothing to draw."
    if number == 1:
        return "One event is no measurement, so nothing is drawn."
    return ""


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
    yield from report_of(recording).cautions(recording)
    if recording.note:
        yield recording.note
    if recording.meta.unseen:
        yield recording.meta.unseen


def lost_runs(recording: Recording, noun: str) -> Iterator[str]:
    """The caution for probe runs that the kernel skipped.

    Args:
        recording: Of counters.
        noun: What each run would have counted.
    """
    if recording.lost:
        yield (
            f"{counted(recording.lost, 'run')} of probes lost, each perhaps a {noun}, beside "
            f"{events(recording):,} {noun}s seen; shares are of those seen"
        )


def lost_events(recording: Recording, noun: str) -> Iterator[str]:
    """The caution for events without a record.

    Args:
        recording: Of events.
        noun: What each of them is.
    """
    if recording.lost:
        yield (
            f"{counted(recording.lost, noun)} lost beside {events(recording):,} seen; shares are "
            "of those seen"
        )


def distance_blocks(
    prefix: str, recording: Recording, classes: Mapping[str, Counts | None], which: str
) -> Iterator[Block]:
    """A table and a figure of shares by distance.

    Args:
        prefix: What the figure's name begins with.
        recording: The recording.
        classes: Counts by distance, for each row; None for what was not seen.
        which: Of which two CPUs.
    """
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
