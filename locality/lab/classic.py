"""The lines that the three scripts of 2017 print: here, and in the article."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from locality.accept.text import ClassicAccept
from locality.skb.text import ClassicSkb

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from locality.lab.demo import PhaseResult
    from locality.machine.topology import Topology

# https://blog.cloudflare.com/perfect-locality-and-three-epic-systemtap-scripts/: 12 workers.
ARTICLE_ACCEPT = "cpu=#12 pid=29333 accept(3) -> fd=30 rxcpu=#19"
ARTICLE_PACKETS = "rx= 10%  130kpps tx=  8% 127kpps"
ARTICLE_PACKETS_AFTER = "99 %"
ARTICLE_ATTACHED = "[+] Pid=29333 fd=3 group_size=12 setsockopt(SO_ATTACH_REUSEPORT_CBPF)=0"


def classic_lines(results: Sequence[PhaseResult], machine: Topology) -> Iterator[str]:
    """What each script shows before and after the program, beside the article's line.

    Args:
        results: Those of the phases before and after, in this order.
        machine: Where they were measured.
    """
    before, after = results
    yield "accept.stp: the CPU that accepts a connection, and the CPU that received it"
    for when, result in (("before", before), ("after", after)):
        yield from (f"{when:<6} {line}" for line in _accepts(result, machine))
    yield f"2017   {ARTICLE_ACCEPT}"
    yield "setcbpf.stp: the program is attached"
    yield f"here   {after.announced}"
    yield f"2017   {ARTICLE_ATTACHED}"
    yield "locality.stp: packets consumed on the CPU that allocated them"
    yield f"before {_packets(before, machine)}"
    yield f"2017   {ARTICLE_PACKETS}"
    yield f"after  {_packets(after, machine)}"
    yield f"2017   {ARTICLE_PACKETS_AFTER}"


def _accepts(result: PhaseResult, machine: Topology) -> list[str]:
    out = io.StringIO()
    if result.measurement.first_accepts is not None:
        ClassicAccept(out, machine).write(result.measurement.first_accepts)
    return out.getvalue().splitlines()


def _packets(result: PhaseResult, machine: Topology) -> str:
    out = io.StringIO()
    ClassicSkb(out, machine).write(result.measurement.skb)
    return out.getvalue().rstrip()
