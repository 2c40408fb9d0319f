"""The commands that look for what costs locality. Like `locality.cli`: no logic."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from locality.commands.lines import show, tell
from locality.commands.options import json_options, ports_option
from locality.commands.values import DEVICE, OUTPUT, NeededFile
from locality.errors import LocalityError

if TYPE_CHECKING:
    from pathlib import Path

    from locality.doctor.checklist import Diagnosis

#: The exit status where something costs locality.
EXIT_COSTS = 3


@click.command()
@click.option("--dev", type=DEVICE, metavar="IF", help="Check only this network device.")
@ports_option(help="Check only groups on this port. Repeatable.")
@click.option(
    "--fix", is_flag=True, help="Print what would be changed and how to revert it. Change nothing."
)
@click.option("--yes", is_flag=True, help="With --fix: carry out the plan, and write an undo file.")
@click.option(
    "--undo-file",
    type=OUTPUT,
    metavar="FILE",
    help="With --fix --yes: write the undo file here; it must not exist.  "
    "[default: locality-undo-TIME.json]",
)
@json_options(help_="Choose the output format. json includes everything that was read.")
def doctor(
    *,
    dev: str | None,
    ports: tuple[int, ...],
    fix: bool,
    yes: bool,
    undo_file: Path | None,
    format_: str,
) -> None:
    """Find settings that cost locality, and fix them.

    Checks the network devices of this network namespace and its SO_REUSEPORT groups. Each finding
    comes with the command that fixes it and the command that reverts the fix. Settings that
    cannot be read are marked "?". Exit code 3: something costs locality.
    """
    if yes and not fix:
        raise click.UsageError("--yes goes with --fix")
    if undo_file is not None and not yes:
        raise click.UsageError("--undo-file goes with --fix --yes")
    if fix and format_ == "json":
        raise click.UsageError("--fix prints its plan as text: leave --format json out")

    from locality.doctor import text
    from locality.doctor.findings import Level
    from locality.doctor.running import diagnosis_of_this_machine

    diagnosis = diagnosis_of_this_machine(dev, ports)
    if not fix:
        show([text.as_json(diagnosis)] if format_ == "json" else text.lines(diagnosis))
        if any(finding.level is Level.COSTS for finding in diagnosis.findings):
            sys.exit(EXIT_COSTS)
        return
    show([*text.plan_lines(diagnosis.changes), *text.by_hand_lines(diagnosis)])
    if not diagnosis.changes:
        tell("nothing that --fix can change")
        return
    if not yes:
        tell("nothing was changed: locality doctor --fix --yes does it")
        return
    _apply(undo_file, diagnosis)


def _apply(undo_file: Path | None, diagnosis: Diagnosis) -> None:
    from locality.changes.system import this_system
    from locality.changes.undo import apply
    from locality.changes.undo_file import default_undo_file, undo_command
    from locality.doctor.running import without_effect

    undo_file = undo_file or default_undo_file()
    system = this_system()
    failed = apply(diagnosis.changes, undo_file, system)
    for failure in failed:
        tell(f"not changed: {failure}")
    ineffective = without_effect(diagnosis.changes, failed, system.files)
    for change in ineffective:
        why = "the kernel accepted the value, but the file still has the old one"
        tell(f"not changed: {change.command}: {why}")
    changed = len(diagnosis.changes) - len(failed) - len(ineffective)
    tell(f"{changed} changed; to revert: {undo_command(undo_file)}")
    require_made(len(diagnosis.changes), len(failed), len(ineffective))


def require_made(planned: int, refused: int, ineffective: int) -> None:
    """See that all changes of a plan were made.

    Raises:
        LocalityError: Some were refused, or left what they were to change as it was.
    """
    if refused or ineffective:
        no_effect = f", and {ineffective} had no effect" * bool(ineffective)
        raise LocalityError(f"{refused} of {planned} changes were refused{no_effect}")


@click.command()
@click.argument(
    "file",
    type=NeededFile(
        "What changes something writes locality-undo-DATE-TIME.json into the directory in which "
        "it is run, or the file of --undo-file, and prints the name: ls -t locality-undo-*.json"
    ),
)
def undo(*, file: Path) -> None:
    """Revert what doctor, explain or trial changed.

    FILE is the undo file that doctor --fix --yes, explain --apply or trial wrote. A program that
    attach-cbpf attached is detached by attach-cbpf --detach.
    """
    put_back_from(file)


def put_back_from(file: Path) -> None:
    """Put back what an undo file says, and say what was."""
    from locality.changes.system import this_system
    from locality.changes.undo import undo as put_back

    done, failed = put_back(file, this_system())
    for failure in failed:
        tell(f"not put back: {failure}")
    tell(f"{done} put back" if done or failed else "everything is as it was already")
    if failed:
        raise LocalityError(f"{len(failed)} could not be put back")
