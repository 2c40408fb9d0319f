"""The dashboard of `locality skb`: both directions now and lately, from where to where."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from locality.dashboard.frame import DIM, STRONG, Line, amount, beside, grade, line
from locality.dashboard.heatmap import heat_map
from locality.dashboard.screen import Dashboard
from locality.dashboard.sparkline import Minute, sparkline
from locality.machine.distance import distance_words
from locality.machine.topology import Distance
from locality.skb.interval import RX, TX, Flow, Interval, packets_by_distance
from locality.skb.pairs import cpus_of, pairs_in
from locality.text import kilo_rate, percent, share

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from locality.dashboard.screen import Header
    from locality.machine.topology import Topology

#: Seconds that heat maps and pairs look back, or the interval if that is longer.
WINDOW = 10
#: Lines that the pairs have at least, with their heading.
_PAIRS = 4
#: With fewer lines the heat maps are worth more than distances.
_ROOM_FOR_DISTANCES = 24
_MOST_PAIRS = 20
_NAMES = ("rx", "tx")


@dataclass(frozen=True)
class Pair:
    """Packets that were allocated on one CPU and consumed on another."""

    direction: int
    alloc_cpu: int
    consume_cpu: int
    packets: int


def worst_pairs(interval: Interval, most: int) -> list[Pair]:
    """The pairs of different CPUs with the most packets, of both directions."""
    pairs = list[Pair]()
    for direction, (cells, packets) in enumerate(pairs_in(interval.by_pair)):
        alloc, consume = np.divmod(cells, cpus_of(interval.by_pair))
        away = np.flatnonzero((alloc != consume) & (packets > 0))
        if 0 < most < len(away):
            away = away[np.argpartition(packets[away], -most)[-most:]]
        columns = (alloc[away].tolist(), consume[away].tolist(), packets[away].tolist())
        pairs += [Pair(direction, *values) for values in zip(*columns, strict=True)]
    pairs.sort(key=lambda pair: (-pair.packets, pair.direction, pair.alloc_cpu))
    return pairs[: max(most, 0)]


@dataclass(frozen=True)
class View:
    """What is shown; does not change any more.

    Attributes:
        elapsed: Seconds since the start.
        now: The last interval.
        window: The last seconds as one.
        total: All since the start as one.
        minutes: Percent local in each of the last 60 seconds, by direction, oldest first.
    """

    elapsed: float
    now: Interval
    window: Interval
    total: Interval
    minutes: tuple[Sequence[float | None], Sequence[float | None]]


class RecentIntervals:
    """Adds intervals up. Time is the sum of their lengths, so clocks have no say."""

    def __init__(self) -> None:
        self._elapsed = 0.0
        self._total: Interval | None = None
        #: By second, at most one each: intervals may be far shorter.
        self._window: deque[tuple[int, Interval]] = deque()
        self._minutes = (Minute(), Minute())
        self.view: View | None = None

    def write(self, batch: Interval) -> None:
        """Add an interval."""
        begin, self._elapsed = self._elapsed, self._elapsed + batch.seconds
        second = int((begin + self._elapsed) / 2)
        if self._window and self._window[-1][0] == second:
            batch_of_second = self._window.pop()[1] + batch
        else:
            batch_of_second = batch
        self._window.append((second, batch_of_second))
        while self._window[0][0] <= second - WINDOW:
            self._window.popleft()
        for minute, flow in zip(self._minutes, (batch.rx, batch.tx), strict=True):
            if flow.local is not None:
                minute.add_span(begin, self._elapsed, flow.local, flow.known)
        self._total = batch if self._total is None else self._total + batch
        window = self._window[0][1]
        for _, later in list(self._window)[1:]:
            window = window + later
        last = int(self._elapsed - 1e-9)
        self.view = View(
            elapsed=self._elapsed,
            now=batch,
            window=window,
            total=self._total,
            minutes=(self._minutes[RX].percents(last), self._minutes[TX].percents(last)),
        )


class SkbDashboard(Dashboard[Interval]):
    """Shows where packets are consumed, interval by interval.

    Args:
        machine: Whose CPUs the matrix is of.
        header: Shown on top.
        console: A terminal.
    """

    title: ClassVar[str] = "skb"

    def __init__(self, machine: Topology, header: Header, console: Console) -> None:
        super().__init__(header, console)
        self._machine = machine
        self._recent = RecentIntervals()

    def _take(self, batch: Interval) -> bool:
        self._recent.write(batch)
        return True

    def _elapsed(self) -> float:
        return self._recent.view.elapsed if self._recent.view else 0

    def _lost(self) -> int:
        return self._recent.view.now.lost if self._recent.view else 0

    def _body(self, width: int, height: int) -> list[Line]:
        view = self._recent.view
        if view is None:
            return [line(""), line("the first interval is not over yet")]
        lines = _flows(view)
        if height >= _ROOM_FOR_DISTANCES:
            lines += self._distances(view.window)
        lines.append(line(""))
        left = height - len(lines)
        half = (width - 2) // 2
        partly = _not_in_matrix(view.window)
        matrix = view.window.matrix
        maps = [
            heat_map(
                matrix[direction],
                self._machine,
                f"{_NAMES[direction]} alloc\\consume",
                width=half,
                height=left - len(partly) - _PAIRS - 1,
            )
            for direction in (RX, TX)
        ]
        lines += beside(maps[RX], maps[TX], half)
        lines += partly
        lines.append(line(""))
        return lines + self._pairs(view.window, height - len(lines) - 1)

    def _distances(self, window: Interval) -> list[Line]:
        lines = []
        for direction, flow in ((RX, window.rx), (TX, window.tx)):
            far = distance_words(
                packets_by_distance(window, direction, self._machine), self._machine
            )
            name = (f"{_NAMES[direction]} far   ", DIM)
            lines.append(line(name, far if flow.packets else "-"))
        return lines

    def _pairs(self, window: Interval, most: int) -> list[Line]:
        lines = [line((f"worst CPU pairs, last {window.seconds:.0f} s", STRONG))]
        for pair in worst_pairs(window, min(most, _MOST_PAIRS)):
            flow = (window.rx, window.tx)[pair.direction]
            apart = Distance(int(self._machine.distances[pair.alloc_cpu, pair.consume_cpu]))
            lines.append(
                line(
                    f"{_NAMES[pair.direction]}  {f'#{pair.alloc_cpu}':>5} → "
                    f"{f'#{pair.consume_cpu}':<5} {amount(pair.packets / window.seconds):>7} pps  "
                    f"{percent(share(pair.packets, flow.packets)):>6} of "
                    f"{_NAMES[pair.direction]}  {apart.word}"
                )
            )
        if len(lines) == 1:
            lines.append(line(("none: no packet is known to have left its CPU", DIM)))
        return lines


def _flows(view: View) -> list[Line]:
    now, total = view.now, view.total
    heading = f"{'':8} {'local':>7} {'kpps':>9} {'deliv':>7} {'freed':>7} {'defer':>7}"
    lines = [line((f"{heading}      since the start", STRONG))]
    delivered = percent(share(now.delivered_local, now.delivered))
    for name, flow, since_start, deliv in (
        ("received", now.rx, total.rx, "-" if now.delivered == 0 else delivered),
        ("sent", now.tx, total.tx, ""),
    ):
        local = share(flow.local, flow.known)
        freed, defer = (
            percent(share(part, flow.packets)) if flow.packets else "-"
            for part in (flow.freed_local, flow.deferred)
        )
        lines.append(
            line(
                f"{name:8} ",
                (f"{_local(flow):>7}", grade(local)),
                f" {kilo_rate(flow.packets, now.seconds):>9} {deliv:>7} {freed:>7} {defer:>7}"
                f"{'':6}{_local(since_start)} of {amount(since_start.packets)}",
            )
        )
    for name, minute in zip(_NAMES, view.minutes, strict=True):
        lines.append(line((f"{name} local ", DIM), f"{sparkline(minute)}", ("  0-100%", DIM)))
    return lines


def _local(flow: Flow) -> str:
    return percent(share(flow.local, flow.known)) if flow.packets else "-"


def _not_in_matrix(window: Interval) -> list[Line]:
    """What the maps leave out, because only half of it is known, or not whose it is."""
    lines = []
    for name, apart, together in zip(_NAMES, window.apart, window.together, strict=True):
        if apart or together:
            two, one = (amount(count / window.seconds) for count in (apart, together))
            text = f"{name}, not known on which CPUs: {two} pps on two, {one} pps on one"
            lines.append(line((text, DIM)))
    if any(window.not_told):
        rx, tx = (amount(count / window.seconds) for count in window.not_told)
        lines.append(line((f"not told apart by the filter: rx {rx} pps, tx {tx} pps", DIM)))
    return lines
