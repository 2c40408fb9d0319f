"""`locality skb`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from locality.commands.options import (
    count_option,
    engine_option,
    interval_option,
    tracing_options,
)
from locality.kinds import SKB

if TYPE_CHECKING:
    from locality.commands.options import Traced


@click.command()
@interval_option
@count_option(help="Stop after N intervals.  [default: no limit]")
@click.option(
    "--matrix",
    is_flag=True,
    help="Add a matrix of packets: the CPU that allocated against the CPU that consumed.",
)
@engine_option
@tracing_options(SKB.outputs)
def skb(*, interval: float, count: int | None, matrix: bool, engine: str, traced: Traced) -> None:
    """Show the share of packets consumed on the allocating CPU.

    Counts all packets of this machine, and prints a line for each interval. Ctrl-C ends it.
    """
    from locality.commands.measure import Subject, check_shown, measure
    from locality.machine import topology
    from locality.skb.source import SkbSource

    check_shown(SKB.outputs, traced.shown, matrix=matrix)
    machine = topology.read()
    options = {"matrix": True} if matrix else {}
    with SkbSource(interval, traced.rung, engine) as source:
        subject = Subject("packets of this machine", interval=interval)
        measure(SKB, source, machine, subject, traced, count=count, **options)
