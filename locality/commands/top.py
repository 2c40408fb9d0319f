"""`locality top`."""

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
from locality.kinds import TOP

if TYPE_CHECKING:
    from locality.commands.options import Traced


@click.command()
@click.option(
    "--by",
    type=click.Choice(["port", "process", "thread", "cgroup", "netns"]),
    default="port",
    show_default=True,
    help="Choose what a row is.",
)
@ports_option(help="Show only reads on this local port. Repeatable.")
@pids_option(help="Show only reads by this process. Repeatable.")
@comm_option(help="Show only reads by threads of this name, or of a process of this name.")
@netns_option("Show only sockets")
@cgroup_option("Show only reads by threads")
@interval_option
@count_option(help="Stop after N intervals.  [default: no limit]")
@tracing_options(TOP.outputs)
def top(
    *,
    by: str,
    ports: tuple[int, ...],
    pids: tuple[int, ...],
    comm: str | None,
    netns: str | None,
    cgroup: str | None,
    interval: float,
    count: int | None,
    traced: Traced,
) -> None:
    """Show who reads what other CPUs received, the worst first.

    Counts the reads of TCP connections, also of those that were made long ago. A read is local if
    the thread reads on the CPU that received last. Ctrl-C ends it.
    """
    from locality.commands.lines import check_who
    from locality.commands.measure import Subject, check_shown, measure
    from locality.filter import Wanted
    from locality.machine import topology
    from locality.top.source import TopSource

    check_shown(TOP.outputs, traced.shown)
    machine = topology.read()
    check_who(pids, comm)
    wanted = Wanted(comm, pids, ports, **places(netns, cgroup))
    with TopSource(wanted, interval, traced.rung) as source:
        subject = Subject(f"reads of {wanted}", f"{wanted}", comm, pids, interval)
        measure(TOP, source, machine, subject, traced, count=count, by=by)
