"""The commands that read recordings. Like `locality.cli`: no logic, imports on use."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from locality.commands.console import zone
from locality.commands.lines import end, show, tell
from locality.commands.options import force_option, shown_options
from locality.commands.values import NAME, READABLE, SPEED, NeededFile
from locality.kinds import KINDS, SKB
from locality.text import counted, printable

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

    with Reader(recording, tell) as reader:
        found = Info(reader)
        show([found.json()] if as_json else found.lines())


@click.command()
@click.argument("files", type=READABLE, nargs=-1, required=True, metavar="RECORDING [OUT]")
@click.option(
    "--format",
    "format_",
    type=click.Choice(["csv", "json", "parquet"]),
    help="With - for OUT: choose the format.  [default: csv]",
)
@force_option(help="Replace OUT if it exists.")
@click.option(
    "--dataset",
    metavar="DIR",
    help="Add recordings to the data set in DIR, in place of OUT. DIR may be a URI: s3://...",
)
@click.option(
    "--cluster",
    type=NAME,
    help="With --dataset: name the cluster that the hosts belong to.  [default: none]",
)
@click.option(
    "--host", type=NAME, help="With --dataset: name the host.  [default: as it was recorded]"
)
def export(
    *,
    files: tuple[Path, ...],
    format_: str | None,
    force: bool,
    dataset: str | None,
    cluster: str | None,
    host: str | None,
) -> None:
    """Convert a recording, or add it to a data set.

    The suffix of OUT is the format: .parquet, .csv, or .json (one object a line). With - for OUT
    it goes to standard output. With --dataset every argument is a recording.
    """
    if dataset is not None:
        if format_ is not None or force:
            raise click.UsageError("--format and --force do not go with --dataset")
        show(_add_to_dataset(files, dataset, cluster or "", host))
        return
    if cluster is not None or host is not None:
        raise click.UsageError("--cluster and --host go with --dataset")
    if len(files) != 2:  # noqa: PLR2004 - a recording and a file
        raise click.UsageError("give a RECORDING and OUT, or recordings with --dataset DIR")
    _convert(*files, format_, force=force)


def _add_to_dataset(
    recordings: tuple[Path, ...], dataset: str, cluster: str, host: str | None
) -> Iterator[str]:
    """Add recordings to a data set; a line for each."""
    from locality.dataset.store import store_of
    from locality.dataset.write import add_recording
    from locality.recording.progress import progress_bar
    from locality.text import size

    store = store_of(dataset)
    for path in recordings:
        with progress_bar(f"exporting {path.name}") as tell_progress:
            written = add_recording(
                path, store, cluster=cluster, host=host, progress=tell_progress, tell=tell
            )
        name = printable(str(path))
        if written.files:
            yield (
                f"{name}: {counted(written.rows, 'row')} in {counted(written.files, 'file')}, "
                f"{size(written.size)}, recording {written.recording}"
            )
        else:
            yield f"{name}: is in the data set already, recording {written.recording}"


def _convert(recording: Path, out: Path, format_: str | None, *, force: bool) -> None:
    """Write a recording in another format."""
    from locality.recording.export import export as write
    from locality.recording.export import export_to
    from locality.recording.progress import progress_bar

    bar = f"exporting {recording.name}"
    if str(out) == "-":
        with progress_bar(bar, hidden=sys.stdout.isatty()) as tell_progress:
            export_to(recording, sys.stdout.buffer, format_ or "csv", tell_progress, tell)
        return
    if format_ not in {None, out.suffix[1:]}:
        raise click.UsageError("--format goes with OUT -: the name of a file says its format")
    with progress_bar(bar) as tell_progress:
        rows = write(recording, out, force=force, progress=tell_progress, tell=tell)
    show([f"{counted(rows, 'row')} written to {printable(str(out))}"])


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
    # Told after the last line: a dashboard may hold the terminal until then.
    notes: list[str] = []
    with Reader(recording, notes.append) as reader:
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
    for note in notes:
        tell(note)


@click.command()
@click.argument("recordings", type=READABLE, nargs=-1, required=True, metavar="RECORDING...")
@click.option(
    "-o",
    "--output",
    "out",
    type=NeededFile("For example: locality report before.arrows after.arrows -o report.html"),
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
    write_report(recordings, out, format=kind, figures=figures, force=force, tell=tell)
    if str(out) != "-":
        show([f"report written to {printable(str(out))}"])
