"""The dashboard of `locality accept`: how many, how local, by whom, from where to where."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from locality.accept.batch import AcceptBatch
from locality.accept.recent import RecentAccepts, View
from locality.dashboard.frame import (
    DIM,
    STRONG,
    Line,
    amount,
    beside,
    column,
    grade,
    line,
    shorten,
)
from locality.dashboard.heatmap import heat_map
from locality.dashboard.screen import Dashboard
from locality.dashboard.sparkline import sparkline
from locality.machine.distance import by_distance, distance_words
from locality.text import duration, percent, share

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from locality.arrays import Array
    from locality.dashboard.screen import Header
    from locality.machine.topology import Topology

#: From this width on, workers and heat map stand side by side.
WIDE = 120
_WORKERS_WIDTH = 68
_RANKS = (50, 90, 99, 99.9)


@dataclass(frozen=True)
class WorkerRow:
    """One process on one CPU during the window.

    Attributes:
        missed_from: The RX CPU of most of its connections that were not local; -1 if the
            stack noted none for them, None if all were local.
        missed_share: The part of its misses that came from there, in percent.
    """

    pid: int
    cpu: int
    accepts: int
    local: int
    missed_from: int | None
    missed_share: float | None


def worker_rows(view: View) -> list[WorkerRow]:
    """The workers of the window, the busiest first."""
    cells = view.cells
    if not len(cells.keys):
        return []
    pid, cpu, rxcpu = cells.pid, cells.cpu, cells.rxcpu
    _, first, index = np.unique(cells.keys >> np.uint64(16), return_index=True, return_inverse=True)
    misses = np.where(cpu == rxcpu, 0, cells.counts)
    accepts, missed = np.zeros((2, len(first)), np.int64)
    np.add.at(accepts, index, cells.counts)
    np.add.at(missed, index, misses)
    # Sorted by worker, and within a worker by misses: the last of each is its worst.
    order = np.lexsort((misses, index))
    worst = order[np.append(np.flatnonzero(np.diff(index[order])), len(order) - 1)]
    rows = [
        WorkerRow(
            pid=worker_pid,
            cpu=worker_cpu,
            accepts=count,
            local=count - away,
            missed_from=most_from if away else None,
            missed_share=share(most, away),
        )
        for worker_pid, worker_cpu, count, away, most_from, most in zip(
            *(values.tolist() for values in (pid[first], cpu[first], accepts, missed)),
            *(values.tolist() for values in (rxcpu[worst], misses[worst])),
            strict=True,
        )
    ]
    return sorted(rows, key=lambda row: (-row.accepts, row.pid, row.cpu))


def matrix(view: View, cpus: int) -> Array:
    """(CPUs + 1, CPUs) connections by RX CPU and accept CPU; the last row has no RX CPU."""
    found = np.zeros((cpus + 1, cpus), np.int64)
    cells = view.cells
    rxcpu = np.where((cells.rxcpu >= 0) & (cells.rxcpu < cpus), cells.rxcpu, cpus)
    np.add.at(found, (rxcpu, cells.cpu), cells.counts)
    return found


class AcceptDashboard(Dashboard[AcceptBatch]):
    """Shows accepted connections as they come.

    Args:
        machine: Whose CPUs the records name.
        header: Shown on top.
        console: A terminal.
    """

    title: ClassVar[str] = "accept"

    def __init__(self, machine: Topology, header: Header, console: Console) -> None:
        super().__init__(header, console)
        self._machine = machine
        self._recent = RecentAccepts()

    def _take(self, batch: AcceptBatch) -> bool:
        return self._recent.write(batch)

    def _elapsed(self) -> float:
        return self._recent.view.elapsed

    def _lost(self) -> int:
        return self._recent.view.lost

    def _body(self, width: int, height: int) -> list[Line]:
        view = self._recent.view
        connections = matrix(view, self._machine.possible)
        lines = _figures(view)
        far = distance_words(by_distance(connections, self._machine.distances), self._machine)
        far = shorten(far, width - 15) if connections.any() else "-"
        lines += [line("distance       ", far), line("")]
        left = height - len(lines)
        rows = worker_rows(view)
        title = "RX CPU \\ accept CPU"
        if width >= WIDE:
            room = width - _WORKERS_WIDTH - 2
            cpus = heat_map(connections, self._machine, title, width=room, height=left)
            return lines + beside(_workers(view, rows, left), cpus, _WORKERS_WIDTH)
        # Workers get what the map leaves them, but half of the room if they need it.
        workers = _workers(view, rows, left)
        whole = heat_map(connections, self._machine, title, width=width, height=1000)
        share_of_map = max(left // 2, left - len(workers) - 1)
        if len(whole) > share_of_map:
            whole = heat_map(connections, self._machine, title, width=width, height=share_of_map)
        workers = _workers(view, rows, left - len(whole) - 1)
        return [*lines, *workers, line(""), *whole]


def _figures(view: View) -> list[Line]:
    since_start = percent(share(view.total_local, view.total), 2)
    now = percent(view.local, 2) if view.local is not None else "-"
    waits = "  ".join(f"p{rank:g} {_wait(view, rank)}" for rank in _RANKS)
    return [
        line(
            "connections/s  ",
            (f"{amount(view.rate):>7}", STRONG),
            f"   {view.total} since the start",
        ),
        line(
            "accept-local   ", (f"{now:>7}", grade(view.local)), f"   {since_start} since the start"
        ),
        line(("last minute ", DIM), sparkline(view.minute), ("  0-100%", DIM)),
        line("queue wait     ", waits, (f"  (last {view.seconds:.0f} s)", DIM)),
    ]


def _wait(view: View, rank: float) -> str:
    return duration(view.waits.percentile(rank)) if view.waits.total else "-"


def _workers(view: View, rows: Sequence[WorkerRow], height: int) -> list[Line]:
    """A heading and a line for each worker, the last line for those without one."""
    heading = f"{'worker':<16} {'pid':>8} {'cpu':>5} {'accepts/s':>9} {'local':>7}"
    lines = [line((f"{heading}  most misses from", STRONG))]
    shown = rows if len(rows) < height else rows[: max(0, height - 2)]
    for row in shown:
        local = share(row.local, row.accepts)
        lines.append(
            line(
                f"{column(_name(view, row), 16)} {row.pid:>8} {f'#{row.cpu}':>5} "
                f"{amount(row.accepts / view.seconds if view.seconds else 0):>9} ",
                (f"{percent(local):>7}", grade(local)),
                f"  {_missed(row)}",
            )
        )
    if len(shown) < len(rows):
        others = rows[len(shown) :]
        rate = amount(sum(row.accepts for row in others) / view.seconds)
        lines.append(line((f"… and {len(others)} more, {rate} accepts/s", DIM)))
    return lines


def _name(view: View, row: WorkerRow) -> str:
    return view.names[row.pid].decode(errors="backslashreplace")


def _missed(row: WorkerRow) -> str:
    if row.missed_from is None:
        return "-"
    cpu = "?" if row.missed_from < 0 else f"#{row.missed_from}"
    return f"{cpu} {percent(row.missed_share, 0)}"
