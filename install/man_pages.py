"""Write the manual pages from the help texts: locality(1), and one for each command.

python -m install.man_pages DIRECTORY
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from locality import __version__
from locality.cli import cli
from locality.commands.lazy import environment_variable
from validation.commands_page import commands

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

EXIT_CODES = Path(__file__).parent.parent / "docs/reference/exit-codes.md"


def pages() -> Iterator[tuple[str, str]]:
    """The name of each page's file, ``locality-accept.1``, and what is in it."""
    context = click.Context(cli, info_name="locality")
    known = [*commands(cli, context)]
    listed = "".join(
        f".TP\n\\fBlocality\\-{_escaped(name.replace(' ', '-'))}\\fR(1)\n"
        f"{_escaped(command.get_short_help_str(200))}\n"
        for name, command in known
    )
    body = "".join((f".SH COMMANDS\n{listed}", *_exit_codes()))
    yield "locality.1", _page("locality", cli, context) + body
    for name, command in known:
        inner = click.Context(command, info_name=name, parent=context)
        title = f"locality {name}"
        yield (
            f"{title.replace(' ', '-')}.1",
            _page(title, command, inner)
            + ".SH SEE ALSO\n\\fBlocality\\fR(1), for the options that all commands take\n",
        )


def _page(title: str, command: click.Command, context: click.Context) -> str:
    first, *rest = [" ".join(part.split()) for part in (command.help or "").split("\n\n")]
    name = title.replace(" ", "-")
    parts = [
        f'.TH "{name.upper()}" "1" "" "locality {__version__}" "locality manual"\n',
        f".SH NAME\n{_escaped(name)} \\- {_escaped(first.rstrip('.'))}\n",
        (
            f".SH SYNOPSIS\n\\fB{_escaped(title)}\\fR "
            f"{_escaped(' '.join(command.collect_usage_pieces(context)))}\n"
        ),
        ".SH DESCRIPTION\n" + "\n.PP\n".join(map(_escaped, (first, *rest))) + "\n",
        *_options(command, context),
    ]
    return "".join(parts)


def _options(command: click.Command, context: click.Context) -> Iterable[str]:
    options = [one for one in command.get_params(context) if isinstance(one, click.Option)]
    if options:
        yield ".SH OPTIONS\n"
    for option in options:
        record = option.get_help_record(context)
        if record:
            yield f".TP\n\\fB{_escaped(record[0])}\\fR\n{_escaped(' '.join(record[1].split()))}\n"
            if variable := environment_variable(option):
                yield f"Environment: {_escaped(variable)}\n"


def _exit_codes() -> Iterator[str]:
    """The tables of docs/reference/exit-codes.md, as lists."""
    yield ".SH EXIT STATUS\n"
    for line in EXIT_CODES.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip().strip("`*") for cell in re.split(r"(?<!\\)\|", line.strip("|"))]
        if line.startswith("|") and not set(line) <= set("|-: ") and cells[0] != "code":
            what = re.sub(r"[`*]|\\(?=\|)", "", cells[1])
            yield (
                ".PP\nEnds with 3:\n"
                if cells[0] == "command"
                else f".TP\n\\fB{_escaped(cells[0])}\\fR\n{_escaped(what)}\n"
            )


def _escaped(text: str) -> str:
    """Text that troff prints as it is."""
    plain = text.replace("\\", "\\e").replace("-", "\\-").replace("`", "\\(ga")
    return re.sub(r"(?m)^([.'])", r"\\&\1", plain)


def main() -> None:
    """Write all pages into the directory."""
    target = Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    for name, text in pages():
        (target / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
