"""Accepted connections as readable lines: one line each, the lines of 2017, and the summary."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TextIO

from locality.accept.columns import columns
from locality.accept.many_lines import pieces
from locality.accept.text_lines import text_lines
from locality.machine.cgroups import container_of
from locality.machine.distance import by_distance, distance_text
from locality.recording.byte_lines import MANY, ByteLines
from locality.stream import Output
from locality.text import (
    WIDEST_MATRIX,
    duration,
    matrix_lines,
    percent,
    printable,
    share,
    wrap,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from locality.accept.batch import AcceptBatch
    from locality.accept.summary import AcceptSummary
    from locality.machine.topology import Topology


MOST_WORKERS = 20


class TextAccept(Output["AcceptBatch"]):
    """One line a connection, under a heading."""

    NAMES = (
        *("time", "cpu", "rxcpu", "distance", "comm", "task", "listen_fd", "fd"),
        *("raddr", "rport", "wait_ns"),
    )
    LINE = "%s cpu=%d rxcpu=%d %s %s/%s %d->%d %s:%d %s\n"
    HEADING = "time     cpu and rxcpu, how far apart, worker/pid, fds, client, time in queue\n"

    def __init__(self, out: TextIO, machine: Topology) -> None:
        super().__init__(out, machine)
        out.write(self.HEADING)

    def write(self, batch: AcceptBatch) -> None:
        """Write a batch."""
        for piece in pieces(batch):
            if len(piece) < MANY:
                self._write_few(piece)
            else:
                self._out.write(text_lines(piece, self._machine, _distance_cell))
        self._out.flush()

    def _write_few(self, batch: AcceptBatch) -> None:
        values = columns(batch, self._machine, [name for name in self.NAMES if name != "task"])
        ids = zip(*columns(batch, self._machine, ["pid", "tid"]).values(), strict=True)
        values = {name: values.get(name, []) for name in self.NAMES}
        values["task"] = [task(pid, tid) for pid, tid in ids]
        # Names, seconds and addresses repeat; making them readable is what takes time.
        clocks = {
            second: time.strftime("%H:%M:%S", time.localtime(second))
            for second in set(map(int, values["time"]))
        }
        values["time"] = [clocks[int(seconds)] for seconds in values["time"]]
        for name, readable in (
            ("comm", printable),
            ("distance", _distance_cell),
            ("raddr", lambda text: f"[{text}]" if ":" in text else text),
        ):
            texts = {text: readable(text) for text in set(values[name])}
            values[name] = [texts[text] for text in values[name]]
        values["wait_ns"] = [duration(wait) for wait in values["wait_ns"]]
        rows = zip(*values.values(), strict=True)
        self._out.write("".join([self.LINE % row for row in rows]))


def _distance_cell(word: str) -> str:
    return f"{'local' if word == 'cpu' else word:<6}"


def task(pid: int, tid: int | None) -> str:
    """A pid, with the thread behind it where that is not the process's main one."""
    return f"{pid}" if tid in {pid, 0} else f"{pid}/{tid}"


def summary_lines(summary: AcceptSummary) -> Iterator[str]:
    """The summary of a run of `locality accept`."""
    local = share(summary.local, summary.total)
    yield f"{summary.total} accepted, {percent(local, 2)} accept-local, {summary.lost} lost"
    if not summary.total:
        return
    counts = by_distance(summary.matrix, summary.machine.distances)
    yield from wrap(distance_text(counts, summary.machine))
    median, p99 = (duration(summary.waits.percentile(rank)) for rank in (50, 99))
    yield f"queue wait: median {median}, p99 {p99}"
    yield ""
    containers = {
        number: container
        for number, path in summary.cgroups.items()
        if (container := container_of(path)) is not None
    }
    heading = f"{'worker':<16} {'pid':>15} {'cpu':>4} {'accepts':>10} {'local':>8}"
    yield f"{heading}  container" if containers else heading
    workers = sorted(summary.workers.values(), key=lambda worker: -worker.accepts)
    for worker in workers[:MOST_WORKERS]:
        container = containers.get(worker.cgroup, "")
        line = (
            f"{printable(worker.comm):<16} {task(worker.pid, worker.tid):>15} {worker.cpu:>4} "
            f"{worker.accepts:>10} {percent(share(worker.local, worker.accepts)):>8}  {container}"
        )
        yield line.rstrip()
    if len(workers) > MOST_WORKERS:
        yield f"… and {len(workers) - MOST_WORKERS} more"
    if summary.earlier:
        part = percent(share(summary.earlier_local, summary.earlier))
        words = f"{summary.earlier} accepts, {part} local"
        yield f"others, that accepted nothing for longest: {words}"
    if summary.machine.possible <= WIDEST_MATRIX:
        yield ""
        # As in all other matrices, a row is where packets came to.
        yield from matrix_lines(summary.matrix.T, "RX", "accept")


class ClassicAccept(Output["AcceptBatch"]):
    """accept.stp: ``cpu=#12 pid=29333 accept(3) -> fd=30 rxcpu=#19``."""

    FIELDS = ("cpu", "pid", "listen_fd", "fd", "rxcpu")
    LINE = "cpu=#%d pid=%d accept(%d) -> fd=%d rxcpu=#%d\n"

    def write(self, batch: AcceptBatch) -> None:
        """One line a connection."""
        for piece in pieces(batch):
            records = piece.records
            if len(piece) < MANY:
                values = records[[*self.FIELDS]].tolist()
                self._out.write("".join([self.LINE % of_line for of_line in values]))
                continue
            lines = ByteLines(len(records))
            for before, name in zip(self.LINE.split("%d"), (*self.FIELDS, ""), strict=True):
                lines.same(before.encode())
                if name:
                    lines.numbers(records[name])
            self._out.write(lines.join().decode())
        self._out.flush()
