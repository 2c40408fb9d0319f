"""`locality udp`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from locality.commands.filters import cgroup_option, netns_option, places
from locality.commands.numbers import WholeRange
from locality.commands.options import (
    comm_option,
    count_option,
    interval_option,
    pids_option,
    ports_option,
    tracing_options,
)
from locality.kinds import UDP

if TYPE_CHECKING:
    from locality.commands.options import Traced


@click.command()
@ports_option(help="Show only this local port. Repeatable.")
@pids_option(help="Show only readers of this process. Repeatable.")
@comm_option(help="Show only reading threads of this name, or of a process of this name.")
@netns_option("Show only sockets")
@cgroup_option("Show only readers")
@interval_option
@count_option(help="Stop after N intervals.  [default: no limit]")
@click.option(
    "--sample",
    type=WholeRange(1, 1 << 20),
    metavar="N",
    default=16,
    show_default=True,
    help="Sample the flow of one datagram in N, at random.",
)
@tracing_options(UDP.outputs)
def udp(
    *,
    ports: tuple[int, ...],
    pids: tuple[int, ...],
    comm: str | None,
    netns: str | None,
    cgroup: str | None,
    interval: float,
    count: int | None,
    sample: int,
    traced: Traced,
) -> None:
    """Show which socket, thread and CPU get the datagrams.

    Prints each SO_REUSEPORT group once an interval, and totals with advice at the end. Ctrl-C
    ends it.
    """
    from locality.commands.lines import check_who
    from locality.commands.measure import Subject, check_shown, measure
    from locality.machine import topology
    from locality.udp.source import UdpFilter, UdpSource

    check_shown(UDP.outputs, traced.shown)
    machine = topology.read()
    check_who(pids, comm)
    wanted = UdpFilter(comm, pids, ports, **places(netns, cgroup))
    with UdpSource(wanted, interval, traced.rung, sample) as source:
        subject = Subject(
            f"datagrams of {wanted}",
            f"{wanted}",
            comm,
            pids,
            interval,
            ports=ports,
            protocols=("udp",),
            netns=wanted.netns,
            connected=True,
        )
        measure(UDP, source, machine, subject, traced, count=count)
