"""Where the output of a command goes: its results, and what is said beside them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from locality.commands.console import CONSOLE

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import Console


def tell(line: str) -> None:
    """A line beside the results."""
    CONSOLE.tell(line)


def show(lines: Iterable[str]) -> None:
    """Results. Of what is being done while they are made, each line appears at once."""
    if isinstance(lines, list):
        lines = ["\n".join(lines)] if lines else []  # there may be ten thousand
    for line in lines:
        click.echo(line)


def end(lines: Iterable[str], format_: str) -> None:
    """The summary: below readable lines, beside those for programs."""
    if format_ == "text" or not CONSOLE.quiet:
        for line in lines:
            click.echo(line, err=format_ != "text")


def table_console(*, beside: bool = False, record: bool = False) -> Console:
    """rich's console, for tables: no text is markup or the name of an emoji.

    What the kernel or a program of the lab answered is among the lines, and may be anything.

    Args:
        beside: Print on standard error, beside results for programs.
        record: Keep what is printed, for a picture.
    """
    from rich.console import Console

    return Console(highlight=False, markup=False, emoji=False, stderr=beside, record=record)


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
