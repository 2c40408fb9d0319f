"""Packets as readable lines: one line an interval, the lines of 2017, and the summary."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TextIO

from locality.machine.distance import distance_text
from locality.skb.interval import RX, TX, Flow, packets_by_distance
from locality.skb.pairs import cpus_of
from locality.stream import Output
from locality.text import (
    PAGE,
    WIDEST_MATRIX,
    kilo_rate,
    matrix_lines,
    percent,
    printable,
    share,
    wrap,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from locality.machine.topology import Topology
    from locality.skb.interval import Interval
    from locality.summary import Summary

#: Of packets whose consume CPU is known to be another one than their alloc CPU, but not which.
LEFT = "left its CPU for one not known"


class TextSkb(Output["Interval"]):
    """One line an interval, under a heading that comes again each page.

    Args:
        out: Where to.
        machine: The CPUs that were measured.
        matrix: Print the packets by alloc CPU and consume CPU below each line.
    """

    HEADING = (
        f"{'':8} {'-- received ':-<38} {'-- sent ':-<30}\n"
        f"{'time':8} {'local':>6} {'kpps':>7} {'deliv':>6} {'freed':>6} {'defer':>6}  "
        f"{'local':>6} {'kpps':>7} {'freed':>6} {'defer':>6} lost\n"
    )

    def __init__(self, out: TextIO, machine: Topology, *, matrix: bool = False) -> None:
        super().__init__(out, machine)
        self._matrix = matrix
        self._written = 0
        self._lost = 0

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
        self._out.write(f"{clock:8} {received}  {sent} {batch.lost - self._lost}\n")
        self._lost = batch.lost
        if any(batch.not_told):
            rates = (kilo_rate(count, batch.seconds) for count in batch.not_told)
            self._out.write(
                "{:8} not told apart: {} kpps received, {} kpps sent\n".format("", *rates)
            )
        if self._matrix:
            self._out.write("".join(line + "\n" for line in self._matrices(batch)))
        self._out.flush()

    @staticmethod
    def _flow(flow: Flow, seconds: float) -> list[str]:
        if not flow.packets:
            return ["-", "0.0", "-", "-"]
        return [
            percent(share(flow.local, flow.known)),
            kilo_rate(flow.packets, seconds),
            percent(share(flow.freed_local, flow.packets)),
            percent(share(flow.deferred, flow.packets)),
        ]

    @staticmethod
    def _matrices(batch: Interval) -> Iterator[str]:
        if (cpus := cpus_of(batch.by_pair)) > WIDEST_MATRIX:
            yield f"(a matrix of {cpus} CPUs is too wide: use --format json)"
            return
        matrix = batch.matrix
        for direction, name in ((RX, "received"), (TX, "sent")):
            yield f"{name}, packets:"
            yield from matrix_lines(matrix[direction], "alloc", "consume")
            if apart := batch.apart[direction]:
                yield f"and {apart} on two different CPUs, not known which"
            if together := batch.together[direction]:
                yield f"and {together} on one CPU, not known which"


def summary_lines(summary: Summary[Interval]) -> Iterator[str]:
    """The summary of a run of `locality skb` on this machine, or of a recording's."""
    total = summary.total
    if total is None:
        yield "no interval was over"
        return
    rung = printable(total.rung)
    yield f"{total.seconds:.1f} s on rung {rung}, {total.lost} probe runs lost"
    for direction, name, flow in ((RX, "received", total.rx), (TX, "sent", total.tx)):
        yield f"{name}: {flow.packets} packets"
        if flow.packets:
            yield (
                f"  {percent(share(flow.local, flow.known), 2)} consumed-local, "
                f"{percent(share(flow.freed_local, flow.packets), 2)} freed-local, "
                f"{percent(share(flow.deferred, flow.packets), 2)} deferred"
            )
            counts = packets_by_distance(total, direction, summary.machine)
            text = distance_text(counts, summary.machine, unknown=LEFT)
            yield from wrap(text, "  ", first="  ")
        if flow.unknown:
            yield f"  {flow.unknown} of them consumed on a CPU not known"
    if total.delivered:
        local = percent(share(total.delivered_local, total.delivered), 2)
        yield f"delivered to readers: {total.delivered} packets, {local} consumed-local"
    if any(total.not_told):
        received, sent = total.not_told
        yield f"not told apart, and not counted above: {received} received, {sent} sent"


class ClassicSkb(Output["Interval"]):
    """locality.stp: ``rx= 10%  130kpps tx=  8% 127kpps``.

    The percentages are consumed-local. Where the rung cannot see one it is ``?``, and
    ``-`` when there was no packet to speak of.
    """

    def write(self, batch: Interval) -> None:
        """One line an interval."""
        rx, tx = (
            f"{self._percent(flow):>3}% {flow.packets / batch.seconds / 1000:4.0f}kpps"
            for flow in (batch.rx, batch.tx)
        )
        self._out.write(f"rx={rx} tx={tx}\n")
        self._out.flush()

    @staticmethod
    def _percent(flow: Flow) -> str:
        if not flow.packets:
            return "-"
        percent = share(flow.local, flow.known)
        # As printf's %d did: 99.9 is not yet 100.
        return "?" if percent is None else str(int(percent))
