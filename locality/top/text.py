"""`locality top` in readable lines of 80 columns: a table for each interval."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from locality.machine.distance import distance_text
from locality.machine.topology import Distance
from locality.reads.outputs import DEFAULT, GroupedOutput, rate
from locality.text import WIDTH, clipped, duration, percent, printable, share
from locality.top.grouping import GROUPINGS, commands, ranked
from locality.top.interval import DISTANCES, known, remote
from locality.top.waits import waits_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from locality.machine.distance import Counts
    from locality.summary import Summary
    from locality.top.interval import TopInterval
    from locality.top.waits import Waits

#: So many rows are shown; JSON and CSV have all.
MOST_ROWS = 20

COUNTS = f"{'remote/s':>9} {'reads/s':>9} {'local':>6} {'MB/s':>6} "
#: Of the times of `--cost`: p50 of local and of remote reads.
TIMES = f"{'waited':>7} {'remote':>7} "
FROM = f" {'from':<6} "
#: Of what a row is called: with more, what comes next goes to a line of its own.
FEW_NAME = 17
OURS = "locality "


class TextTop(GroupedOutput["TopInterval"]):
    """The table of each interval.

    Args:
        out: Where to.
        machine: The CPUs that were measured.
        by: A key of `GROUPINGS`.
    """

    def write(self, batch: TopInterval) -> None:
        """Write an interval."""
        self._write_sums(batch, sums_line(batch))
        if len(batch.readers):
            for line in table_lines(batch, self._by):
                self._out.write(line + "\n")
        self._out.flush()


def sums_line(interval: TopInterval) -> str:
    """All reads of an interval, in words."""
    rows, seconds = interval.readers, interval.seconds
    reads, told = int(rows["reads"].sum()), int(known(rows).sum())
    if not reads:
        return "no reads"
    here = share(int(rows["cpu"].sum()), told)
    away = int(remote(rows).sum())
    return f"{rate(reads, seconds)} reads/s, {percent(here)} local, {rate(away, seconds)} remote/s"


def table_lines(interval: TopInterval, by: str) -> Iterator[str]:
    """The rows with the most remote reads."""
    rows = ranked(interval, by)
    waits = waits_of(interval, by)
    heading = COUNTS + (TIMES if interval.cost is not None else "") + FROM
    yield f"{heading}{by:<{FEW_NAME}} next"
    for row, command in zip(rows[:MOST_ROWS], commands(rows, by, interval.cgroups), strict=False):
        # Of a longer name the rest is cut.
        start = _line(row, interval, by, waits(row), WIDTH - len(heading))
        then = command.removeprefix(OURS)
        if len(start) + 1 + len(then) <= WIDTH:
            yield f"{start} {then}".rstrip()
            continue
        yield start.rstrip()
        yield f"{then:>{WIDTH}}"
    if len(rows) > MOST_ROWS:
        yield f"  … and {len(rows) - MOST_ROWS} more: use --port or --pid, or --format json"


def _line(
    row: Any,  # noqa: ANN401 - numpy.void
    interval: TopInterval,
    by: str,
    waits: Waits,
    longest: int,
) -> str:
    seconds = interval.seconds
    told = sum(int(row[name]) for name in DISTANCES)
    away = told - int(row["cpu"])
    source = f"CPU {row['sources'][0]}" if row["sources"][0] >= 0 else "-"
    size = f"{int(row['bytes']) / seconds / 1e6:.1f}" if interval.bytes_seen else "?"
    name = clipped(GROUPINGS[by].name(row, interval.cgroups), longest)
    times = ""
    if interval.cost is not None:
        times = f"{duration(waits.local):>7} {duration(waits.remote):>7} "
    local = percent(share(int(row["cpu"]), told))
    return (
        f"{rate(away, seconds):>9} {rate(int(row['reads']), seconds):>9} {local:>6} "
        f"{size:>6} {times} {source:<6} {name:<{FEW_NAME}}"
    )


def distances_of(interval: TopInterval) -> Counts:
    """All reads by the distance between the CPU that received and the CPU that read."""
    rows = interval.readers
    counts = {Distance(place): int(rows[name].sum()) for place, name in enumerate(DISTANCES)}
    counts[Distance.UNKNOWN] = int(rows["reads"].sum()) - sum(counts.values())
    return counts


def summary_lines(summary: Summary[TopInterval], by: str = DEFAULT) -> Iterator[str]:
    """The summary of a run of `locality top`: the rows of the whole run, and what to do next.

    Args:
        summary: Of the run.
        by: A key of `GROUPINGS`: what a row is.
    """
    total = summary.total
    if total is None:
        yield "no interval was over"
        return
    yield f"{total.seconds:.1f} s on rung {printable(total.rung)}, {total.lost} lost"
    yield sums_line(total)
    rows = ranked(total, DEFAULT)
    if not len(rows):
        return
    yield f"  {distance_text(distances_of(total), summary.machine)}"
    yield from table_lines(total, by)
    nexts = [*commands(rows, DEFAULT, total.cgroups)]
    # A service before a client: of both ends of a connection, only the service can be steered.
    for outgoing in (0, 1):
        for row, away, command in zip(rows, remote(rows).tolist(), nexts, strict=True):
            if away and row["outgoing"] == outgoing:
                yield f"next: {command}"
                return
