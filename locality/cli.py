"""The command line: options to a source and its sinks; no logic.

Modules are imported by the commands that use them, so that `--help` does not pay for
numpy and `attach-cbpf` does not pay for libbpf.
"""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from locality import __version__
from locality.commands.lazy import LazyGroup
from locality.commands.options import (
    AT_LEAST_ONE,
    SECONDS,
    comm_option,
    engine_option,
    pids_option,
    ports_option,
    tracing_options,
)
from locality.commands.output import (
    accept_output,
    check_live,
    check_matrix,
    check_who,
    end,
    header_of,
    say_where_we_stand,
    show,
    skb_output,
    tell,
)
from locality.errors import LocalityError

if TYPE_CHECKING:
    from locality.accept.source import AcceptBatch
    from locality.skb.interval import Interval
    from locality.stream import Sink

#: What a shell reports for a program that SIGPIPE ended: `locality ... | head` is no error.
EXIT_BROKEN_PIPE = 128 + 13
EXIT_INTERRUPTED = 128 + 2

#: Where the other commands are.
ELSEWHERE = {
    "attach-cbpf": "locality.commands.attach",
    "demo": "locality.commands.demo",
    "doctor": "locality.commands.doctor",
    "explain": "locality.commands.explain",
    "export": "locality.commands.recordings",
    "groups": "locality.commands.groups",
    "info": "locality.commands.recordings",
    "lab": "locality.commands.lab",
    "replay": "locality.commands.recordings",
    "report": "locality.commands.recordings",
    "spread": "locality.commands.spread",
    "udp": "locality.commands.udp",
    "undo": "locality.commands.doctor",
}


@click.group(
    cls=LazyGroup,
    elsewhere=ELSEWHERE,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    invoke_without_command=True,
)
@click.version_option(__version__, prog_name="locality")
@click.pass_context
def cli(context: click.Context) -> None:
    """Does Linux handle a packet on the CPU that received it?

    Measure it (accept, skb, udp), change it (attach-cbpf), see both on a real server (demo), keep
    what was measured (--record) and prove it (report).
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


@cli.command()
@comm_option(help="Only threads of this name (15 bytes count).")
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
@tracing_options
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
    format_: str,
    live: bool,
    svg: Path | None,
    record: Path | None,
    force: bool,
    rung: str | None,
    ready_file: Path | None,
    duration: float | None,
) -> None:
    """Show for each accepted connection the CPU of the call and the CPU that received."""
    from locality.accept.source import AcceptSource, Filter
    from locality.accept.summary import AcceptSummary
    from locality.accept.text import summary_lines
    from locality.machine import topology
    from locality.stream import stream

    check_live(live=live, format_=format_, svg=svg)
    machine = topology.read()
    check_who(pids, comm)
    if cpu is not None and cpu >= machine.possible:
        raise click.UsageError(f"--cpu {cpu}: this machine has CPUs 0 to {machine.possible - 1}")
    wanted = Filter(comm, pids, ports, cpu, int(family) if family else None)
    summary = AcceptSummary(machine)
    sinks: list[Sink[AcceptBatch]] = [summary]
    with AcceptSource(wanted, rung, ring * 1024, engine) as source, ExitStack() as stack:
        say_where_we_stand(source.footing, f"accepts of {wanted}", comm)
        if record is not None:
            from locality.recording.format import Meta
            from locality.recording.writer import AcceptRecorder

            meta = Meta.here(
                *("accept", source.footing, machine),
                wanted=f"{wanted}",
                clock_offset=source.clock_offset,
            )
            sinks.append(stack.enter_context(AcceptRecorder(record, meta, force=force)))
        header = header_of(source.footing, f"{wanted}") if live else None
        sinks.append(stack.enter_context(accept_output(machine, format_, header, svg)))
        stream(source, sinks, duration=duration, count=count, ready_file=ready_file)
    end(summary_lines(summary), format_)


@cli.command()
@click.option("--interval", type=SECONDS, default=1.0, show_default=True, metavar="S")
@click.option("--count", type=AT_LEAST_ONE, metavar="N", help="End after N intervals.")
@click.option("--matrix", is_flag=True, help="Add the packets by alloc CPU and consume CPU.")
@engine_option
@tracing_options
def skb(
    *,
    interval: float,
    count: int | None,
    matrix: bool,
    engine: str,
    format_: str,
    live: bool,
    svg: Path | None,
    record: Path | None,
    force: bool,
    rung: str | None,
    ready_file: Path | None,
    duration: float | None,
) -> None:
    """Show the share of packets consumed on the CPU that allocated them."""
    from locality.machine import topology
    from locality.skb.source import SkbSource
    from locality.skb.text import skb_summary_lines
    from locality.stream import stream
    from locality.summary import Summary

    check_live(live=live, format_=format_, svg=svg)
    check_matrix(matrix=matrix, live=live, format_=format_)
    machine = topology.read()
    summary: Summary[Interval] = Summary()
    sinks: list[Sink[Interval]] = [summary]
    with SkbSource(interval, rung, engine) as source, ExitStack() as stack:
        say_where_we_stand(source.footing, "packets of this machine")
        if record is not None:
            from locality.recording.format import Meta
            from locality.recording.writer import SkbRecorder

            meta = Meta.here("skb", source.footing, machine, interval=interval)
            sinks.append(stack.enter_context(SkbRecorder(record, meta, force=force)))
        header = header_of(source.footing, "everything") if live else None
        sinks.append(stack.enter_context(skb_output(machine, format_, header, svg, matrix=matrix)))
        stream(source, sinks, duration=duration, count=count, ready_file=ready_file)
    end(skb_summary_lines(summary, machine), format_)


@cli.command()
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def check(*, as_json: bool) -> None:
    """Show what this kernel allows: the rung each measurement takes, and why not others."""
    from locality.check import attempts, check_json, check_lines, engines
    from locality.machine.capabilities import held as capabilities_held

    found = attempts()
    answers = found, engines(), capabilities_held()
    show([check_json(*answers)] if as_json else check_lines(*answers))
    if not all(
        any(one.chosen for one in found if one.measurement == name) for name in ("accept", "skb")
    ):
        sys.exit(1)


def _give_up_stdout() -> None:
    """Python flushes standard output once more at exit; let that go nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def main() -> None:
    """Run the command line; every error becomes one line and an exit code."""
    # numpy's linear algebra is not used; its threads, one a CPU, would start with the import.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    if sys.stdout is None:  # started with standard output closed
        sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115 - for the life of the process
    try:
        # Not cli.main(), which has its own idea of a closed pipe: exit status 1.
        with cli.make_context("locality", sys.argv[1:]) as context:
            code = cli.invoke(context)
        sys.stdout.flush()
    except click.exceptions.Exit as ended:
        code = ended.exit_code
    except click.ClickException as error:
        tell(" ".join(error.format_message().split()))
        code = error.exit_code
    except LocalityError as error:
        tell(str(error))
        code = error.exit_code
    except BrokenPipeError:
        _give_up_stdout()
        code = EXIT_BROKEN_PIPE
    except (KeyboardInterrupt, click.Abort):
        code = EXIT_INTERRUPTED
    except OSError as error:
        _give_up_stdout()
        tell(f"standard output: {error.strerror}" if error.filename is None else str(error))
        code = 1
    sys.exit(code if isinstance(code, int) else 0)
