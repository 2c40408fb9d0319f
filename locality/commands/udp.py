"""`locality udp`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from locality.commands.options import (
    AT_LEAST_ONE,
    SECONDS,
    comm_option,
    pids_option,
    ports_option,
    tracing_options,
)
from locality.kinds import UDP

if TYPE_CHECKING:
    from locality.commands.options import Traced


@click.command()
@ports_option(help="Only this local port; repeatable.")
@pids_option(help="Only readers of this process; repeatable.")
@comm_option(help="Only reading threads with this name, or of a process with it.")
@click.option("--interval", type=SECONDS, default=1.0, show_default=True, metavar="S")
@click.option("--count", type=AT_LEAST_ONE, metavar="N", help="End after N intervals.")
@click.option(
    "--sample",
    type=click.IntRange(1, 1 << 20),
    metavar="N",
    default=16,
    show_default=True,
    help="Note the flow of one datagram in N.",
)
@tracing_options(UDP.outputs)
def udp(
    *,
    ports: tuple[int, ...],
    pids: tuple[int, ...],
    comm: str | None,
    interval: float,
    count: int | None,
    sample: int,
    traced: Traced,
) -> None:
    """Show who gets the datagrams: by socket, reading thread, CPU and flow."""
    from locality.commands.measure import Subject, check_shown, measure
    from locality.commands.output import check_who
    from locality.machine import topology
    from locality.udp.source import UdpFilter, UdpSource

    check_shown(UDP.outputs, traced.shown)
    machine = topology.read()
    check_who(pids, comm)
    wanted = UdpFilter(comm, pids, ports)
    with UdpSource(wanted, interval, traced.rung, sample) as source:
        subject = Subject(f"datagrams of {wanted}", f"{wanted}", comm, pids, interval)
        measure(UDP, source, machine, subject, traced, count=count)
