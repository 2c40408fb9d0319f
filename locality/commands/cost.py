"""`locality cost`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from locality.commands.filters import cgroup_option, netns_option, places
from locality.commands.options import (
    comm_option,
    count_option,
    interval_option,
    pids_option,
    ports_option,
    tracing_options,
)
from locality.kinds import COST

if TYPE_CHECKING:
    from locality.commands.options import Traced


@click.command()
@click.option(
    "--by",
    type=click.Choice(["port", "process", "cgroup"]),
    default="port",
    show_default=True,
    help="Choose what a row is.",
)
@ports_option(help="Show only reads on this local port. Repeatable.")
@click.option(
    "--proto",
    type=click.Choice(["tcp", "udp"]),
    help="Show only reads of this protocol: the probes then cost less.  [default: both]",
)
@pids_option(help="Show only reads by this process. Repeatable.")
@comm_option(help="Show only reads by threads of this name, or of a process of this name.")
@netns_option("Show only sockets")
@cgroup_option("Show only reads by threads")
@interval_option
@count_option(help="Stop after N intervals.  [default: no limit]")
@tracing_options(COST.outputs)
def cost(
    *,
    by: str,
    ports: tuple[int, ...],
    proto: str | None,
    pids: tuple[int, ...],
    comm: str | None,
    netns: str | None,
    cgroup: str | None,
    interval: float,
    count: int | None,
    traced: Traced,
) -> None:
    """Show how much later packets are read on other CPUs.

    For each distance between the CPU that received a packet and the CPU that reads it: the reads,
    the time from receipt to read, and how long the reader took to wake up. Beside them: interrupts
    between CPUs, and softirqs. Ctrl-C ends it.
    """
    from locality.commands.lines import check_who, tell
    from locality.commands.measure import Subject, check_shown, measure
    from locality.cost.notes import notes
    from locality.cost.source import CostSource
    from locality.filter import Wanted
    from locality.machine import topology

    check_shown(COST.outputs, traced.shown)
    machine = topology.read()
    check_who(pids, comm)
    wanted = Wanted(comm, pids, ports, **places(netns, cgroup))
    filtered = ", ".join([*([] if proto is None else [proto]), *wanted.words()]) or str(wanted)
    with CostSource(wanted, interval, traced.rung, proto) as source:
        for note in notes(source):
            tell(note)
        subject = Subject(
            f"times of reads of {filtered}",
            filtered,
            comm,
            pids,
            interval,
            ports=ports,
            protocols=("tcp", "udp") if proto is None else (proto,),
            netns=wanted.netns,
            connected=True,
        )
        measure(COST, source, machine, subject, traced, count=count, by=by)
