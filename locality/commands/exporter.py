"""`locality exporter`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from locality.commands.address import ADDRESS
from locality.commands.completion import RungName
from locality.commands.filters import namespace, netns_option
from locality.commands.numbers import Percent, WholeRange
from locality.commands.options import duration_option, ports_option
from locality.commands.values import OUTPUT, READABLE, SECONDS, WRITABLE

if TYPE_CHECKING:
    from pathlib import Path

#: Where to answer unless something else is asked for: on this machine alone.
DEFAULT = ("127.0.0.1", 9817)
#: What is measured unless something else is asked for: all that costs little.
MEASURES = ("accepts", "packets", "reads")


@click.command()
@click.option(
    "--listen",
    type=ADDRESS,
    metavar="ADDR:PORT",
    help="Answer HTTP requests for metrics here.  [default: 127.0.0.1:9817, without --textfile]",
)
@click.option(
    "--textfile",
    type=OUTPUT,
    metavar="FILE",
    help="Write the metrics to this file again and again, for the textfile collector of "
    "node_exporter. Its name ends in .prom; a file of that name is replaced.",
)
@click.option(
    "--interval",
    type=SECONDS,
    default=15.0,
    show_default=True,
    help="With --textfile: set the time between two writings.",
)
@click.option(
    "--measure",
    "measures",
    type=click.Choice((*MEASURES, "latency")),
    multiple=True,
    help="Measure only this. Repeatable. latency has the kernel stamp all packets that it "
    "receives.  [default: accepts, packets, reads]",
)
@ports_option(
    help="Measure only connections to this port, and give it series of its own. Repeatable."
)
@netns_option("Measure only sockets")
@click.option(
    "--max-series",
    type=WholeRange(50, 100_000),
    metavar="N",
    default=300,
    show_default=True,
    help="Export no more than N series. Ports without series of their own are counted together.",
)
@click.option(
    "--duty",
    type=Percent(),
    metavar="PERCENT",
    default="100%",
    show_default=True,
    help="Attach the probes for this share of the time only, in random windows.",
)
@click.option(
    "--window",
    type=SECONDS,
    default=1.0,
    show_default=True,
    help="With --duty: set the length of a window.",
)
@click.option(
    "--rung",
    envvar="LOCALITY_RUNG",
    type=RungName(),
    metavar="NAME",
    help="Use this probe type (rung) for the measurements that have it; 'locality check' lists "
    "them.  [default: of each measurement the first that works]",
)
@click.option(
    "--program-times",
    is_flag=True,
    help="Export the CPU time of the probes. Every BPF program of the machine then runs some ten "
    "nanoseconds longer. Needs CAP_SYS_ADMIN.",
)
@click.option(
    "--findings/--no-findings",
    default=True,
    show_default=True,
    help="Read settings and groups each minute: findings of doctor, and what was changed.",
)
@click.option(
    "--tls-cert", type=READABLE, metavar="FILE", help="Answer by HTTPS, with this certificate."
)
@click.option(
    "--tls-key", type=READABLE, metavar="FILE", help="With --tls-cert: name the certificate's key."
)
@click.option(
    "--tls-client-ca",
    type=READABLE,
    metavar="FILE",
    help="With --tls-cert: answer only clients whose certificate was issued by one of these.",
)
@click.option(
    "--basic-auth",
    type=READABLE,
    metavar="FILE",
    help="Answer only clients that give the USER:PASSWORD of this file, which only its owner may "
    "read.",
)
@click.option("--ready-file", type=WRITABLE, help="Write this file once every probe is attached.")
@duration_option
def exporter(
    *,
    listen: tuple[str, int] | None,
    textfile: Path | None,
    interval: float,
    measures: tuple[str, ...],
    ports: tuple[int, ...],
    netns: str | None,
    max_series: int,
    duty: float,
    window: float,
    rung: str | None,
    program_times: bool,
    findings: bool,
    tls_cert: Path | None,
    tls_key: Path | None,
    tls_client_ca: Path | None,
    basic_auth: Path | None,
    ready_file: Path | None,
    duration: float | None,
) -> None:
    """Export metrics for Prometheus.

    Counts in the kernel, and reads the counters when Prometheus asks: by HTTP on --listen, or by a
    file for node_exporter. Ctrl-C ends it.
    """
    if tls_cert is None and (tls_key or tls_client_ca):
        raise click.UsageError("--tls-key and --tls-client-ca go with --tls-cert")
    if textfile is not None and textfile.suffix != ".prom":
        raise click.UsageError("--textfile FILE: node_exporter reads only names that end in .prom")
    if textfile is None or tls_cert or basic_auth:
        listen = listen or DEFAULT

    from locality.commands.lines import tell
    from locality.exporter.run import Request, run
    from locality.exporter.server import Security, read_credentials

    credentials = None if basic_auth is None else read_credentials(basic_auth)
    request = Request(
        listen=listen,
        textfile=textfile,
        interval=interval,
        security=Security(tls_cert, tls_key, tls_client_ca, credentials),
        measures=measures or MEASURES,
        findings=findings,
        duty=duty,
        window=window,
        rung=rung,
        program_times=program_times,
        ports=ports,
        netns=namespace(netns),
        most_series=max_series,
        duration=duration,
        ready_file=ready_file,
    )
    run(request, tell)
