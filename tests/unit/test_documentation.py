"""The documentation: links lead somewhere, and what it says of columns is what the tables say."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from urllib.parse import unquote

import click
import pytest

from locality.accept import columns as accept
from locality.cli import cli
from locality.commands.steering_request import Request
from locality.connections import columns as connections
from locality.cost import columns as cost
from locality.recording.columns import Column, markdown
from locality.skb import columns as skb
from locality.top import columns as top
from locality.trial import columns as trial
from locality.udp import columns as udp
from validation.commands_page import PAGE as COMMANDS_PAGE
from validation.commands_page import commands
from validation.commands_page import page as commands_page

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md"), *ROOT.glob("notebooks/*.md")])
GENERATED = sorted((DOCS / "generated").glob("*.md"))

README_LINES = 130
GENERATED_LINES = 180

#: A command in a fenced block: at the start of a line, after a prompt, or behind "remedy: ".
COMMAND = re.compile(r"^\s*(?:\$ |\w+: |ExecStart=\S*/)?(locality [a-z].*)$", re.MULTILINE)

FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ +(.*?) *$", re.MULTILINE)


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def anchors(page: Path) -> set[str]:
    """The names that GitHub gives to the headings of a page."""
    found: set[str] = set()
    for heading in HEADING.findall(FENCED.sub("", page.read_text(encoding="utf-8"))):
        text = re.sub(r"\]\([^)]*\)", "", heading).lower()
        base = re.sub(r"[^\w\- ]", "", text).replace(" ", "-")
        number = 0
        while (anchor := f"{base}-{number}" if number else base) in found:
            number += 1
        found.add(anchor)
    return found


# Bug: a page is moved or a heading is renamed, and links to it lead nowhere.
@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_to_files_and_headings(page: Path) -> None:
    broken = []
    for link in LINK.findall(FENCED.sub("", page.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = unquote(link).partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert not broken


# Bug: a page is written that no reader finds.
def test_the_index_links_to_every_page() -> None:
    index = DOCS / "README.md"
    links = LINK.findall(index.read_text(encoding="utf-8"))
    linked = {(DOCS / link.partition("#")[0]).resolve() for link in links}
    assert {page for page in DOCS.rglob("*.md") if page != index} <= linked


def parse(line: str) -> None:
    """Parse a command line as `locality` does, and run nothing.

    Raises:
        click.UsageError: It would be refused.
    """
    words = shlex.split(line, comments=True)[1:]
    end = next((n for n, word in enumerate(words) if word in {"|", ">", "&&", "&"}), len(words))
    command: click.Command = cli
    context: click.Context | None = None
    name: str | None = "locality"
    words = words[:end]
    while isinstance(command, click.Group):
        context = click.Context(command, info_name=name, parent=context)
        name, found, words = command.resolve_command(context, words)
        assert found is not None
        command = found
    if {"--help", "-h"} & set(words):
        return
    made = command.make_context(name, words, parent=context)
    if name == "attach-cbpf":
        Request(**made.params).check()


def examples() -> list[tuple[str, str]]:
    """Each command of the README and the documentation, with its page.

    These are lines of fenced blocks, and inline code that has more than the command's name.
    """
    found = []
    for page in PAGES:
        if page == COMMANDS_PAGE:  # has patterns, such as [OPTIONS]
            continue
        text = page.read_text(encoding="utf-8")
        blocks = "".join(FENCED.findall(text)).replace("\\\n", " ")
        lines = COMMAND.findall(blocks)
        lines += re.findall(r"`(locality [a-z-]+ [^`]+)`", FENCED.sub("", text))
        found += [(name(page), " ".join(line.split())) for line in lines]
    return list(dict.fromkeys(found))


# Bug: an option is renamed, and the documentation tells readers to type the old one.
@pytest.mark.parametrize(("page", "line"), examples())
def test_commands_in_the_documentation_are_accepted(page: str, line: str) -> None:
    try:
        parse(line)
    except click.UsageError as error:
        pytest.fail(f"{page}: {line}: {error.format_message()}")


# Bug: a command or an option is changed, and the list of commands stays as it was.
def test_the_list_of_commands_is_that_of_the_help() -> None:
    assert COMMANDS_PAGE.read_text(encoding="utf-8") == commands_page(), "run `make commands`"


HELP_WIDTH = 80
NARROW = click.Context(
    cli, info_name="locality", terminal_width=HELP_WIDTH, max_content_width=HELP_WIDTH
)
HELPS = {"": cli, **dict(commands(cli, NARROW))}


# Bugs: an option without a word on what it does; a command's summary is cut in the list; a line
# that the terminal breaks.
@pytest.mark.parametrize("name", HELPS)
def test_the_help_is_complete_at_80_columns(name: str) -> None:
    command = HELPS[name]
    context = click.Context(command, info_name=f"locality {name}".strip(), parent=NARROW)
    options = [one for one in command.params if isinstance(one, click.Option)]
    assert [one.name for one in options if not one.help] == []
    lines = command.get_help(context).splitlines()
    assert [line for line in lines if len(line) > HELP_WIDTH] == []
    listed = lines[lines.index("Commands:") :] if "Commands:" in lines else []
    assert [line for line in listed if "..." in line] == []


# Bug: a duration is called S here, SECONDS there and FLOAT RANGE elsewhere.
def test_durations_are_spelt_in_one_way() -> None:
    for name, command in HELPS.items():
        for option in command.params:
            if isinstance(option, click.Option) and isinstance(option.type, click.FloatRange):
                shown = option.make_metavar(click.Context(command))
                assert shown in {"SECONDS", "MILLISECONDS", "FACTOR", "PERCENT"}, (
                    f"{name} {option.name}"
                )


# Bug: a reader does not know how to measure the figures of a page again.
@pytest.mark.parametrize("page", GENERATED, ids=name)
def test_generated_pages_name_their_command(page: Path) -> None:
    commands = re.findall(r"`make ([a-z-]+)`", page.read_text(encoding="utf-8"))
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert commands
    assert all(f"\n{command}:" in makefile for command in commands)


# Bug: a page grows until nobody reads it.
@pytest.mark.parametrize(
    ("page", "most"),
    [(ROOT / "README.md", README_LINES), *((page, GENERATED_LINES) for page in GENERATED)],
    ids=lambda value: name(value) if isinstance(value, Path) else str(value),
)
def test_pages_are_short(page: Path, most: int) -> None:
    assert len(page.read_text(encoding="utf-8").splitlines()) <= most


# Bug: a column is added, renamed or gets another meaning, and the documentation stays as it was.
@pytest.mark.parametrize(
    ("columns", "row"),
    [
        (accept.COLUMNS, ""),
        (connections.OWN, ""),
        (skb.COLUMNS, skb.PAIR),
        (skb.COLUMNS, skb.TOTAL),
        ([column for column in udp.COLUMNS if column.name != "row"], ""),
        ([column for column in top.COLUMNS if column.name != "row"], ""),
        ([column for column in cost.COLUMNS if column.name != "row"], ""),
        ([column for column in trial.COLUMNS if column.name != "row"], ""),
    ],
    ids=["accepts", "connections", "skb", "skb_totals", "udp", "top", "cost", "trial"],
)
def test_recorded_columns_are_documented(columns: list[Column], row: str) -> None:
    table = "\n".join(markdown(columns, row))
    page = DOCS / "reference/recordings.md"
    assert table in page.read_text(encoding="utf-8"), f"{name(page)} needs:\n{table}"
