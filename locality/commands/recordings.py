"""The commands that read recordings. Like `locality.cli`: no logic, imports on use."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from locality.commands.options import OUTPUT, READABLE, SPEED, force_option, shown_options
from locality.commands.output import end, show, tell
from locality.kinds import KINDS, SKB
from locality.text import printable

if TYPE_CHECKING:
    from locality.commands.options import Shown

#: The formats of all kinds; which of them a recording has is known when it is read.
OUTPUTS = tuple(dict.fromkeys(name for kind in KINDS.values() for name in kind.outputs))

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
@click.option(
    "--format",
    "format_",
    type=click.Choice(["csv", "json", "parquet"]),
    help="With OUT -: what to write.  [default: csv]",
)
@force_option
def export(*, recording: Path, out: Path, format_: str | None, force: bool) -> None:
    """Turn a recording into OUT: .parquet, .csv or .json (an object a line).

    With - for OUT it goes to standard output.
    """
    from locality.recording.export import export as write
    from locality.recording.export import export_to

    if str(out) == "-":
        export_to(recording, sys.stdout.buffer, format_ or "csv")
        return
    if format_ not in {None, out.suffix[1:]}:
        raise click.UsageError("--format goes with OUT -: the name of a file says its format")
    show([f"{write(recording, out, force=force)} rows written to {printable(str(out))}"])


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
@shown_options(OUTPUTS)
def replay(*, recording: Path, speed: float, matrix: bool, shown: Shown) -> None:
    """Show a recording as it was seen when it was made."""
    from locality.commands.measure import check_shown, output
    from locality.dashboard.screen import Header
    from locality.recording.reader import Reader
    from locality.recording.replay import play

    check_shown(OUTPUTS, shown, matrix=matrix)
    if 0 < speed < SLOWEST:
        raise click.UsageError(f"--speed {speed:g} is too slow: 0, or {SLOWEST:g} and more")
    with Reader(recording) as reader:
        meta = reader.meta
        kind = KINDS[meta.kind]
        if matrix and kind is not SKB:
            raise click.UsageError("--matrix is for recordings of packets")
        if shown.format not in kind.outputs:
            raise click.UsageError(
                f"--format {shown.format} is not for a recording of {kind.name}: use "
                f"{', '.join(kind.outputs)}"
            )
        what = f"a recording of {meta.host}, kernel {meta.kernel}, rung {meta.rung}: {meta.filter}"
        tell(printable(what))

        def header() -> Header:
            note = f"recording {recording}"
            return Header(meta.host, meta.kernel, meta.rung, meta.filter, note)

        summary = kind.summary.get()(meta.machine)
        options = {"matrix": True} if matrix else {}
        with output(kind, meta.machine, shown, header, **options) as sink:
            play(kind.timed.get()(reader, speed), [summary, sink], speed)
    end(kind.summary_lines.get()(summary), shown.format)
    if reader.note:
        tell(reader.note)


@click.command()
@click.argument("recordings", type=READABLE, nargs=-1, required=True, metavar="RECORDING...")
@click.option(
    "-o",
    "--output",
    "out",
    type=OUTPUT,
    required=True,
    help="The page to write; - is standard output.",
)
@click.option(
    "--format", "format_", type=click.Choice(["html", "md"]), help="Default: as the page is called."
)
@click.option(
    "--figures",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Write the figures there, too: PNG and SVG.",
)
@force_option
def report(
    *,
    recordings: tuple[Path, ...],
    out: Path,
    format_: str | None,
    figures: Path | None,
    force: bool,
) -> None:
    """Write a page about one recording, or about before and after.

    Which are before and which after is told by what they were labelled (the demo does that) or
    are called; else the first half is before. Several a side are compared as repeated runs.
    """
    from locality.report import write_report

    kind: Literal["html", "md"] = "md" if (format_ or out.suffix[1:]) == "md" else "html"
    write_report(recordings, out, format=kind, figures=figures, force=force)
    if str(out) != "-":
        show([f"report written to {printable(str(out))}"])
