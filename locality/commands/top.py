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
@click.option(
    "--cost",
    is_flag=True,
    help="Also show how long packets waited for their readers: the median of local and of remote "
    "reads. The kernel then stamps every received packet, as for locality cost.",
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
    cost: bool,
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

    Counts the reads of TCP connections and UDP sockets, also of connections that were made before
    it began. A read is local if the thread reads on the CPU that received, and remote otherwise.
    Ctrl-C ends it.
    """
    from locality.commands.lines import check_who, tell
    from locality.commands.measure import Subject, check_shown, measure
    from locality.cost.notes import STAMPING
    from locality.filter import Wanted
    from locality.machine import topology
    from locality.top.source import TopSource

    check_shown(TOP.outputs, traced.shown)
    if cost:
        _check_cost(by, traced)
    machine = topology.read()
    check_who(pids, comm)
    wanted = Wanted(comm, pids, ports, **places(netns, cgroup))
    with TopSource(wanted, interval, traced.rung, timed=cost) as source:
        if cost:
            tell(STAMPING)
        subject = Subject(
            f"reads of {wanted}",
            f"{wanted}",
            comm,
            pids,
            interval,
            ports=ports,
            protocols=("tcp", "udp"),
            netns=wanted.netns,
            connected=True,
        )
        measure(TOP, source, machine, subject, traced, count=count, by=by)


def _check_cost(by: str, traced: Traced) -> None:
    """Refuse what goes without times.

    Raises:
        click.UsageError: There are no times of such rows, or in such a recording.
    """
    from locality.top.waits import BY

    if by not in BY:
        *most, last = BY
        raise click.UsageError(
            f"--cost has no times for --by {by}: choose --by {', '.join(most)} or {last}"
        )
    if traced.record is not None:
        raise click.UsageError(
            "--record keeps no times of --cost: locality cost --record makes a recording of them"
        )
