"""A report as one HTML page that needs nothing else, or as Markdown.

What is on the page is described by `Page` without any markup; the two functions here are
the only places where text turns into markup, so they are the only places that escape.
Figures travel inside the HTML as data URIs: an SVG in an ``<img>`` cannot run a script,
and the page's own policy forbids scripts and every fetch from the network.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from functools import cached_property
from html import escape
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from locality.text import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping


@dataclass(frozen=True)
class Picture:
    """A figure on the page.

    Attributes:
        name: Of its file, without suffix; distinct on a page.
        caption: What it shows, and how to read it.
        figure: A matplotlib `Figure`.
        draw: Gives the figure as SVG; drawing takes far longer than making a figure.
    """

    name: str
    caption: str
    figure: Any
    draw: Callable[[Any], str]

    @cached_property
    def svg(self) -> str:
        """The figure as SVG, drawn when it is first asked for."""
        return self.draw(self.figure)


@dataclass(frozen=True)
class Table:
    """Rows of text; a column whose cells are figures is aligned to the right."""

    heading: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def figures(self, column: int) -> bool:
        """Whether every cell of this column is a figure."""
        return all(
            re.fullmatch(r"[-+]?[\d,.]+( ?\S{1,2})?|\?|-|", row[column]) for row in self.rows
        )


@dataclass(frozen=True)
class Section:
    """A heading and what stands below it: paragraphs, tables, pictures."""

    title: str
    blocks: tuple[str | Table | Picture, ...]


@dataclass(frozen=True)
class Page:
    """The whole report."""

    title: str
    sections: tuple[Section, ...]

    def pictures(self) -> Iterator[Picture]:
        """All pictures in their order."""
        for section in self.sections:
            for block in section.blocks:
                if isinstance(block, Picture):
                    yield block


STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #1b1f24; background: #fff;
       max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.7rem; } h2 { font-size: 1.25rem; margin-top: 2.5rem;
     border-bottom: 1px solid #d0d7de; }
.first p { font-size: 1.08rem; }
table { border-collapse: collapse; font-size: .9rem; margin: 1rem 0; display: block;
        overflow-x: auto; }
th, td { padding: .2rem .8rem .2rem 0; text-align: left; vertical-align: top;
         border-bottom: 1px solid #e6e9ed; }
.n { text-align: right; font-variant-numeric: tabular-nums; }
figure { margin: 1.5rem 0; break-inside: avoid; } img { max-width: 100%; height: auto; }
figcaption { font-size: .9rem; color: #57606a; }
"""


def html(page: Page) -> str:
    """The page as one HTML document."""
    body = "".join(_html_section(section, number) for number, section in enumerate(page.sections))
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">\n"
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{_html(page.title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        f"<h1>{_html(page.title)}</h1>\n{body}</body>\n</html>\n"
    )


def _html(text: str) -> str:
    return escape(printable(text))


def _html_section(section: Section, number: int) -> str:
    blocks = "".join(_html_block(block) for block in section.blocks)
    kind = ' class="first"' if number == 0 else ""
    return f"<section{kind}>\n<h2>{_html(section.title)}</h2>\n{blocks}</section>\n"


def _html_block(block: str | Table | Picture) -> str:
    if isinstance(block, Table):
        return _html_table(block)
    if isinstance(block, Picture):
        data = base64.b64encode(block.svg.encode()).decode()
        caption = _html(block.caption)
        return (
            f'<figure id="{_html(block.name)}"><img alt="{caption}" '
            f'src="data:image/svg+xml;base64,{data}">\n<figcaption>{caption}</figcaption></figure>\n'
        )
    return f"<p>{_html(block)}</p>\n"


def _html_table(table: Table) -> str:
    marks = [' class="n"' if table.figures(at) else "" for at in range(len(table.heading))]

    def row(cells: tuple[str, ...], tag: str) -> str:
        inside = "".join(
            f"<{tag}{mark}>{_html(cell)}</{tag}>" for cell, mark in zip(cells, marks, strict=True)
        )
        return f"<tr>{inside}</tr>\n"

    rows = "".join(row(cells, "td") for cells in table.rows)
    return f"<table>\n<thead>{row(table.heading, 'th')}</thead>\n<tbody>{rows}</tbody></table>\n"


def markdown(page: Page, files: Mapping[str, str]) -> str:
    """The page as Markdown.

    Args:
        page: What to say.
        files: Addresses of the pictures by name, as seen from the Markdown file; a picture
            that has none is left out.
    """
    parts = [f"# {_markdown(page.title)}"]
    for section in page.sections:
        parts.append(f"## {_markdown(section.title)}")
        parts += filter(None, (_markdown_block(block, files) for block in section.blocks))
    return "\n\n".join(parts) + "\n"


def _markdown(text: str) -> str:
    """Text whose every character means itself, HTML and bare addresses included."""
    text = re.sub(r"([\\`*_{}\[\]<>#|&~!$@])", r"\\\1", printable(text))
    return re.sub(r"(?i)(?<=\w)(:)(?=//)|(?<=www)(\.)", r"\\\g<0>", text)


def _markdown_block(block: str | Table | Picture, files: Mapping[str, str]) -> str:
    if isinstance(block, Table):
        rule = ["---:" if block.figures(at) else "---" for at in range(len(block.heading))]
        rows = [block.heading, *block.rows]
        lines = ["| " + " | ".join(map(_markdown, row)) + " |" for row in rows]
        lines.insert(1, "| " + " | ".join(rule) + " |")
        return "\n".join(lines)
    if isinstance(block, Picture):
        if block.name not in files:
            return ""
        return f"![{_markdown(block.caption)}](<{quote(files[block.name])}>)"
    # At the start of a line these make a list or underline a heading.
    return re.sub(r"^(?=[-+=])", r"\\", _markdown(block))
