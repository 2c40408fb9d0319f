"""The command that spreads one flow. Like `locality.cli`: no logic, imports on use."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from locality.commands.options import SECONDS, WRITABLE, json_options
from locality.commands.output import end, tell
from locality.errors import LocalityError

if TYPE_CHECKING:
    from pathlib import Path

    from locality.spread.source import Attachment, Spread
    from locality.stream import Sink

WARNING = (
    "warning: the receiver no longer sees the true source port, so it cannot answer to it; "
    "firewall, conntrack and logs see many flows; datagrams of one sender may be read out of order"
)


@click.command()
@click.option("--dev", "interface", required=True, metavar="IF", help="Where they arrive.")
@click.option(
    "--port",
    "ports",
    type=click.IntRange(1, 65535),
    required=True,
    multiple=True,
    help="Destination port of the datagrams to spread; repeatable.",
)
@click.option(
    "--mode",
    type=click.Choice(["auto", "native", "generic"]),
    default="auto",
    show_default=True,
    help="Native: in the driver. Auto: there if it allows it.",
)
@click.option("--interval", type=SECONDS, default=1.0, show_default=True, metavar="S")
@click.option("--duration", type=SECONDS, metavar="S", help="End after S seconds.")
@json_options(help_="json: an object an interval.")
@click.option("--ready-file", type=WRITABLE, help="Written once the program is attached.")
def spread(
    *,
    interface: str,
    ports: tuple[int, ...],
    mode: str,
    interval: float,
    duration: float | None,
    format_: str,
    ready_file: Path | None,
) -> None:
    """Give the UDP datagrams to a port a random source port, as an XDP program does it.

    A flow of one 4-tuple then reaches all sockets of a SO_REUSEPORT group. Ends, and takes the
    program away, with Ctrl-C or with this process.
    """
    from locality.bpf.xdp import Mode
    from locality.machine import topology
    from locality.spread.source import SpreadSource
    from locality.spread.text import JsonSpread, TextSpread, summary_lines
    from locality.stream import stream
    from locality.summary import Summary

    only = None if mode == "auto" else Mode(mode)
    summary: Summary[Spread] = Summary(topology.read())
    with SpreadSource(interface, ports, interval, only) as source:
        _tell_attachment(source.attachment, interface, ports)
        shown: Sink[Spread] = (
            JsonSpread(sys.stdout, interface, source.attachment.mode.value)
            if format_ == "json"
            else TextSpread(sys.stdout)
        )
        try:
            stream(source, [summary, shown], duration=duration, ready_file=ready_file)
        except LocalityError:  # the interface has gone: what was done stays true
            summary.write(source.count())
            end(summary_lines(summary), format_)
            raise
    end(summary_lines(summary), format_)


def _tell_attachment(attachment: Attachment, interface: str, ports: tuple[int, ...]) -> None:
    from locality.spread.source import FIRST_PORT
    from locality.text import printable

    why = "".join(f"; {one.rung}: {one.answer}" for one in attachment.refused)
    to = ", ".join(map(str, sorted(set(ports))))
    tell(
        f"UDP to port {to} on {printable(interface)}: source ports {FIRST_PORT} to 65535, "
        f"{attachment.mode.value} XDP{why}"
    )
    tell(WARNING)
