"""The commands that read recordings. Like `locality.cli`: no logic, imports on use."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from locality.commands.options import (
    OUTPUT,
    READABLE,
    SPEED,
    force_option,
    format_options,
    live_options,
)
from locality.commands.output import (
    accept_output,
    check_live,
    check_matrix,
    check_udp_format,
    end,
    show,
    skb_output,
    tell,
    udp_output,
)
from locality.text import printable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from locality.dashboard.screen import Header
    from locality.recording.reader import Reader
    from locality.skb.interval import Interval
    from locality.udp.interval import UdpInterval

#: A slower replay is a mistake in the number.
SLOWEST = 0.001


@click.command()
@click.argument("recording", type=READABLE)
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def info(*, recording: Path, as_json: bool) -> None:
    """Show what a recording is: where, when and how it was made, and how it ended."""
    from locality.recording.info import Info
    from locality.recording.reader import Reader

    with Reader(recording) as reader:
        found = Info(reader)
        show([found.json()] if as_json else found.lines())


@click.command()
@click.argument("recording", type=READABLE)
@click.argument("out", type=OUTPUT)
@force_option
def export(*, recording: Path, out: Path, force: bool) -> None:
    """Turn a recording into OUT: .parquet, .csv or .json (an object a line)."""
    from locality.recording.export import export as write

    show([f"{write(recording, out, force=force)} rows written to {out}"])


@click.command()
@click.argument("recording", type=READABLE)
@click.option(
    "--speed",
    type=SPEED,
    default=1.0,
    show_default=True,
    metavar="X",
    help="How many times faster than it was; 0 does not wait at all.",
)
@click.option("--matrix", is_flag=True, help="Packets: add them by alloc CPU and consume CPU.")
@live_options
@format_options
def replay(
    *, recording: Path, speed: float, matrix: bool, live: bool, svg: Path | None, format_: str
) -> None:
    """Show a recording as it was seen when it was made."""
    from locality.dashboard.screen import Header
    from locality.recording.reader import Reader

    check_live(live=live, format_=format_, svg=svg)
    check_matrix(matrix=matrix, live=live, format_=format_)
    if 0 < speed < SLOWEST:
        raise click.UsageError(f"--speed {speed:g} is too slow: 0, or {SLOWEST:g} and more")
    with Reader(recording) as reader:
        meta = reader.meta
        what = f"a recording of {meta.host}, kernel {meta.kernel}, rung {meta.rung}: {meta.filter}"
        tell(printable(what))
        header = Header(meta.host, meta.kernel, meta.rung, meta.filter, f"recording {recording}")
        shown = header if live else None
        if matrix and meta.kind != "skb":
            raise click.UsageError("--matrix is for recordings of packets")
        if meta.kind == "accept":
            lines = _replay_accepts(reader, speed, format_, shown, svg)
        elif meta.kind == "udp":
            lines = _replay_datagrams(reader, speed, format_, shown, svg)
        else:
            lines = _replay_packets(reader, speed, format_, shown, svg, matrix=matrix)
    end(lines, format_)
    if reader.note:
        tell(reader.note)


def _replay_accepts(
    reader: Reader, speed: float, format_: str, live: Header | None, svg: Path | None
) -> Iterator[str]:
    from locality.accept.summary import AcceptSummary
    from locality.accept.text import summary_lines
    from locality.recording.replay import play, timed_accepts

    summary = AcceptSummary(reader.meta.machine)
    with accept_output(reader.meta.machine, format_, live, svg) as sink:
        play(timed_accepts(reader, speed), [summary, sink], speed)
    return summary_lines(summary)


def _replay_packets(
    reader: Reader,
    speed: float,
    format_: str,
    live: Header | None,
    svg: Path | None,
    *,
    matrix: bool,
) -> Iterator[str]:
    from locality.recording.replay import play, timed_intervals
    from locality.skb.text import skb_summary_lines
    from locality.summary import Summary

    summary: Summary[Interval] = Summary()
    with skb_output(reader.meta.machine, format_, live, svg, matrix=matrix) as sink:
        play(timed_intervals(reader), [summary, sink], speed)
    return skb_summary_lines(summary, reader.meta.machine)


def _replay_datagrams(
    reader: Reader, speed: float, format_: str, live: Header | None, svg: Path | None
) -> Iterator[str]:
    from locality.recording.replay import play
    from locality.summary import Summary
    from locality.udp.replay import timed_datagrams
    from locality.udp.text import udp_summary_lines

    check_udp_format(format_)
    summary: Summary[UdpInterval] = Summary()
    with udp_output(reader.meta.machine, format_, live, svg) as sink:
        play(timed_datagrams(reader), [summary, sink], speed)
    return udp_summary_lines(summary)


@click.command()
@click.argument("recordings", type=READABLE, nargs=-1, required=True, metavar="RECORDING...")
@click.option("-o", "--output", "out", type=OUTPUT, required=True, help="The page to write.")
@click.option(
    "--format", "format_", type=click.Choice(["html", "md"]), help="Default: as the page is called."
)
@click.option(
    "--figures",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Write the figures there, too: PNG and SVG.",
)
def report(
    *, recordings: tuple[Path, ...], out: Path, format_: str | None, figures: Path | None
) -> None:
    """Write a page about one recording, or about before and after.

    Which are before and which after is told by what they were labelled (the demo does that) or
    are called; else the first half is before. Several a side are compared as repeated runs.
    """
    from locality.report import write_report

    kind: Literal["html", "md"] = "md" if (format_ or out.suffix[1:]) == "md" else "html"
    write_report(recordings, out, format=kind, figures=figures)
    show([f"report written to {out}"])
