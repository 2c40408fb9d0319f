"""Write docs/reference/commands.md from the help texts of the commands.

python -m validation.commands_page      # make commands
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from locality.cli import cli

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = Path(__file__).parent.parent / "docs/reference/commands.md"

HEAD = """\
# Commands and options

`make commands` wrote this page from the help texts and overwrites it. `locality COMMAND --help`
prints them. Every command also has `-h` and `--help`, and takes the options of the first section.
Each option can come from [the environment](../guides/install.md#options-from-the-environment).
"""


def commands(group: click.Group, context: click.Context) -> Iterator[tuple[str, click.Command]]:
    """Every command by its name, those of groups too: ``lab udp``."""
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if command is None:
            continue
        yield name, command
        if isinstance(command, click.Group):
            inner = click.Context(command, info_name=name, parent=context)
            yield from ((f"{name} {last}", found) for last, found in commands(command, inner))


def page() -> str:
    """The whole page."""
    context = click.Context(cli, info_name="locality")
    parts = [HEAD, "\n".join(("## All commands\n", *_rows(cli, context), ""))]
    for name, command in commands(cli, context):
        parts.append("\n".join(_section(name, command, context)))
    return "\n".join(parts)


def _section(name: str, command: click.Command, context: click.Context) -> Iterator[str]:
    inner = click.Context(command, info_name=name, parent=context)
    yield f"## {name}\n"
    usage = " ".join(command.collect_usage_pieces(inner))
    yield f"`locality {name} {usage}`\n"
    yield " ".join((command.help or "").split("\n\n")[0].split()) + "\n"
    for paragraph in (command.help or "").split("\n\n")[1:]:
        yield " ".join(paragraph.split()) + "\n"
    if rows := _rows(command, inner):
        yield from (*rows, "")


def _rows(command: click.Command, context: click.Context) -> list[str]:
    """A table of a command's options; nothing if it has none."""
    rows = [
        record
        for parameter in command.params
        if isinstance(parameter, click.Option) and (record := parameter.get_help_record(context))
    ]
    table = [f"| `{_cell(option)}` | {_cell(text)} |" for option, text in rows]
    return ["| option | meaning |", "|---|---|", *table] if table else []


def _cell(text: str) -> str:
    return re.sub(r"([|\\])", r"\\\1", " ".join(text.split()))


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
