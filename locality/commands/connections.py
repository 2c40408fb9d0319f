"""`locality connections`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from locality.commands.filters import cgroup_option, netns_option, places
from locality.commands.numbers import WholeRange
from locality.commands.options import (
    comm_option,
    count_option,
    less_options,
    pids_option,
    ports_option,
    tracing_options,
)
from locality.kinds import CONNECTIONS

if TYPE_CHECKING:
    from locality.commands.options import Traced


@click.command()
@comm_option(
    help="Follow only connections accepted by threads of this name, or of a process of this name."
)
@pids_option(help="Follow only connections accepted by this process. Repeatable.")
@ports_option(help="Follow only connections to this local port. Repeatable.")
@netns_option("Follow only connections")
@cgroup_option("Follow only connections accepted by threads")
@click.option("--family", type=click.Choice(["4", "6"]), help="Follow only this IP version.")
@count_option(help="Stop after N connections have ended.  [default: no limit]")
@click.option(
    "--table",
    type=WholeRange(1, 1 << 22),
    metavar="N",
    default=65536,
    show_default=True,
    help="Follow at most N connections at the same time; each takes about 300 bytes of memory.",
)
@tracing_options(CONNECTIONS.outputs)
@less_options("connection")
def connections(
    *,
    comm: str | None,
    pids: tuple[int, ...],
    ports: tuple[int, ...],
    netns: str | None,
    cgroup: str | None,
    family: str | None,
    count: int | None,
    table: int,
    traced: Traced,
) -> None:
    """Show accepted connections when they end.

    Follows each TCP connection that is accepted from now on. When it ends, prints a line with its
    lifetime, bytes and round-trip time, how many of its reads were on the CPU that received last,
    and which thread read first. Ctrl-C ends it.
    """
    from locality.accept.source import Filter
    from locality.commands.lines import check_who
    from locality.commands.measure import Subject, check_shown, measure
    from locality.connections.source import ConnectionSource
    from locality.machine import topology

    check_shown(CONNECTIONS.outputs, traced.shown)
    machine = topology.read()
    check_who(pids, comm)
    ip = int(family) if family else None
    wanted = Filter(comm, pids, ports, family=ip, **places(netns, cgroup))
    with ConnectionSource(wanted, traced.rung, table=table) as source:
        subject = Subject(
            f"connections of {wanted}",
            f"{wanted}",
            comm,
            pids,
            clock_offset=source.clock_offset,
            ports=ports,
            netns=wanted.netns,
        )
        measure(CONNECTIONS, source, machine, subject, traced, count=count)
