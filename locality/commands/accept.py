"""`locality accept`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from locality.commands.filters import cgroup_option, netns_option, places
from locality.commands.numbers import WholeRange
from locality.commands.options import (
    comm_option,
    count_option,
    engine_option,
    less_options,
    pids_option,
    ports_option,
    tracing_options,
)
from locality.kinds import ACCEPT

if TYPE_CHECKING:
    from locality.commands.options import Traced


@click.command()
@comm_option(
    help="Show only threads of this name, or of a process of this name. The first 15 bytes count."
)
@pids_option(help="Show only this process. Repeatable.")
@ports_option(help="Show only this local port. Repeatable.")
@netns_option("Show only connections")
@cgroup_option("Show only threads")
@click.option(
    "--cpu", type=WholeRange(min=0), metavar="CPU", help="Show only accept() calls on this CPU."
)
@click.option("--family", type=click.Choice(["4", "6"]), help="Show only this IP version.")
@count_option(help="Stop after N connections.  [default: no limit]")
@click.option(
    "--ring",
    type=WholeRange(4, 1 << 20),
    metavar="KIB",
    default=4096,
    show_default=True,
    help="Set the size of the buffer between kernel and reader, in KiB.",
)
@engine_option
@tracing_options(ACCEPT.outputs)
@less_options("connection")
def accept(
    *,
    comm: str | None,
    pids: tuple[int, ...],
    ports: tuple[int, ...],
    netns: str | None,
    cgroup: str | None,
    cpu: int | None,
    family: str | None,
    count: int | None,
    ring: int,
    engine: str,
    traced: Traced,
) -> None:
    """Show which CPU accepts and which CPU receives a connection.

    Prints a line for each accepted connection, and a summary at the end. Ctrl-C ends it.
    """
    from locality.accept.source import AcceptSource, Filter
    from locality.commands.lines import check_who
    from locality.commands.measure import Subject, check_shown, measure
    from locality.machine import topology

    check_shown(ACCEPT.outputs, traced.shown)
    machine = topology.read()
    check_who(pids, comm)
    if cpu is not None and cpu >= machine.possible:
        raise click.UsageError(f"--cpu {cpu}: this machine has CPUs 0 to {machine.possible - 1}")
    ip = int(family) if family else None
    wanted = Filter(comm, pids, ports, cpu, ip, **places(netns, cgroup))
    with AcceptSource(wanted, traced.rung, ring * 1024, engine) as source:
        subject = Subject(
            f"accepts of {wanted}",
            f"{wanted}",
            comm,
            pids,
            clock_offset=source.clock_offset,
            ports=ports,
            netns=wanted.netns,
        )
        measure(ACCEPT, source, machine, subject, traced, count=count)
