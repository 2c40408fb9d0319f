"""Measure the lab with the same sources that the commands use."""

from __future__ import annotations

import os
import time
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from locality import topology
from locality.accept import AcceptSource, Filter
from locality.accept_summary import AcceptSummary
from locality.lab.demo import Measurement
from locality.lab.nginx import PORT
from locality.skb import SkbSource

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from locality.lab.namespaces import Namespace


@contextmanager
def measuring(server: Namespace) -> Iterator[Callable[[float], Measurement]]:
    """Attach the probes of both sources for the time of the block.

    Accepts are those of the lab's own server, told by its network namespace; packets are
    those of the whole machine, for a packet does not belong to one namespace.

    Yields:
        A function that measures for so many seconds.

    Raises:
        Unsupported: This kernel allows no probe for one of them.
    """
    machine = topology.read()
    netns = os.stat(f"/proc/{server.pid}/ns/net").st_ino  # noqa: PTH116 - the link's target
    with AcceptSource(Filter(ports=(PORT,))) as accepts, SkbSource() as packets:

        def measure(seconds: float) -> Measurement:
            accepts.read()
            lost = accepts.read().lost
            packets.read()
            summary = AcceptSummary(machine)
            end = time.monotonic() + seconds
            while (left := end - time.monotonic()) > 0:
                time.sleep(min(accepts.period, left))
                batch = accepts.read()
                ours = batch.records["netns"] == netns
                summary.write(replace(batch, records=batch.records[ours]))
            return Measurement(
                accepts=summary.total,
                accept_local=summary.local,
                lost=summary.lost - lost,
                skb=packets.read(),
            )

        yield measure
