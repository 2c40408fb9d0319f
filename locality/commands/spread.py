"""The command that spreads one flow. Like `locality.cli`: no logic, imports on use."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from locality.commands.lines import end, tell
from locality.commands.numbers import WholeRange
from locality.commands.options import duration_option, interval_option, json_options
from locality.commands.values import DEVICE, WRITABLE
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
@click.option(
    "--dev",
    "interface",
    type=DEVICE,
    required=True,
    metavar="IF",
    help="Attach the program to this interface.",
)
@click.option(
    "--port",
    "ports",
    type=WholeRange(1, 65535),
    required=True,
    multiple=True,
    metavar="PORT",
    help="Spread datagrams to this destination port. Repeatable.",
)
@click.option(
    "--mode",
    type=click.Choice(["auto", "native", "generic"]),
    default="auto",
    show_default=True,
    help="Choose where XDP runs: native in the driver, generic in the network stack, auto in the "
    "driver if it allows it.",
)
@interval_option
@duration_option
@json_options(help_="Choose the output format. json prints an object for each interval.")
@click.option("--ready-file", type=WRITABLE, help="Write this file once the program is attached.")
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
    """Spread one UDP flow: give datagrams random source ports.

    An XDP program changes the source port of each datagram, so that the datagrams of one 4-tuple
    reach all sockets of a SO_REUSEPORT group. The receiver no longer sees the true port. The
    program is removed when this command ends, for instance by Ctrl-C.
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
