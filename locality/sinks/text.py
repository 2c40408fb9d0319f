"""Readable lines, in 80 columns where the data allow it."""

from __future__ import annotations

import math
import textwrap
import time
from typing import TYPE_CHECKING, TextIO

from locality.accept.columns import columns
from locality.machine.distance import by_distance, packets_by_distance, shares, shown
from locality.skb.accounting import RX, TX, Flow, share
from locality.text import printable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from locality.accept.source import AcceptBatch
    from locality.accept.summary import AcceptSummary
    from locality.arrays import Array
    from locality.machine.distance import Counts
    from locality.machine.topology import Topology
    from locality.skb.accounting import Interval
    from locality.summary import Summary

#: Matrices of more CPUs do not fit a terminal; JSON has them whole.
WIDEST_MATRIX = 8
WIDTH = 80
MOST_WORKERS = 20
#: Intervals between two headings.
PAGE = 20

#: Below these a time is given in that unit: where rounding makes it 1000, it is 1 of the next.
_UP_TO_NS, _UP_TO_US, _UP_TO_MS = 999.5, 999_950, 999_950_000


def percent(value: float | None, digits: int = 1) -> str:
    """``98.7%``, or ``?`` for a figure that could not be seen.

    Cut, not rounded: 99.996 is not yet 100.
    """
    if value is None:
        return "?"
    scale = 10**digits
    # 0.29 * 100 is a little less than 29 in binary; that is not what is to be cut.
    return f"{math.floor(round(value * scale, 6)) / scale:.{digits}f}%"


def duration(ns: float | None) -> str:
    """A time with the unit that suits it: ``870ns``, ``12.3us``, ``4.5ms``, ``1.2s``."""
    if ns is None:
        return "?"
    if ns < _UP_TO_NS:
        return f"{ns:.0f}ns"
    if ns < _UP_TO_US:
        return f"{ns / 1e3:.1f}us"
    if ns < _UP_TO_MS:
        return f"{ns / 1e6:.1f}ms"
    return f"{ns / 1e9:.1f}s"


def distance_text(counts: Counts | None, machine: Topology) -> str:
    """The share at each distance that the machine has: ``same CPU 50.0%, same LLC 50.0%``."""
    of = shares(counts)
    return ", ".join(f"{one.phrase} {percent(of[one])}" for one in shown(counts, machine))


def distance_words(counts: Counts | None, machine: Topology) -> str:
    """The same in little room, in the words of the data: ``cpu 50.0% llc 50.0%``."""
    of = shares(counts)
    return " ".join(f"{one.word} {percent(of[one])}" for one in shown(counts, machine))


class TextAccept:
    """One line a connection, under a heading."""

    NAMES = (
        *("time", "cpu", "rxcpu", "distance", "comm", "pid", "listen_fd", "fd"),
        *("raddr", "rport", "wait_ns"),
    )
    LINE = "%s cpu=%d rxcpu=%d %s %s/%d %d->%d %s:%d %s\n"
    HEADING = "time     cpu and rxcpu, how far apart, worker/pid, fds, client, time in queue\n"

    def __init__(self, out: TextIO, topology: Topology) -> None:
        self._out = out
        self._topology = topology
        out.write(self.HEADING)

    def write(self, batch: AcceptBatch) -> None:
        """Write a batch."""
        values = columns(batch, self._topology, self.NAMES)
        # Names, seconds and addresses repeat; making them readable is what takes time.
        clocks = {
            second: time.strftime("%H:%M:%S", time.localtime(second))
            for second in set(map(int, values["time"]))
        }
        values["time"] = [clocks[int(seconds)] for seconds in values["time"]]
        for name, readable in (
            ("comm", printable),
            ("distance", lambda word: f"{'local' if word == 'cpu' else word:<6}"),
            ("raddr", lambda text: f"[{text}]" if ":" in text else text),
        ):
            texts = {text: readable(text) for text in set(values[name])}
            values[name] = [texts[text] for text in values[name]]
        values["wait_ns"] = [duration(wait) for wait in values["wait_ns"]]
        rows = zip(*values.values(), strict=True)
        self._out.write("".join([self.LINE % row for row in rows]))
        self._out.flush()


def summary_lines(summary: AcceptSummary) -> Iterator[str]:
    """The summary of a run of `locality accept`."""
    local = share(summary.local, summary.total)
    yield f"{summary.total} accepted, {percent(local, 2)} accept-local, {summary.lost} lost"
    if not summary.total:
        return
    counts = by_distance(summary.matrix, summary.topology.distances)
    yield from textwrap.wrap(distance_text(counts, summary.topology), WIDTH)
    median, p99 = (duration(summary.waits.percentile(rank)) for rank in (50, 99))
    yield f"queue wait: median {median}, p99 {p99}"
    yield ""
    yield f"{'worker':<16} {'pid':>8} {'cpu':>4} {'accepts':>10} {'local':>8}"
    workers = sorted(summary.workers.values(), key=lambda worker: -worker.accepts)
    for worker in workers[:MOST_WORKERS]:
        yield (
            f"{printable(worker.comm):<16} {worker.pid:>8} {worker.cpu:>4} "
            f"{worker.accepts:>10} {percent(share(worker.local, worker.accepts)):>8}"
        )
    if len(workers) > MOST_WORKERS:
        yield f"… and {len(workers) - MOST_WORKERS} more"
    if summary.topology.possible <= WIDEST_MATRIX:
        yield ""
        yield from matrix_lines(summary.matrix, "accept", "RX")


def matrix_lines(matrix: Array, row_name: str, column_name: str) -> Iterator[str]:
    """A matrix with its CPU numbers; a column more than rows is headed ``?`` if it is used."""
    size = len(matrix)
    names = [f"#{cpu}" for cpu in range(size)]
    if matrix.shape[1] > size:
        matrix = matrix if matrix[:, size].any() else matrix[:, :size]
        names += ["?"] * (matrix.shape[1] - size)
    width = max(5, len(str(matrix.max())), *map(len, names)) + 1
    label = f"{row_name}\\{column_name}"
    yield label + "".join(f"{name:>{width}}" for name in names)
    for cpu, row in enumerate(matrix.tolist()):
        name = f"#{cpu}"
        yield f"{name:>{len(label)}}" + "".join(f"{value:>{width}}" for value in row)


class TextSkb:
    """One line an interval, under a heading that comes again each page.

    Args:
        out: Where to.
        matrix: Print the packets by alloc CPU and consume CPU below each line.
    """

    HEADING = (
        f"{'':8} {'-- received ':-<38} {'-- sent ':-<30}\n"
        f"{'time':8} {'local':>6} {'kpps':>7} {'deliv':>6} {'freed':>6} {'defer':>6}  "
        f"{'local':>6} {'kpps':>7} {'freed':>6} {'defer':>6} lost\n"
    )

    def __init__(self, out: TextIO, *, matrix: bool = False) -> None:
        self._out = out
        self._matrix = matrix
        self._written = 0

    def write(self, batch: Interval) -> None:
        """Write an interval."""
        if self._written % (1 if self._matrix else PAGE) == 0:
            self._out.write(self.HEADING)
        self._written += 1
        clock = time.strftime("%H:%M:%S", time.localtime(batch.time))
        rx = self._flow(batch.rx, batch.seconds)
        tx = self._flow(batch.tx, batch.seconds)
        delivered = percent(share(batch.delivered_local, batch.delivered))
        rx.insert(2, "-" if batch.delivered == 0 else delivered)
        received = " ".join(
            f"{value:>{width}}" for value, width in zip(rx, (6, 7, 6, 6, 6), strict=True)
        )
        sent = " ".join(f"{value:>{width}}" for value, width in zip(tx, (6, 7, 6, 6), strict=True))
        self._out.write(f"{clock:8} {received}  {sent} {batch.lost}\n")
        if self._matrix:
            self._out.write("".join(line + "\n" for line in self._matrices(batch)))
        self._out.flush()

    @staticmethod
    def _flow(flow: Flow, seconds: float) -> list[str]:
        if not flow.packets:
            return ["-", "0.0", "-", "-"]
        return [
            percent(share(flow.local, flow.known)),
            f"{flow.packets / seconds / 1000:.1f}",
            percent(share(flow.freed_local, flow.packets)),
            percent(share(flow.deferred, flow.packets)),
        ]

    @staticmethod
    def _matrices(batch: Interval) -> Iterator[str]:
        if batch.matrix.shape[1] > WIDEST_MATRIX:
            yield f"(a matrix of {batch.matrix.shape[1]} CPUs is too wide: use --format json)"
            return
        for direction, name in ((RX, "received"), (TX, "sent")):
            yield f"{name}, packets:"
            yield from matrix_lines(batch.matrix[direction], "alloc", "consume")
            if apart := batch.apart[direction]:
                yield f"and {apart} on two different CPUs, not known which"
            if together := batch.together[direction]:
                yield f"and {together} on one CPU, not known which"


def skb_summary_lines(summary: Summary[Interval], machine: Topology) -> Iterator[str]:
    """The summary of a run of `locality skb` on this machine, or of a recording's."""
    total = summary.total
    if total is None:
        yield "no interval was over"
        return
    yield f"{total.seconds:.1f} s on rung {total.rung}, {total.lost} probe runs lost"
    for direction, name, flow in ((RX, "received", total.rx), (TX, "sent", total.tx)):
        yield f"{name}: {flow.packets} packets"
        if flow.packets:
            yield (
                f"  {percent(share(flow.local, flow.known), 2)} consumed-local, "
                f"{percent(share(flow.freed_local, flow.packets), 2)} freed-local, "
                f"{percent(share(flow.deferred, flow.packets), 2)} deferred"
            )
            counts = packets_by_distance(total, direction, machine)
            for line in textwrap.wrap(distance_text(counts, machine), WIDTH - 2):
                yield f"  {line}"
        if flow.unknown:
            yield f"  {flow.unknown} of them consumed on a CPU not known"
    if total.delivered:
        local = percent(share(total.delivered_local, total.delivered), 2)
        yield f"delivered to readers: {total.delivered} packets, {local} consumed-local"
