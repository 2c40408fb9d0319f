"""Requests/s of nginx in the lab, with and without tracing.

The load runs all the time; each turn counts the connections that nginx's namespace took,
which is one for each request. `accept` writes a line for each connection, which nobody
reads; `skb` counts. The reader shares the CPUs with nginx: how much of the loss is the probe's
is seen where nobody reads, and how much is the lines' where `--summary` prints none. What no probe
on the same hooks can be below is seen with empty programs: where accepts are seen by tracepoints of
system calls, every system call of the machine takes a longer way.
"""

from __future__ import annotations

import os
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.measure import Figure, Goal, ratios, take_turns
from benchmarks.programs import attached, open_empty
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
    from locality.bpf.object import Object
    from locality.lab.experiment import Lab
    from locality.stream import Sink

    Probes = tuple[Object, tuple[str, ...]]

#: A round differs from the next by some 7 %: it takes many to tell 1 %.
ROUNDS = 100
SECONDS = 150.0
TURN_S = 0.2
WARM_UP_S = 0.5


NOT_TRACED, NOBODY_READS = "not traced", "accept, nobody reads"
EMPTY, EMPTY_SKB = "empty programs", "empty programs of skb"
ACCEPT, SUMMARY, SKB, BOTH = "accept", "accept --summary", "skb", "accept and skb"
COMPARED = (
    *((name, NOT_TRACED) for name in (EMPTY, NOBODY_READS, SUMMARY, ACCEPT, EMPTY_SKB, SKB, BOTH)),
    *((name, EMPTY) for name in (NOBODY_READS, SUMMARY, ACCEPT)),
    (SKB, EMPTY_SKB),
)
GOAL = Goal(low=0.99)


def run(scratch: Path) -> Iterator[Figure]:
    with open_lab() as lab, lab.load() as load:
        time.sleep(WARM_UP_S)
        found = _compare(lab, scratch)
        load.stop()
    for name, base in COMPARED:
        goal = GOAL if name == ACCEPT else None
        yield Figure(f"{name} / {base}", ratios(found[name], found[base]), "x", goal)
    for name, values in found.items():
        yield Figure(f"requests/s: {name}", values, "/s")


def _probes(source: AcceptSource | SkbSource) -> Probes:
    return source.attachment.obj, source.attachment.programs


def _compare(lab: Lab, scratch: Path) -> dict[str, list[float]]:
    """Requests/s, by round."""
    machine = topology.read()
    with ExitStack() as stack:
        nowhere = stack.enter_context(open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123
        summary, text = AcceptSummary(machine), TextAccept(nowhere, machine)
        accepts = stack.enter_context(AcceptSource(Filter(ports=(PORT,))))
        packets = stack.enter_context(SkbSource())
        for source in (accepts, packets):
            source.attachment.obj.detach()
        accept, skb = _probes(accepts), _probes(packets)
        empty, empty_skb = (open_empty(*probes, scratch) for probes in (accept, skb))
        stack.callback(empty.close)
        stack.callback(empty_skb.close)

        def measured(
            *probes: Probes, sinks: tuple[Sink[AcceptBatch], ...] = (summary, text)
        ) -> float:
            with ExitStack() as tracing:
                for obj, programs in probes:
                    tracing.enter_context(attached(obj, programs))
                before, begin = requests(lab), time.perf_counter()
                if accept in probes and sinks:
                    stream(accepts, sinks, duration=TURN_S)
                else:
                    time.sleep(TURN_S)
                rate = (requests(lab) - before) / (time.perf_counter() - begin)
                accepts.read()  # what nobody has read
                return rate

        contestants: dict[str, Callable[[], float]] = {
            NOT_TRACED: measured,
            EMPTY: partial(measured, (empty, accept[1])),
            EMPTY_SKB: partial(measured, (empty_skb, skb[1])),
            NOBODY_READS: partial(measured, accept, sinks=()),
            SUMMARY: partial(measured, accept, sinks=(summary,)),
            ACCEPT: partial(measured, accept),
            SKB: partial(measured, skb),
            BOTH: partial(measured, accept, skb),
        }
        return take_turns(contestants, rounds=ROUNDS, seconds=SECONDS)


def requests(lab: Lab) -> int:
    """Connections that were made to the lab's server so far."""
    table = Path(f"/proc/{lab.server.pid}/net/snmp").read_text(encoding="ascii")
    names, values = (line.split() for line in table.splitlines() if line.startswith("Tcp:"))
    return int(values[names.index("PassiveOpens")])
