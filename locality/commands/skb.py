"""`locality skb`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from locality.commands.filters import cgroup_option, netns_option, places
from locality.commands.options import (
    comm_option,
    count_option,
    engine_option,
    interval_option,
    pids_option,
    ports_option,
    tracing_options,
)
from locality.commands.values import DEVICE
from locality.kinds import SKB

if TYPE_CHECKING:
    from locality.commands.options import Traced


@click.command()
@netns_option("Count only packets")
@click.option("--dev", type=DEVICE, metavar="IF", help="Count only packets of this network device.")
@ports_option(help="Count only TCP and UDP packets of this local port. Repeatable.")
@pids_option(help="Count only packets that this process reads or sent. Repeatable.")
@comm_option(
    help="Count only packets that threads of this name, or of a process of this name, read or sent."
)
@cgroup_option("Count only packets that threads read or sent")
@click.option("--family", type=click.Choice(["4", "6"]), help="Count only this IP version.")
@interval_option
@count_option(help="Stop after N intervals.  [default: no limit]")
@click.option(
    "--matrix",
    is_flag=True,
    help="Add a matrix of packets: the CPU that allocated against the CPU that consumed.",
)
@engine_option
@tracing_options(SKB.outputs)
def skb(
    *,
    netns: str | None,
    dev: str | None,
    ports: tuple[int, ...],
    pids: tuple[int, ...],
    comm: str | None,
    cgroup: str | None,
    family: str | None,
    interval: float,
    count: int | None,
    matrix: bool,
    engine: str,
    traced: Traced,
) -> None:
    """Show the share of packets consumed on the allocating CPU.

    Counts the packets of this machine, or those that are chosen, and prints a line for each
    interval. Ctrl-C ends it.
    """
    from locality.commands.lines import check_who
    from locality.commands.measure import Subject, check_shown, measure
    from locality.machine import topology
    from locality.skb.source import SkbSource
    from locality.skb.wanted import SkbFilter, device

    check_shown(SKB.outputs, traced.shown, matrix=matrix)
    machine = topology.read()
    check_who(pids, comm)
    wanted = SkbFilter(
        *(comm, pids, ports, None if dev is None else device(dev)),
        family=int(family) if family else None,
        **places(netns, cgroup),
    )
    options: dict[str, Any] = {"matrix": True} if matrix else {}
    with SkbSource(interval, traced.rung, engine, wanted) as source:
        title = f"packets of {wanted if wanted.selects else 'this machine'}"
        subject = Subject(title, f"{wanted}", comm, pids, interval)
        measure(SKB, source, machine, subject, traced, count=count, **options)
