"""`locality accept`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from locality.commands.options import (
    AT_LEAST_ONE,
    comm_option,
    engine_option,
    pids_option,
    ports_option,
    tracing_options,
)
from locality.kinds import ACCEPT

if TYPE_CHECKING:
    from locality.commands.options import Traced


@click.command()
@comm_option(help="Only threads with this name, or of a process with it (15 bytes count).")
@pids_option(help="Only this process; repeatable.")
@ports_option(help="Only this local port; repeatable.")
@click.option("--cpu", type=click.IntRange(min=0), help="Only accept() calls on this CPU.")
@click.option("--family", type=click.Choice(["4", "6"]), help="Only this IP version.")
@click.option("--count", type=AT_LEAST_ONE, metavar="N", help="End after N connections.")
@click.option(
    "--ring",
    type=click.IntRange(4, 1 << 20),
    metavar="KIB",
    default=4096,
    show_default=True,
    help="Size of the buffer between kernel and reader.",
)
@engine_option
@tracing_options(ACCEPT.outputs)
def accept(
    *,
    comm: str | None,
    pids: tuple[int, ...],
    ports: tuple[int, ...],
    cpu: int | None,
    family: str | None,
    count: int | None,
    ring: int,
    engine: str,
    traced: Traced,
) -> None:
    """Show for each accepted connection the CPU of the call and the CPU that received."""
    from locality.accept.source import AcceptSource, Filter
    from locality.commands.measure import Subject, check_shown, measure
    from locality.commands.output import check_who
    from locality.machine import topology

    check_shown(ACCEPT.outputs, traced.shown)
    machine = topology.read()
    check_who(pids, comm)
    if cpu is not None and cpu >= machine.possible:
        raise click.UsageError(f"--cpu {cpu}: this machine has CPUs 0 to {machine.possible - 1}")
    wanted = Filter(comm, pids, ports, cpu, int(family) if family else None)
    with AcceptSource(wanted, traced.rung, ring * 1024, engine) as source:
        subject = Subject(
            f"accepts of {wanted}",
            f"{wanted}",
            comm,
            pids,
            clock_offset=source.clock_offset,
        )
        measure(ACCEPT, source, machine, subject, traced, count=count)
