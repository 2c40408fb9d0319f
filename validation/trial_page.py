"""Try in the lab, here and in a guest, whether the map helps nginx, for docs/generated/trial.md.

    python -m validation.trial_page                # make trial: measure here and in a guest
    python -m validation.trial_page --only here    # or guest: measure only there
    python -m validation.trial_page --redraw       # measure nothing, read the JSON files

Writes trial-here.json, trial-guest.json, and their tables in trial.md.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import click

from locality.errors import LocalityError
from locality.lab.trial_results import markdown, remarks
from tests.checkout import commit
from tests.vm.guest import run
from tests.vm.kernel_images import CannotBoot, kernel_image
from validation.marked_page import filled
from validation.trial_aa import table as aa_table

if TYPE_CHECKING:
    from collections.abc import Iterator

DOCS = Path(__file__).parent.parent / "docs/generated"
KERNEL, CPUS = "6.12", 4
AA_FILE = "trial-aa.csv"
AA_TITLE = """\
## Trials of nothing

The hash against itself, with small answers and a connection for each, by blocks and by connection.
An interval should hold 0 in 95 of 100 runs. `python -m validation.trial_aa` adds runs.
"""
TIMEOUT_S = 2400
#: Emulated CPUs answer a hundredth of the requests: a block takes longer to say something.
GUEST_OPTIONS = ("--block", "2", "--pairs", "6")
HERE, GUEST = "here", "guest"
TITLES = {
    HERE: "On the measuring machine",
    GUEST: f"In a guest with {CPUS} emulated CPUs and Linux {KERNEL}",
}


def measure_here(file: Path) -> None:
    """Run the lab on this machine."""
    command = [sys.executable, "-m", "locality", "lab", "trial", "-o", str(file)]
    if subprocess.run(command, check=False).returncode not in {0, 3}:
        raise LocalityError("the lab did not run: see above")


def measure_in_guest(file: Path) -> None:
    """Run the lab on another kernel.

    Raises:
        LocalityError: The guest did not get to the end; with what it said.
    """
    with TemporaryDirectory() as share:
        # With taps each CPU has a queue of its own.
        options = " ".join(GUEST_OPTIONS)
        lab = f"python -m locality lab trial -o /run/share/{file.name} {options}"
        ended = run(
            kernel_image(KERNEL),
            f"modprobe tun; {lab}",
            share=Path(share),
            timeout=TIMEOUT_S,
            cpus=CPUS,
            follow=True,
        )
        if ended.status not in {0, 3}:
            raise LocalityError(f"{KERNEL}: {ended.output.strip() or ended.console[-2000:]}")
        file.write_bytes(Path(share, file.name).read_bytes())


def _sign(file: Path) -> None:
    """Add on which commit the figures were measured."""
    document = {"commit": commit(), **json.loads(file.read_text(encoding="utf-8"))}
    file.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def path_of(place: str) -> Path:
    """Where the figures of a place are."""
    return DOCS / f"trial-{place}.json"


def tables() -> list[str]:
    """The tables of all places that were measured, and of the trials of nothing."""
    lines = [line for place in TITLES if path_of(place).exists() for line in _part(place)]
    if (DOCS / AA_FILE).exists():
        lines += [AA_TITLE, *aa_table(DOCS / AA_FILE)]
    return lines


def _part(place: str) -> Iterator[str]:
    document: dict[str, Any] = json.loads(path_of(place).read_text(encoding="utf-8"))
    yield f"## {TITLES[place]}\n"
    yield f"- commit: {document['commit']}"
    for name, value in document["machine"].items():
        yield f"- {name}: {value}"
    yield f"\n{document['note']}\n"
    yield from markdown(document)
    for remark in remarks(document):
        yield f"\n{remark}"
    yield ""


@click.command()
@click.option("--only", type=click.Choice([*TITLES]), help="Measure only there.")
@click.option("--redraw", is_flag=True, help="Measure nothing: read the JSON files.")
def main(*, only: str | None, redraw: bool) -> None:
    """Write figures and tables of docs/generated/trial.md."""
    for place, measure in ((HERE, measure_here), (GUEST, measure_in_guest)):
        if not redraw and only in {None, place}:
            measure(path_of(place))
            _sign(path_of(place))
    page = DOCS / "trial.md"
    page.write_text(filled(page.read_text(encoding="utf-8"), "trial", tables()), encoding="utf-8")


if __name__ == "__main__":
    try:
        main.main(standalone_mode=False)
    except (LocalityError, CannotBoot, click.ClickException) as error:
        sys.exit(f"validation.trial_page: {error}")
