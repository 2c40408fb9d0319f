"""Source: who reads, by the distance to the CPU that received.

`TopSource` has the probes of TCP and UDP reads count in the kernel, a row for each thread and
port, and hands out what was counted since the reading before.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from locality.bpf.ladder import attach_best
from locality.bpf.object import Object
from locality.bpf.source import Probing
from locality.errors import Unsupported
from locality.filter import Wanted
from locality.machine import topology
from locality.machine.cgroups import CgroupPaths
from locality.reads.rows import MAX_READERS, Rows, prepared
from locality.reads.tcp import RUNGS, attach_reads
from locality.top.interval import DISTANCES, KEY, READER, TopInterval
from locality.udp.probe import open_probe
from locality.udp.reads import RUNGS as UDP_RUNGS

if TYPE_CHECKING:
    from contextlib import ExitStack

    from locality.arrays import Array
    from locality.bpf.ladder import Attachment
    from locality.cost.source import CostSource
    from locality.machine.topology import Topology

__all__ = ["RUNGS", "TopSource"]


class TopSource(Probing):
    """Reads of this machine by reader, interval by interval, from the moment it is made.

    Args:
        wanted: Whose reads, on which ports.
        period: Seconds between readings.
        rung: Use this rung or fail; None takes the best.
        rows: How many threads and ports, of TCP and of UDP, are counted at once.
        timed: Measure beside it how long packets wait, as `locality cost` does.

    Raises:
        Unsupported: No rung is allowed here; says what the kernel answered.
    """

    fd: int | None = None

    def __init__(
        self,
        wanted: Wanted | None = None,
        period: float = 1.0,
        rung: str | None = None,
        rows: int = MAX_READERS,
        *,
        timed: bool = False,
    ) -> None:
        self.period = period
        self._size = rows
        self._wanted = wanted or Wanted()
        machine = topology.read()
        self._cost: CostSource | None = None
        with self.attaching() as stack:
            self.hold(stack, attach_reads(self._open_tcp, rung))
            self._probes = [Rows(self.attachment, machine, rows)]
            self._attach_udp(stack, machine, rows)
            if timed:
                from locality.cost.source import CostSource  # noqa: PLC0415 - if it is wanted

                self._cost = stack.enter_context(CostSource(self._wanted, period))
        self.bytes_seen = "raw_received" in self.attachment.programs
        self._paths = CgroupPaths()
        self._since = time.monotonic()

    def _attach_udp(self, stack: ExitStack, machine: Topology, rows: int) -> None:
        try:
            attachment = attach_best(UDP_RUNGS, self._open_udp)
        except Unsupported as refusal:
            unseen = f"reads of datagrams are not seen: {refusal}"
            noted = self.attachment.rung.noting(unseen)
            self.attachment = self.attachment._replace(rung=noted)
            return
        stack.callback(attachment.obj.close)
        self._probes.append(Rows(attachment, machine, rows))

    def _open_tcp(self) -> Object:
        obj = Object.open("tcp_reads", self._constants() | {"counts_rows": True})
        return prepared(obj, self._size)

    def _open_udp(self) -> Object:
        # No flows: what is counted beside the rows is not read.
        constants = {"counts_rows": True, "sample_below": 0, "max_read_rows": self._size}
        return prepared(open_probe(self._wanted, topology.possible_cpus(), constants), self._size)

    def _constants(self) -> dict[str, Any]:
        return {**self._wanted.rodata(), "max_read_rows": self._size}

    def read(self) -> TopInterval:
        """The interval since the last reading; never waits."""
        readers = np.concatenate([grown(*probe.read()) for probe in self._probes])
        cost = None if self._cost is None else self._cost.read()
        now = time.monotonic()
        interval = TopInterval(
            time=time.time(),
            seconds=now - self._since,
            rung=self.attachment.name,
            lost=sum(probe.lost for probe in self._probes) + (cost.lost if cost else 0),
            bytes_seen=self.bytes_seen,
            readers=readers,
            cgroups=self._paths.of(readers["cgroup"], readers["pid"]),
            cost=cost,
        )
        self._since = now
        return interval

    @property
    def attachments(self) -> list[Attachment]:
        """What it attached: for TCP, and for UDP where this kernel allows it."""
        return [self.attachment, *(probe.attachment for probe in self._probes[1:])]


def grown(now: Array, before: Array) -> Array:
    """What the rows grew by; a new owner's began at 0: dtype `READER`, without who read nothing.

    Args:
        now: dtype `READ_ROW`.
        before: The same rows at the last reading.
    """
    same = np.logical_and.reduce([now[name] == before[name] for name in KEY])
    # A row that was given away while it was read shows its old owner, and counts of 0.
    same &= (now["distances"] >= before["distances"]).all(axis=1)
    reads = now["distances"] - np.where(same[:, None], before["distances"], 0)
    some = reads.any(axis=1)
    now, before, same, reads = now[some], before[some], same[some], reads[some]
    found = np.zeros(len(now), READER)
    for name in ("netns", "port", "protocol", "outgoing", "pid", "tid", "cgroup", "comm"):
        found[name] = now[name]
    found["reads"] = reads.sum(axis=1)
    for place, name in enumerate(DISTANCES):
        found[name] = reads[:, place]
    found["bytes"] = now["bytes"] - np.where(same, np.minimum(before["bytes"], now["bytes"]), 0)
    found["sources"], found["received"] = _sources(now, before, same)
    return found


def _sources(now: Array, before: Array, same: Array) -> tuple[Array, Array]:
    """The CPUs that received what was read elsewhere since, most first; -1 and 0 for none."""
    counts = now["sources"]["count"].astype("i8")
    cpus = now["sources"]["cpu"].astype("i4")
    was = before["sources"]
    # A slot that another CPU has taken over counts on from there.
    counts -= np.where(same[:, None], was["count"].astype("i8"), 0)
    cpus[counts <= 0] = -1
    counts[counts <= 0] = 0
    order = np.argsort(-counts, axis=1, kind="stable")
    return (
        np.take_along_axis(cpus, order, axis=1),
        np.take_along_axis(counts, order, axis=1).astype("u8"),
    )
