"""Requests/s of nginx in the lab, with and without tracing.

The load runs all the time; each turn counts the connections that nginx's namespace took,
which is one for each request. `accept` writes a line for each connection, which nobody
reads; `skb` counts. The reader shares the CPUs with nginx: how much of the loss is the probe's
is seen where nobody reads, and how much is the lines' where `--summary` prints none.
"""

from __future__ import annotations

import os
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.measure import Figure, ratios, take_turns
from benchmarks.programs import attached
from locality.accept.source import AcceptSource, Filter
from locality.accept.summary import AcceptSummary
from locality.accept.text import TextAccept
from locality.lab.experiment import open_lab
from locality.lab.nginx import PORT
from locality.machine import topology
from locality.skb.source import SkbSource
from locality.stream import stream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from locality.accept.batch import AcceptBatch
    from locality.lab.experiment import Lab
    from locality.stream import Sink

ROUNDS = 25
SECONDS = 30.0
TURN_S = 0.2
WARM_UP_S = 0.5


def run(scratch: Path) -> Iterator[Figure]:  # noqa: ARG001 - others need one
    with open_lab() as lab, lab.load() as load:
        time.sleep(WARM_UP_S)
        found = _compare(lab)
        load.stop()
    base = found["not traced"]
    for name, values in found.items():
        if values is not base:
            yield Figure(f"{name} / not traced", ratios(values, base), "x")
    for name, values in found.items():
        yield Figure(f"requests/s: {name}", values, "/s")


def _compare(lab: Lab) -> dict[str, list[float]]:
    """Requests/s, by round."""
    machine = topology.read()
    with ExitStack() as stack:
        nowhere = stack.enter_context(open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123
        summary, text = AcceptSummary(machine), TextAccept(nowhere, machine)
        accepts = stack.enter_context(AcceptSource(Filter(ports=(PORT,))))
        packets = stack.enter_context(SkbSource())
        for source in (accepts, packets):
            source.attachment.obj.detach()

        def measured(
            *sources: AcceptSource | SkbSource,
            sinks: tuple[Sink[AcceptBatch], ...] = (summary, text),
        ) -> float:
            with ExitStack() as tracing:
                for source in sources:
                    attachment = source.attachment
                    tracing.enter_context(attached(attachment.obj, attachment.programs))
                before, begin = requests(lab), time.perf_counter()
                if accepts in sources and sinks:
                    stream(accepts, sinks, duration=TURN_S)
                else:
                    time.sleep(TURN_S)
                rate = (requests(lab) - before) / (time.perf_counter() - begin)
                accepts.read()  # what nobody has read
                return rate

        contestants: dict[str, Callable[[], float]] = {
            "not traced": measured,
            "accept": partial(measured, accepts),
            "accept --summary": partial(measured, accepts, sinks=(summary,)),
            "accept, nobody reads": partial(measured, accepts, sinks=()),
            "skb": partial(measured, packets),
            "accept and skb": partial(measured, accepts, packets),
        }
        return take_turns(contestants, rounds=ROUNDS, seconds=SECONDS)


def requests(lab: Lab) -> int:
    """Connections that were made to the lab's server so far."""
    table = Path(f"/proc/{lab.server.pid}/net/snmp").read_text(encoding="ascii")
    names, values = (line.split() for line in table.splitlines() if line.startswith("Tcp:"))
    return int(values[names.index("PassiveOpens")])
