"""Connections that have ended as readable lines: one line each, and the summary."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TextIO

from locality.accept.text import task
from locality.connections.columns import columns
from locality.stream import Output
from locality.text import duration, percent, printable, share

if TYPE_CHECKING:
    from collections.abc import Iterator

    from locality.accept.histogram import LogHistogram
    from locality.connections.batch import ConnectionBatch
    from locality.connections.summary import ConnectionSummary
    from locality.machine.topology import Topology

MOST_READERS = 20

_NAMES = (
    *("time", "lifetime_ns", "raddr", "rport", "end", "received", "sent", "rtt_ns", "retransmits"),
    *("reads", "local_reads", "reader_comm", "reader_pid", "reader_tid", "reader_cpu"),
    "read_after_ns",
)


class TextConnections(Output["ConnectionBatch"]):
    """One line a connection, under a heading."""

    HEADING = (
        "ended    client, lifetime, who closed first, bytes in/out, RTT, retransmits,\n"
        "         reads and which share local; first reader, its CPU, time after accept\n"
    )

    def __init__(self, out: TextIO, machine: Topology) -> None:
        super().__init__(out, machine)
        out.write(self.HEADING)

    def write(self, batch: ConnectionBatch) -> None:
        """Write a batch."""
        rows = zip(*columns(batch, self._machine, _NAMES).values(), strict=True)
        self._out.write("".join([_line(*row) for row in rows]))
        self._out.flush()


def _line(  # noqa: PLR0917 - the values of _NAMES
    accepted: float,
    lifetime: int,
    raddr: str,
    rport: int,
    end: str,
    received: int,
    sent: int,
    rtt: int | None,
    retransmits: int,
    reads: int,
    local_reads: int,
    comm: str,
    pid: int | None,
    tid: int | None,
    cpu: int | None,
    after: int | None,
) -> str:
    clock = time.strftime("%H:%M:%S", time.localtime(accepted + lifetime / 1e9))
    client = f"[{raddr}]:{rport}" if ":" in raddr else f"{raddr}:{rport}"
    line = (
        f"{clock} {client} {duration(lifetime)} {end} {received}/{sent}B rtt={duration(rtt)} "
        f"retransmits={retransmits} reads={reads}"
    )
    if pid is None:
        return f"{line}\n"
    reader = f"{printable(comm)}/{task(pid, tid)} cpu={cpu} {duration(after)}"
    return f"{line} local={percent(share(local_reads, reads))} {reader}\n"


def summary_lines(summary: ConnectionSummary) -> Iterator[str]:
    """The summary of a run of `locality connections`."""
    yield f"{summary.total} ended, {summary.still_open} still open, {summary.lost} lost"
    if summary.unplaced:
        yield f"{summary.unplaced} of the lost found the table full: give a larger --table"
    if not summary.total:
        return
    client, server, reset = summary.ends.tolist()
    yield f"closed first by the client {client}, by the server {server}; reset {reset}"
    sums = summary.sums
    yield (
        f"received {sums['received']} bytes, sent {sums['sent']} bytes, "
        f"{sums['retransmits']} retransmits"
    )
    yield f"lifetime: {_median(summary.lifetimes)}"
    if not summary.read:
        yield "nothing was read"
        return
    local = percent(share(sums["local_reads"], sums["reads"]), 2)
    yield f"{sums['reads']} reads, {local} on the RX CPU"
    yield f"accept to first read: {_median(summary.after_accept)}"
    yield f"last packet to first read: {_median(summary.waits)}"
    handed_off = percent(share(summary.handed_off, summary.read))
    yield f"first read by another thread than the accept: {handed_off} of {summary.read}"
    yield ""
    yield f"{'first reader':<16} {'pid':>15} {'connections':>12} {'reads':>10} {'local':>8}"
    readers = sorted(summary.readers.values(), key=lambda reader: -reader.connections)
    for reader in readers[:MOST_READERS]:
        yield (
            f"{printable(reader.comm):<16} {task(reader.pid, reader.tid):>15} "
            f"{reader.connections:>12} {reader.reads:>10} "
            f"{percent(share(reader.local_reads, reader.reads)):>8}"
        )
    if len(readers) > MOST_READERS:
        yield f"… and {len(readers) - MOST_READERS} more"
    if summary.earlier:
        yield f"others, that were not the first reader for longest: {summary.earlier} connections"


def _median(times: LogHistogram) -> str:
    median, p99 = (duration(times.percentile(rank)) for rank in (50, 99))
    return f"median {median}, p99 {p99}"
