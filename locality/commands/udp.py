"""`locality udp`."""

from __future__ import annotations

from contextlib import ExitStack
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
from locality.commands.output import (
    check_live,
    check_udp_format,
    check_who,
    end,
    header_of,
    say_where_we_stand,
    udp_output,
)

if TYPE_CHECKING:
    from pathlib import Path

    from locality.stream import Sink
    from locality.udp.interval import UdpInterval


@click.command()
@ports_option(help="Only this local port; repeatable.")
@pids_option(help="Only readers of this process; repeatable.")
@comm_option(help="Only reading threads of this name.")
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
@tracing_options
def udp(
    *,
    ports: tuple[int, ...],
    pids: tuple[int, ...],
    comm: str | None,
    interval: float,
    count: int | None,
    sample: int,
    format_: str,
    live: bool,
    svg: Path | None,
    record: Path | None,
    force: bool,
    rung: str | None,
    ready_file: Path | None,
    duration: float | None,
) -> None:
    """Show who gets the datagrams: by socket, reading thread, CPU and flow."""
    from locality.machine import topology
    from locality.stream import stream
    from locality.summary import Summary
    from locality.udp.source import UdpFilter, UdpSource
    from locality.udp.text import udp_summary_lines

    check_udp_format(format_)
    check_live(live=live, format_=format_, svg=svg)
    machine = topology.read()
    check_who(pids, comm)
    wanted = UdpFilter(comm, pids, ports)
    summary: Summary[UdpInterval] = Summary()
    with UdpSource(wanted, interval, rung, sample) as source, ExitStack() as stack:
        say_where_we_stand(source.footing, f"datagrams of {wanted}", comm)
        sinks: list[Sink[UdpInterval]] = [summary]
        if record is not None:
            from locality.recording.format import Meta
            from locality.udp.recorder import UdpRecorder

            meta = Meta.here("udp", source.footing, machine, wanted=f"{wanted}", interval=interval)
            sinks.append(stack.enter_context(UdpRecorder(record, meta, force=force)))
        header = header_of(source.footing, f"{wanted}") if live else None
        sinks.append(stack.enter_context(udp_output(machine, format_, header, svg)))
        stream(source, sinks, duration=duration, count=count, ready_file=ready_file)
    end(udp_summary_lines(summary), format_)
