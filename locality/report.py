"""`locality report`: recordings as one page with tables, figures, and before against after.

Data flow one way here too: `recording.frames` gives DataFrames, each kind's `numbers` makes
numbers of them, its `figures` draws these and its `report` says what they mean;
`reporting.comparison` tells what two sides differ by, and `reporting.page` turns all of it into
HTML or Markdown. `reporting.statistics` knows statistics only.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from locality.errors import LocalityError
from locality.files import new_file
from locality.kinds import KINDS
from locality.recording.progress import progress_bar
from locality.recording.recording import add_up
from locality.reporting import figures as report_figures
from locality.reporting.comparison import change_sections
from locality.reporting.page import Page, Section, Table, html, markdown
from locality.reporting.sections import cautions, events, facts, headline, report_of
from locality.text import counted, printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from locality.recording.recording import Recording
    from locality.reporting.blocks import Named

WORDS = Table(
    ("word", "meaning"),
    (
        ("RX CPU", "the CPU on which the kernel last handled a packet of the connection"),
        ("accept-local", "accept() ran on the RX CPU"),
        ("consumed-local", "the packet's last user released it on the CPU that allocated it"),
        ("freed-local", "the packet's memory was freed on the CPU that allocated it"),
        ("deferred", "the kernel sent the packet back to that CPU to be freed there"),
        ("effective sockets", "how many would share the work evenly: exp of the shares' entropy"),
        ("top flow", "the flow with the most datagrams of a group, by a sample"),
        ("rung", "the type of probe that was used; some see less than others"),
        ("lost", "events that were not recorded, or runs of a probe that the kernel skipped"),
        ("interval", "the range in which the true difference lies, with the named confidence"),
        ("no difference shown", "the interval holds zero: more or longer runs may show one"),
    ),
)
COMPARED = (
    "Packets and connections that follow one another are not independent of each other. One "
    "recording a side is therefore compared by a block bootstrap over time; several a side are "
    "compared as runs, each of them one observation."
)


def write_report(
    recordings: Sequence[Path],
    out: Path,
    *,
    format: Literal["html", "md"] = "html",  # noqa: A002 - what the option is called
    figures: Path | None = None,
    force: bool = False,
    tell: Callable[[str], object] = lambda _note: None,
) -> None:
    """Write a report of one or more recordings.

    Recordings of all kinds may be mixed; each kind is compared with its own.
    Which of a kind are before and which after is told by their names if each is labelled
    (or else its file called) ``before...`` or ``after...`` and both occur; otherwise by their
    order: the first half is before, the second after. An odd number of recordings in no
    such names is not compared.

    Args:
        recordings: At least one file.
        out: Where to; ``-`` is standard output.
        format: html: one page that needs nothing else. md: Markdown; it has pictures only
            if there are `figures` to refer to.
        figures: Also write every figure to this directory, as SVG and as PNG.
        force: Replace files of these names. A new file has mode 0600.
        tell: Told of each recording that was not read to an end in order, and of what is not
            compared though there are several.

    Raises:
        LocalityError: A recording cannot be read, or a file not written.
    """
    to_stdout = str(out) == "-"
    # Not by Path.resolve(): of links in a circle it makes a RuntimeError.
    places = {os.path.realpath(path) for path in recordings}
    if not to_stdout and os.path.realpath(out) in places:
        name = printable(str(out))
        raise LocalityError(f"{name} is one of the recordings: give another -o", exit_code=2)
    page = _page(list(zip(_names(recordings), _read(recordings, tell), strict=True)), tell)
    files = _save_figures(page, figures, out, force=force) if figures else {}
    text = html(page) if format == "html" else markdown(page, files)
    if to_stdout:
        sys.stdout.write(text)
        return
    with new_file(out, force=force) as file:
        file.write(text.encode())


def _names(paths: Sequence[Path]) -> list[str]:
    """The files' names; with directories as far as it takes to tell them apart."""
    names = [path.name for path in paths]
    return [printable(path.name if names.count(path.name) == 1 else str(path)) for path in paths]


def _read(paths: Sequence[Path], tell: Callable[[str], object]) -> Iterator[Recording]:
    """Load them, with a bar if that takes long and somebody watches."""
    for name, path in zip(_names(paths), paths, strict=True):
        with progress_bar(f"reading {name}") as progress:
            recording = add_up(path, progress, tell) or _loaded(path, progress, tell)
        yield recording


def _loaded(
    path: Path, progress: Callable[[int, int], object], tell: Callable[[str], object]
) -> Recording:
    """A recording with its DataFrames, for a kind whose report needs them."""
    # Not at once: pandas takes a third of the time of a small report.
    from locality.recording.frames import load  # noqa: PLC0415

    return load(path, progress, tell=tell)


def _page(runs: Sequence[Named], tell: Callable[[str], object]) -> Page:
    sections: list[Section] = []
    alone: list[str] = []
    for kind in KINDS:
        of_kind = [run for run in runs if run[1].meta.kind == kind]
        compared: list[Section] = []
        if (sides := split_sides(of_kind)) is not None:
            compared = [*change_sections(*sides)]
        sections += compared
        # A kind without measures, such as a trial, is a comparison by itself.
        expected = len(runs) > 1 and of_kind and report_of(of_kind[0][1]).MEASURES
        if expected and not compared:
            alone.append(_why_not_compared(of_kind, split=sides is not None))
    for why in alone:
        tell(why)
    # The result of each comparison is what its section begins with.
    results = [str(section.blocks[0]) for section in sections]
    headlines = [headline(*run) for run in runs]
    not_compared = [f"{why}." for why in alone]
    first = Section("In short", (*results, *not_compared, *headlines, *cautions(runs)))
    own = [_recording_section(number, *run) for number, run in enumerate(runs, 1)]
    return Page(
        f"Packet locality on {', '.join(dict.fromkeys(run[1].meta.host for run in runs))}",
        (
            first,
            Section("What was recorded", (facts(runs),)),
            *sections,
            *filter(None, own),
            Section("What the words mean", (WORDS, COMPARED)),
        ),
    )


def _why_not_compared(runs: Sequence[Named], *, split: bool) -> str:
    """Why recordings of a kind are not compared with each other, in a sentence.

    Args:
        runs: At least one, all of one kind.
        split: Whether it is known which are before and which after.
    """
    kind = runs[0][1].meta.kind
    names = ", ".join(name for name, _ in runs)
    if len(runs) == 1:
        return f"{names} is not compared: it is the only recording of {kind}"
    which = f"{counted(len(runs), 'recording')} of {kind} are not compared ({names})"
    if split:
        return f"{which}: what they hold cannot be compared before and after"
    return (
        f"{which}: it is not known which are before and which after. Give an even number, or name "
        "all of them before... or after..."
    )


def _recording_section(number: int, name: str, recording: Recording) -> Section | None:
    """A recording's own section; none for one that is no measurement (its headline says so)."""
    if events(recording) < 2:  # noqa: PLR2004 - nothing and one event have no distribution
        return None
    return Section(
        name, tuple(report_of(recording).blocks(f"{number}-{recording.kind}-", recording))
    )


def split_sides(runs: Sequence[Named]) -> tuple[list[Named], list[Named]] | None:
    """Which recordings of a kind are before and which after, or None: see `write_report`."""
    called = [(recording.meta.label or Path(name).name).lower() for name, recording in runs]
    sides = [
        [run for run, name in zip(runs, called, strict=True) if name.startswith(side)]
        for side in ("before", "after")
    ]
    if all(sides) and sum(map(len, sides)) == len(runs):
        return sides[0], sides[1]
    half, odd = divmod(len(runs), 2)
    if odd or not half:
        return None
    return list(runs[:half]), list(runs[half:])


def _save_figures(page: Page, directory: Path, out: Path, *, force: bool) -> dict[str, str]:
    """Write the figures; gives their addresses as seen from the report, by name."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        name = printable(str(directory))
        raise LocalityError(f"cannot write {name}: {error.strerror}") from None
    files = {}
    for picture in page.pictures():
        path = directory / f"{picture.name}.svg"
        for place, drawn in (
            (path, picture.svg.encode()),
            (path.with_suffix(".png"), report_figures.png(picture.figure)),
        ):
            with new_file(place, force=force) as file:
                file.write(drawn)
        files[picture.name] = os.path.relpath(path, out.parent)
    return files
