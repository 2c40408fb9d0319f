"""`locality skb`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from locality.commands.options import AT_LEAST_ONE, SECONDS, engine_option, tracing_options
from locality.kinds import SKB

if TYPE_CHECKING:
    from locality.commands.options import Traced


@click.command()
@click.option("--interval", type=SECONDS, default=1.0, show_default=True, metavar="S")
@click.option("--count", type=AT_LEAST_ONE, metavar="N", help="End after N intervals.")
@click.option("--matrix", is_flag=True, help="Add the packets by alloc CPU and consume CPU.")
@engine_option
@tracing_options(SKB.outputs)
def skb(*, interval: float, count: int | None, matrix: bool, engine: str, traced: Traced) -> None:
    """Show the share of packets consumed on the CPU that allocated them."""
    from locality.commands.measure import Subject, check_shown, measure
    from locality.machine import topology
    from locality.skb.source import SkbSource

    check_shown(SKB.outputs, traced.shown, matrix=matrix)
    machine = topology.read()
    options = {"matrix": True} if matrix else {}
    with SkbSource(interval, traced.rung, engine) as source:
        subject = Subject("packets of this machine", interval=interval)
        measure(SKB, source, machine, subject, traced, count=count, **options)
