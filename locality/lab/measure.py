"""Measure the lab with the same sources that the commands use."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from locality import topology
from locality.accept import AcceptSource, Filter
from locality.accept_summary import AcceptSummary
from locality.lab.demo import Measurement
from locality.lab.nginx import PORT
from locality.skb import SkbSource

if TYPE_CHECKING:
    from collections.abc import Iterator

    from locality.lab.namespaces import Namespace
    from locality.topology import Topology


@dataclass(frozen=True)
class Meter:
    """Both sources, attached, and what to count of what they see."""

    accepts: AcceptSource
    packets: SkbSource
    netns: int
    """Accepts are those of the lab's own server, told by its network namespace. Packets are
    those of the whole machine: a packet does not belong to one namespace."""
    machine: Topology

    def measure(self, seconds: float) -> Measurement:
        """Count for so many seconds."""
        lost = self.accepts.read().lost  # what lay in the ring is from before
        self.packets.read()
        summary = AcceptSummary(self.machine)
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            time.sleep(min(self.accepts.period, left))
            batch = self.accepts.read()
            ours = batch.records["netns"] == self.netns
            summary.write(replace(batch, records=batch.records[ours]))
        return Measurement(
            accepts=summary.total,
            accept_local=summary.local,
            lost=summary.lost - lost,
            skb=self.packets.read(),
        )


@contextmanager
def measuring(server: Namespace) -> Iterator[Meter]:
    """Attach the probes of both sources for the time of the block.

    Raises:
        Unsupported: This kernel allows no probe for one of them.
    """
    netns = Path(f"/proc/{server.pid}/ns/net").stat().st_ino
    with AcceptSource(Filter(ports=(PORT,))) as accepts, SkbSource() as packets:
        yield Meter(accepts, packets, netns, topology.read())
