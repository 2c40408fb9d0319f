"""How often a trial of nothing shows nothing: A against A, again and again, of nginx in the lab.

    python -m validation.trial_aa --runs 100 --csv docs/generated/trial-aa.csv

Both arms are the same program, so an interval should hold zero in 95 of 100 runs. Load, server and
machine are real; what is left to chance is the order of the blocks, or the coin of each connection.
Runs are added to the file, each when it is over, until Ctrl-C. `validation.trial_page --redraw`
makes the table of it.
"""

from __future__ import annotations

import csv
import sys
from collections import defaultdict
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np

from locality.errors import LocalityError
from locality.lab.experiment import URL, LocalLab, open_lab
from locality.lab.load import run_load
from locality.lab.nginx import PORT
from locality.lab.trial_cases import RequestFigures
from locality.lab.trial_experiment import Length, session_of
from locality.lab.wires import best_wire
from locality.trial.by_blocks import ByBlocks
from locality.trial.by_connection import ARMS, ByConnection
from locality.trial.connection_units import OUTCOMES
from locality.trial.effects import effects
from locality.trial.observation import Design, Trial

if TYPE_CHECKING:
    from collections.abc import Iterator

    from locality.cbpf import Program
    from locality.changes.protocol import Change
    from locality.reuseport.survey import FoundGroup
    from locality.trial.session import Session

NAMES = ("kind", "outcome", "covers")
#: Seconds of a block, pairs of a run by blocks, seconds of a run by connection.
BLOCK_S, PAIRS, CONNECTION_S = 0.2, 8, 2.0


class NoSwitch:
    """Two arms that are the same."""

    keeps_connections = True
    arms = ("the hash", "the hash")
    changes: tuple[Change, ...] = ()

    def to(self, arm: int) -> None:
        """Do nothing."""

    def programs(self) -> list[tuple[FoundGroup, Program | None]]:
        """Nothing is attached."""
        return []

    def lines(self) -> list[str]:
        """Nothing to say."""
        return []


def run(lab: LocalLab, runs: int) -> Iterator[tuple[str, str, bool]]:
    """Run trials of nothing: of each outcome, whether its interval holds zero."""
    length = Length(BLOCK_S, PAIRS, CONNECTION_S)
    with (
        run_load(lab.client, URL, len(lab.cpus)),
        session_of(lab, PORT, length, click.echo) as session,
    ):
        for number in range(runs):
            seed = int(np.random.SeedSequence().generate_state(1)[0])
            asked = replace(session.asked, seed=seed, aa_s=0.0)
            yield from _by_blocks(replace(session, asked=asked), lab)
            asked = replace(asked, aa_s=CONNECTION_S)
            yield from _by_connection(replace(session, asked=asked))
            print(f"{number + 1} of {runs}", file=sys.stderr, flush=True)


def _by_blocks(session: Session, lab: LocalLab) -> Iterator[tuple[str, str, bool]]:
    wire = lab.wire.process
    figures = [RequestFigures(lab.nginx, wire.pid if wire else None)]
    trial = ByBlocks(session, NoSwitch(), figures).run()
    if trial.ended_early:
        raise KeyboardInterrupt
    yield from _covered("blocks", trial)


def _by_connection(session: Session) -> Iterator[tuple[str, str, bool]]:
    units, ending = ByConnection(session, []).before()
    if ending.early:
        raise KeyboardInterrupt
    design = Design("connection", ARMS, len(units), session.asked.seed)
    yield from _covered("connection", Trial(design, OUTCOMES, units, units[:0]))


def _covered(kind: str, trial: Trial) -> Iterator[tuple[str, str, bool]]:
    for effect in effects(trial):
        if effect.interval is not None:
            yield kind, effect.outcome.label, not effect.interval.excludes_zero


def table(file: Path) -> Iterator[str]:
    """How often zero was held, by outcome, of the runs in a file."""
    counts: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0])
    with file.open(encoding="utf-8") as rows:
        for row in csv.DictReader(rows):
            count = counts[row["kind"], row["outcome"]]
            count[0] += row["covers"] == "True"
            count[1] += 1
    yield "| randomised | outcome | runs | intervals that hold 0 |"
    yield "|---|---|--:|--:|"
    for (kind, outcome), (held, runs) in counts.items():
        yield f"| {kind} | {outcome} | {runs} | {held} ({100 * held / runs:.0f} %) |"
    held, runs = (sum(count[place] for count in counts.values()) for place in (0, 1))
    yield f"| all | | {runs} | {held} ({100 * held / runs:.1f} %) |"


@click.command()
@click.option("--runs", type=int, default=100)
@click.option("--csv", "file", type=click.Path(path_type=Path), required=True)
def main(*, runs: int, file: Path) -> None:
    """Add runs to a file, and print what all of its runs show."""
    is_new = not file.exists()
    with open_lab(4, best_wire()) as lab, file.open("a", buffering=1, encoding="utf-8") as rows:
        writer = csv.writer(rows, lineterminator="\n")
        if is_new:
            writer.writerow(NAMES)
        with suppress(KeyboardInterrupt):  # what is over counts
            for found in run(lab, runs):
                writer.writerow(found)
    print("\n".join(table(file)))


if __name__ == "__main__":
    try:
        main.main(standalone_mode=False)
    except (LocalityError, click.ClickException) as error:
        sys.exit(f"validation.trial_aa: {error}")
