"""The commands that read recordings. Like `locality.cli`: no logic, imports on use."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from locality.commands.console import zone
from locality.commands.lines import end, show, tell
from locality.commands.options import force_option, shown_options
from locality.commands.values import OUTPUT, READABLE, SPEED
from locality.kinds import KINDS, SKB
from locality.text import printable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from locality.commands.options import Shown

#: The formats of all kinds; which of them a recording has is known when it is read.
OUTPUTS = tuple(dict.fromkeys(name for kind in KINDS.values() for name in kind.outputs))

#: A slower replay is a mistake in the number.
SLOWEST = 0.001


@click.command()
@click.argument("recording", type=READABLE)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def info(*, recording: Path, as_json: bool) -> None:
    """Show how a recording was made, and how it ended."""
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
    help="With - for OUT: choose the format.  [default: csv]",
)
@force_option(help="Replace OUT if it exists.")
def export(*, recording: Path, out: Path, format_: str | None, force: bool) -> None:
    """Convert a recording to Parquet, CSV or JSON.

    The suffix of OUT is the format: .parquet, .csv, or .json (one object a line). With - for OUT
    it goes to standard output.
    """
    from locality.recording.export import export as write
    from locality.recording.export import export_to
    from locality.recording.progress import progress_bar

    bar = f"exporting {recording.name}"
    if str(out) == "-":
        with progress_bar(bar, hidden=sys.stdout.isatty()) as tell_progress:
            export_to(recording, sys.stdout.buffer, format_ or "csv", tell_progress)
        return
    if format_ not in {None, out.suffix[1:]}:
        raise click.UsageError("--format goes with OUT -: the name of a file says its format")
    with progress_bar(bar) as tell_progress:
        rows = write(recording, out, force=force, progress=tell_progress)
    show([f"{rows} rows written to {printable(str(out))}"])


@click.command()
@click.argument("recording", type=READABLE)
@click.option(
    "--speed",
    type=SPEED,
    default=1.0,
    show_default=True,
    help="Replay this many times as fast as it was recorded. 0: without waiting.",
)
@click.option(
    "--matrix",
    is_flag=True,
    help="For a recording of packets: add a matrix, the CPU that allocated against the CPU that "
    "consumed.",
)
@shown_options(OUTPUTS)
def replay(*, recording: Path, speed: float, matrix: bool, shown: Shown) -> None:
    """Print a recording as the measurement printed it."""
    from locality.commands.measure import check_shown, output
    from locality.dashboard.screen import Header
    from locality.recording.progress import progress_bar
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
        tell(printable(what) + zone())

        def header() -> Header:
            note = f"recording {recording}"
            return Header(meta.host, meta.kernel, meta.rung, meta.filter, note)

        summary = kind.summary.get()(meta.machine)
        options = {"matrix": True} if matrix else {}
        # Lines and a bar on one terminal would mix.
        hidden = shown.live or sys.stdout.isatty()
        bar = progress_bar(f"replaying {recording.name}", hidden=hidden)
        with bar as tell_progress, output(kind, meta.machine, shown, header, **options) as sink:

            def timed() -> Iterator[tuple[float, Any]]:
                for seconds, batch in kind.timed.get()(reader, speed):
                    yield seconds, batch
                    tell_progress(reader.read, reader.size)

            play(timed(), [summary, sink], speed)
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
    metavar="FILE",
    help="Write the page to FILE. - is standard output.",
)
@click.option(
    "--format",
    "format_",
    type=click.Choice(["html", "md"]),
    metavar="[html|md]",
    help="Choose the format.  [default: from the output file's suffix]",
)
@click.option(
    "--figures",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Also write the figures to DIR, as PNG and SVG.",
)
@force_option(help="Replace files that exist.")
def report(
    *,
    recordings: tuple[Path, ...],
    out: Path,
    format_: str | None,
    figures: Path | None,
    force: bool,
) -> None:
    """Write a page about recordings, or compare before and after.

    Recordings are sorted into before and after by their labels (demo writes some), by their
    names, or else by their order: the first half is before. Several on a side are compared as
    repeated runs.
    """
    from locality.report import write_report

    kind: Literal["html", "md"] = "md" if (format_ or out.suffix[1:]) == "md" else "html"
    write_report(recordings, out, format=kind, figures=figures, force=force)
    if str(out) != "-":
        show([f"report written to {printable(str(out))}"])
