"""`locality cost` in readable lines of 80 columns: a table for each interval."""

from __future__ import annotations

from typing import TYPE_CHECKING

from locality.cost.bill import WORDS
from locality.cost.grouping import CAUTION, REMOTE, rows_of
from locality.cost.interval import LEFT_OUT, WAIT, WAKE_UP, reads_of
from locality.machine.topology import Distance
from locality.reads.outputs import DEFAULT, GroupedOutput, rate
from locality.text import clipped, duration, percent, printable, share, wrap

if TYPE_CHECKING:
    from collections.abc import Iterator

    from locality.cost.bill import Bill
    from locality.cost.grouping import Row
    from locality.cost.interval import CostInterval
    from locality.summary import Summary

#: So many rows are shown; JSON and CSV have all.
MOST_ROWS = 8
#: Of what CPUs have each other call, so many are shown.
MOST_CAUSES = 4
NAME_WIDTH = 60

HEADING = (
    f"  {'':<20} {'reads/s':>9} {'share':>6} {'p50':>7} {'p90':>7} {'p99':>7} "
    f"{'wake-up':>7} {'p99':>7}"
)

#: Below the tables of the summary, for the two last columns count other reads than the rest.
WAKE_UPS = (
    "wake-up and its p99 are of the readers that slept: from the wake-up until they ran. Readers "
    "that did not sleep are in the other columns only."
)

_REASONS = {
    "no_stamp": "without a stamp",
    "other_clock": "by another clock",
    "missing_segment": "behind a missing segment",
    "long_queue": "in a long queue",
    "no_room": "without room for a histogram",
}


class TextCost(GroupedOutput["CostInterval"]):
    """The table of each interval.

    Args:
        out: Where to.
        machine: The CPUs that were measured.
        by: One of `locality.cost.grouping.BY`.
    """

    def write(self, batch: CostInterval) -> None:
        """Write an interval."""
        self._write_sums(batch, sums_line(batch))
        for line in (*clock_lines(batch), *table_lines(batch, self._by), *bill_lines(batch)):
            self._out.write(line + "\n")
        self._out.flush()


def sums_line(interval: CostInterval) -> str:
    """All reads of an interval, in words."""
    reads = reads_of(interval.readers, interval.times).sum(axis=0)
    total, known = int(reads.sum()), int(reads.sum() - reads[Distance.UNKNOWN])
    if not total:
        return "no reads"
    left_out = int(interval.readers["left_out"].sum())
    return (
        f"{rate(total, interval.seconds)} reads/s, "
        f"{percent(share(int(reads[[*REMOTE]].sum()), known))} remote, "
        f"{percent(share(left_out, total))} left out of the times"
    )


def clock_lines(interval: CostInterval) -> Iterator[str]:
    """Whether somebody set the clock."""
    if interval.clock_steps:
        times = "" if interval.clock_steps == 1 else f" {interval.clock_steps} times"
        yield f"  the clock was set{times}: reads around then have no time"


def table_lines(interval: CostInterval, by: str, *, sentences: bool = False) -> Iterator[str]:
    """The rows of an interval, those with the most remote reads first, with a heading.

    Args:
        interval: What it showed.
        by: One of `locality.cost.grouping.BY`.
        sentences: Say below each row what distance costs it.
    """
    rows = rows_of(interval, by)
    if not rows:
        return
    yield HEADING
    for row in rows[:MOST_ROWS]:
        yield from row_lines(row, interval.seconds)
        if sentences:
            yield from wrap(row.sentence(interval.seconds), "  ", first="  ")
    if len(rows) > MOST_ROWS:
        yield f"  … and {len(rows) - MOST_ROWS} more: use --port or --pid, or --format json"


def row_lines(row: Row, seconds: float) -> Iterator[str]:
    """A row: its name, a line for each distance that occurred, and what was left out."""
    yield clipped(row.name, NAME_WIDTH)
    total = int(row.reads.sum())
    for distance in Distance:
        reads = int(row.reads[distance])
        if not reads:
            continue
        waits = (duration(row.percentile(WAIT, (distance,), of)) for of in (50, 90, 99))
        wakes = (duration(row.percentile(WAKE_UP, (distance,), of)) for of in (50, 99))
        yield (
            f"  {distance.phrase:<20} {rate(reads, seconds):>9} {percent(share(reads, total)):>6}"
            + "".join(f" {text:>7}" for text in (*waits, *wakes))
        )
    if left_out := left_out_text(row):
        yield from wrap(f"left out: {left_out}", "    ", first="  ")


def left_out_text(row: Row) -> str:
    """Reads that have no time, by reason, as shares of all; empty if there are none."""
    total = int(row.reads.sum())
    counts = zip(LEFT_OUT, row.left_out.sum(axis=1).tolist(), strict=True)
    return ", ".join(
        f"{percent(share(count, total))} {_REASONS[reason]}" for reason, count in counts if count
    )


def bill_lines(interval: CostInterval) -> Iterator[str]:
    """What the machine paid beside the reads."""
    bill, seconds = interval.bill, interval.seconds
    calls = f"{_told(bill.function_calls, seconds)} function calls"
    if bill.tlb_flushes is not None:
        calls += f" (TLB flushes {rate(bill.tlb_flushes, seconds)})"
    cpu = None if bill.softirq_ns is None else 100 * bill.softirq_ns / (seconds * 1e9)
    ratio = "?"
    if bill.softirqs is not None and bill.interrupts:
        ratio = f"{bill.softirqs / bill.interrupts:.2f}"
    said = (
        f"machine: interrupts between CPUs a second: {_told(bill.reschedulings, seconds)} "
        f"reschedulings, {calls}, {_told(bill.rps, seconds)} by RPS; {ratio} softirqs an "
        f"interrupt; softirqs take {percent(cpu)} of a CPU"
        f"{_pmu_text(interval)}"
    )
    yield from wrap(said, "    ", first="  ")
    if causes := causes_text(bill, seconds):
        yield from wrap(f"functions called a second: {causes}", "    ", first="  ")


def _pmu_text(interval: CostInterval) -> str:
    """Cycles and cache misses of the machine, as far as they were counted."""
    bill, seconds = interval.bill, interval.seconds
    reads = int(reads_of(interval.readers, interval.times).sum())
    text = ""
    for count, words in ((bill.cycles, "cycles"), (bill.cache_misses, "LLC misses")):
        if count is not None:
            each = f" ({rate(count, reads)} a read)" if reads else ""
            text += f"; {rate(count, seconds)} {words} a second{each}"
    return text


def causes_text(bill: Bill, seconds: float) -> str:
    """What CPUs have each other call, the most frequent first; empty if that is not known."""
    causes = sorted((bill.causes or {}).items(), key=lambda one: (-one[1], one[0]))
    shown = [f"{WORDS.get(name, name)} {rate(count, seconds)}" for name, count in causes]
    more = f", {len(shown) - MOST_CAUSES} more" if len(shown) > MOST_CAUSES else ""
    return ", ".join(shown[:MOST_CAUSES]) + more


def _told(count: int | None, seconds: float) -> str:
    return "?" if count is None else rate(count, seconds)


def summary_lines(summary: Summary[CostInterval], by: str = DEFAULT) -> Iterator[str]:
    """The summary of a run of `locality cost`: the rows of the whole run, and what they mean.

    Args:
        summary: Of the run.
        by: One of `locality.cost.grouping.BY`: what a row is.
    """
    total = summary.total
    if total is None:
        yield "no interval was over"
        return
    yield f"{total.seconds:.1f} s on rung {printable(total.rung)}, {total.lost} lost"
    yield sums_line(total)
    yield from clock_lines(total)
    yield from table_lines(total, by, sentences=True)
    yield from bill_lines(total)
    rows = rows_of(total, by)[:MOST_ROWS]
    if rows:
        yield from wrap(WAKE_UPS)
    if any(row.later is not None for row in rows):
        yield from wrap(CAUTION)
