"""What the experiment with queues showed, as lines, a table and JSON."""

from __future__ import annotations

import platform
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np
from rich import box
from rich.table import Table

from locality import __version__
from locality.lab.queue_experiment import HASH, MAP, SPILL, STEERINGS
from locality.text import percent, printable, share

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from locality.lab.queue_experiment import Figures, QueueLab
    from locality.lab.queue_load import Skew
    from locality.spill.bound import Bound

PERCENTILES = (50, 99, 99.9)
NOTES = (
    "load: how busy the busiest worker is if all it receives is local. could be: the most that",
    "can be local if no worker is busier than all the time. local: accepted on the RX CPU.",
    "Times are ms from the moment a connection was due until its answer; medians of the rounds,",
    "and for p99 the smallest and the largest. failed: connections without an answer. client",
    "late: 99 of 100 connections began no later than that after they were due.",
)


@dataclass
class LoadResult:
    """What all rounds showed at one load.

    Attributes:
        load: How busy the busiest worker is if all is local; 0 to 1, or more.
        largest: The part of all connections that the busiest RX CPU receives.
        rate: Connections a second.
        bound: For the steering that spills.
        turns: The figures of each round, by steering.
    """

    load: float
    largest: float
    rate: float
    bound: Bound
    turns: defaultdict[str, list[Figures]] = field(default_factory=lambda: defaultdict(list))

    @property
    def most_local(self) -> float:
        """Percent that can be local if no worker does more than it can."""
        return 100 * (1 - self.largest + self.largest * min(1.0, 1 / self.load))

    def local(self, steering: str) -> float | None:
        """Percent that was accept-local: the median of the rounds; None if none saw an accept."""
        shares = [share(one.local, one.accepted) for one in self.turns[steering]]
        known = [one for one in shares if one is not None]
        return median(known) if known else None

    def times(self, steering: str, which: float) -> list[float | None]:
        """A percentile of each round, ms; None of a round in which nothing was answered."""
        return [_ms(one.percentile(which)) for one in self.turns[steering]]

    def failed(self, steering: str) -> int:
        """Connections without an answer, of all rounds."""
        return sum(one.answers.failed.total() for one in self.turns[steering])

    def wins(self, other: str) -> int:
        """In how many rounds the p99 of spill was below that of another steering."""
        pairs = zip(self.times(SPILL, 99), self.times(other, 99), strict=True)
        return sum(one < two for one, two in pairs if one is not None and two is not None)


def circumstances(lab: QueueLab, skew: Skew) -> Iterator[str]:
    """What is measured, and what must be known to read it."""
    cpus = ", ".join(f"{100 * part:g} % on CPU {cpu}" for cpu, part in skew.shares.items())
    yield f"{len(lab.cpus)} workers, one on each of CPUs {', '.join(map(str, lab.cpus))}"
    yield from lab.wire.lines()
    yield f"received: {cpus}"
    yield f"a connection takes {1e3 * lab.took:.2f} ms of its worker"


def turn_line(number: int, total: int, load: float, one: Figures) -> str:
    """One turn in one line, as soon as it is over."""
    lost = f", {one.lost} accepts lost" if one.lost else ""
    return (
        f"{number}/{total} load {100 * load:g} %, {one.steering}: "
        f"{percent(share(one.local, one.accepted))} local, p99 "
        f"{_text([_ms(one.percentile(99))])} ms (client late {_text([_late(one)])} ms){lost}"
    )


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else 1e3 * seconds


def _late(one: Figures) -> float | None:
    """How late the client began all connections but one of a hundred, ms; None of none."""
    late = one.answers.late
    return 1e3 * float(np.percentile(late, 99)) if len(late) else None


def _text(values: Sequence[float | None], of: Callable[[Sequence[float]], float] = median) -> str:
    """A figure of the rounds in which there is one; ``?`` if there is none."""
    known = [value for value in values if value is not None]
    return f"{of(known):.1f}" if known else "?"


def result_table(results: Sequence[LoadResult]) -> Table:
    """Three rows for each load."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, collapse_padding=True)
    for heading in ("load", "could\nbe"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("steering", no_wrap=True)
    for heading in ("local", "p50", "p99", "p99\nmin..max", "p99.9", "over-\nflows", "failed"):
        table.add_column(heading, justify="right", no_wrap=True)
    for result in results:
        for row in rows(result):
            table.add_row(*row)
    return table


def rows(result: LoadResult) -> Iterator[tuple[str, ...]]:
    """A row of text for each steering that was measured."""
    for number, name in enumerate(one for one in STEERINGS if one in result.turns):
        times = {which: result.times(name, which) for which in PERCENTILES}
        p99 = times[99]
        yield (
            f"{100 * result.load:g}%" if not number else "",
            percent(result.most_local) if not number else "",
            f"{name} {result.bound.connections}" if name == SPILL else name,
            percent(result.local(name)),
            _text(times[50]),
            _text(p99),
            f"{_text(p99, min)}..{_text(p99, max)}",
            _text(times[99.9]),
            str(sum(one.overflows for one in result.turns[name])),
            str(result.failed(name)),
        )


def conclusions(results: Sequence[LoadResult]) -> Iterator[str]:
    """In how many rounds spilling was better, and how its bound was chosen."""
    for result in results:
        rounds = len(result.turns[SPILL])
        beaten = ", ".join(
            f"{name}'s in {result.wins(name)}" for name in (HASH, MAP) if name in result.turns
        )
        yield (
            f"load {100 * result.load:g}%, {result.rate:.0f} connections/s: of {rounds} rounds the "
            f"p99 of spill was below {beaten}"
        )
        yield f"  spill {result.bound.connections}: {result.bound.why}"


def to_json(lab: QueueLab, skew: Skew, results: Sequence[LoadResult]) -> dict[str, Any]:
    """Everything, with its circumstances."""
    return {
        "version": __version__,
        "host": printable(platform.node()),
        "kernel": printable(platform.release()),
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpus": list(lab.cpus),
        "wire": lab.wire.name,
        "shares": {str(cpu): 100 * part for cpu, part in skew.shares.items()},
        "work_ms": lab.work / 1e3,
        "took_ms": 1e3 * lab.took,
        "loads": [
            {
                "load": result.load,
                "most_local_percent": result.most_local,
                "rate": result.rate,
                "bound": result.bound.connections,
                "why": result.bound.why,
                "steerings": {
                    name: [_turn(one) for one in turns] for name, turns in result.turns.items()
                },
            }
            for result in results
        ],
    }


def _turn(one: Figures) -> dict[str, Any]:
    counted = one.answered
    return {
        "accepted": one.accepted,
        "local": one.local,
        "lost": one.lost,
        "overflows": one.overflows,
        "failed": dict(one.answers.failed),
        "busy": list(one.busy),
        "ms": {f"p{which:g}": _ms(one.percentile(which)) for which in PERCENTILES},
        "late_p99_ms": _late(one),
        "spilled": counted and sum(counted.spilled.values()),
        "kept": counted and counted.total("kept") + counted.total("kept_long"),
        "hashed": counted and counted.hashed,
    }
