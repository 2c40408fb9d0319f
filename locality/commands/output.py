"""Where the output of a command goes: its results, and what is said beside them."""

from __future__ import annotations

import platform
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

import click

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from locality.accept.dashboard import AcceptDashboard
    from locality.accept.source import AcceptBatch
    from locality.bpf.ladder import Footing
    from locality.dashboard.screen import Header
    from locality.machine.topology import Topology
    from locality.skb.dashboard import SkbDashboard
    from locality.skb.interval import Interval
    from locality.stream import Sink
    from locality.udp.dashboard import UdpDashboard
    from locality.udp.interval import UdpInterval

D = TypeVar("D", "AcceptDashboard", "SkbDashboard", "UdpDashboard")


def tell(line: str) -> None:
    """A line beside the results."""
    click.echo(f"locality: {line}", err=True)


def say_where_we_stand(footing: Footing, what: str, comm: str | None = None) -> None:
    """What is measured, on which rung, by which engine, and why not on a better rung.

    Args:
        footing: Where the source stands.
        what: What it measures.
        comm: The threads it looks at; said if there are none yet.
    """
    engine = f" by engine {footing.engine} ({footing.why})" if footing.why else ""
    why = "".join(f"; {refusal.rung}: {refusal.answer}" for refusal in footing.refused)
    tell(f"{what}, on rung {footing.rung.name}{engine}{why}")
    if footing.rung.note:
        tell(footing.rung.note)
    if comm is not None:
        from locality.machine.processes import has_thread_named

        if not has_thread_named(comm):
            tell(f"no thread is called {comm!r} yet: waiting for one")


def header_of(footing: Footing, wanted: str) -> Header:
    """The dashboard's header for a measurement of this machine."""
    from locality.dashboard.screen import Header

    return Header(platform.node(), platform.release(), footing.name, wanted, footing.rung.note)


def show(lines: Iterable[str]) -> None:
    """Results."""
    for line in lines:
        click.echo(line)


def end(lines: Iterable[str], format_: str) -> None:
    """The summary: below readable lines, beside those for programs."""
    for line in lines:
        click.echo(line, err=format_ != "text")


def check_who(pids: Iterable[int], comm: str | None) -> None:
    """Whether there can be anybody of these processes and this name.

    Raises:
        LocalityError: There is no such process.
        click.UsageError: The name is none.
    """
    from locality.machine.processes import require_pids

    require_pids(pids)
    if comm == "":
        raise click.UsageError("--comm '' is no name")


def check_live(*, live: bool, format_: str, svg: Path | None) -> None:
    """Whether the options that draw fit each other and the terminal.

    Raises:
        click.UsageError: They do not; says what does.
    """
    if svg is not None and not live:
        raise click.UsageError("--svg keeps the last picture of --live: give both")
    if live and format_ != "text":
        raise click.UsageError(f"--live and --format {format_} are two outputs: choose one")
    if live and not sys.stdout.isatty():
        raise click.UsageError(
            "--live draws on a terminal, and standard output is none: use --format text, classic, "
            "json or csv"
        )


def check_matrix(*, matrix: bool, live: bool, format_: str) -> None:
    """Whether a matrix has a place in this output.

    Raises:
        click.UsageError: It has none.
    """
    if matrix and (live or format_ in {"classic", "csv"}):
        where = "--live" if live else f"--format {format_}"
        raise click.UsageError(f"--matrix has no place in {where}: use --format text or json")


def check_udp_format(format_: str) -> None:
    """Whether datagrams can be shown so.

    Raises:
        click.UsageError: They cannot.
    """
    if format_ == "classic":
        raise click.UsageError("--format classic: in 2017 there were no lines for UDP: use text")


@contextmanager
def _drawing(dashboard: D, svg: Path | None) -> Iterator[D]:
    """A dashboard for the time of the block, and its last picture."""
    with dashboard:
        yield dashboard
    if svg is not None:
        dashboard.save_svg(svg)


@contextmanager
def accept_output(
    machine: Topology, format_: str, live: Header | None = None, svg: Path | None = None
) -> Iterator[Sink[AcceptBatch]]:
    """The sink for connections that the user asked for.

    Args:
        machine: The CPUs that are measured.
        format_: text, classic, json or csv.
        live: Draw a dashboard with this header instead.
        svg: Keep its last picture there.
    """
    if live is not None:
        from rich.console import Console

        from locality.accept.dashboard import AcceptDashboard

        with _drawing(AcceptDashboard(machine, live, Console()), svg) as dashboard:
            yield dashboard
        return
    match format_:
        case "classic":
            from locality.accept.text import ClassicAccept

            yield ClassicAccept(sys.stdout)
        case "json":
            from locality.accept.records import JsonAccept

            yield JsonAccept(sys.stdout, machine)
        case "csv":
            from locality.accept.records import CsvAccept

            yield CsvAccept(sys.stdout, machine)
        case _:
            from locality.accept.text import TextAccept

            yield TextAccept(sys.stdout, machine)


@contextmanager
def skb_output(
    machine: Topology,
    format_: str,
    live: Header | None = None,
    svg: Path | None = None,
    *,
    matrix: bool = False,
) -> Iterator[Sink[Interval]]:
    """The sink for intervals that the user asked for; `accept_output` says the rest."""
    if live is not None:
        from rich.console import Console

        from locality.skb.dashboard import SkbDashboard

        with _drawing(SkbDashboard(machine, live, Console()), svg) as dashboard:
            yield dashboard
        return
    match format_:
        case "classic":
            from locality.skb.text import ClassicSkb

            yield ClassicSkb(sys.stdout)
        case "json":
            from locality.skb.records import JsonSkb

            yield JsonSkb(sys.stdout, machine, matrix=matrix)
        case "csv":
            from locality.skb.records import CsvSkb

            yield CsvSkb(sys.stdout, machine)
        case _:
            from locality.skb.text import TextSkb

            yield TextSkb(sys.stdout, matrix=matrix)


@contextmanager
def udp_output(
    machine: Topology, format_: str, live: Header | None = None, svg: Path | None = None
) -> Iterator[Sink[UdpInterval]]:
    """The sink for datagrams that the user asked for; `accept_output` says the rest."""
    if live is not None:
        from rich.console import Console

        from locality.udp.dashboard import UdpDashboard

        with _drawing(UdpDashboard(machine, live, Console()), svg) as dashboard:
            yield dashboard
        return
    match format_:
        case "json":
            from locality.udp.records import JsonUdp

            yield JsonUdp(sys.stdout)
        case "csv":
            from locality.udp.records import CsvUdp

            yield CsvUdp(sys.stdout)
        case _:
            from locality.udp.text import TextUdp

            yield TextUdp(sys.stdout)
