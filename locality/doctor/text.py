"""A diagnosis as text of at most 80 columns, and as JSON."""

from __future__ import annotations

import json
from textwrap import TextWrapper
from typing import TYPE_CHECKING, Any

from locality.doctor.findings import Level
from locality.text import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from locality.changes.kernel import Change
    from locality.doctor.checklist import Diagnosis
    from locality.doctor.findings import Finding

_WIDTH = 80
_LABEL = 8
#: So many lines of one kind are shown of a finding; JSON and --fix have them all.
_SHOWN = 4


def lines(diagnosis: Diagnosis) -> Iterator[str]:
    """What is bad, a block each, worst first; then what is in order, a line each."""
    for finding in diagnosis.bad:
        yield from _block(finding)
        yield ""
    in_order = [finding for finding in diagnosis.findings if finding.level is Level.OK]
    for finding in in_order:
        yield from wrapped(f"ok  {finding.subject}: {finding.what}", 4)
    for unread in diagnosis.unread:
        yield from wrapped(f"?   {unread.source}: {unread.reason}", 4)
    fixable = sum(bool(finding.changes) for finding in diagnosis.bad)
    count = f"{len(diagnosis.bad)} finding{'s' * (len(diagnosis.bad) != 1)}"
    advice = ": locality doctor --fix" if fixable else ""
    yield f"{count}, {fixable} can be fixed{advice}"


def plan_lines(changes: Iterable[Change]) -> Iterator[str]:
    """What `--fix` would run, as commands for a shell, and what would take it back."""
    changes = tuple(changes)
    yield f"# {len(changes)} change{'s' * (len(changes) != 1)}"
    yield from (line for one in changes for line in wrapped_command(one.command, 0))
    yield "# back again"
    yield from (line for one in reversed(changes) for line in wrapped_command(one.undo_command, 0))


def by_hand_lines(diagnosis: Diagnosis) -> Iterator[str]:
    """What `--fix` leaves to the user, and why."""
    for finding in diagnosis.bad:
        if finding.by_hand:
            yield from wrapped(f"# left to you: {finding.subject}: {finding.not_applied}", 2, "# ")
            for command in finding.by_hand[:_SHOWN]:
                yield from wrapped_command(f"# {command}", 0)
            if (more := len(finding.by_hand) - _SHOWN) > 0:
                yield f"# ... {more} more: --format json"


def as_json(diagnosis: Diagnosis) -> str:
    """One object: findings, worst first, with everything that was read, and what was not."""
    ordered = [*diagnosis.bad, *(one for one in diagnosis.findings if one.level is Level.OK)]
    document = {
        "findings": [_object(finding) for finding in ordered],
        "unread": [unread._asdict() for unread in diagnosis.unread],
    }
    return json.dumps(document, indent=2)


def _object(finding: Finding) -> dict[str, Any]:
    return {
        "level": finding.level.value,
        "subject": finding.subject,
        "what": finding.what,
        "why": finding.why,
        "read": [value._asdict() for value in finding.read],
        "fix": list(finding.fix),
        "undo": list(finding.undo),
        "applied_by_fix": bool(finding.changes),
        "not_applied": finding.not_applied,
    }


def _block(finding: Finding) -> Iterator[str]:
    yield from wrapped(f"{finding.level.value}: {finding.subject}", 2)
    yield from wrapped(f"  {finding.what}", 2)
    yield from _labelled("why", [finding.why])
    yield from _labelled("read", [f"{one.source} = {one.text}" for one in finding.read])
    yield from _commands("fix", finding.fix)
    yield from _commands("undo", finding.undo)
    if finding.not_applied:
        yield from _labelled("note", [f"not done by --fix: {finding.not_applied}"])


def _labelled(label: str, texts: list[str]) -> Iterator[str]:
    for place, text in enumerate(_few(texts)):
        yield from wrapped(f"  {label if not place else '':6}{text}", _LABEL)


def _commands(label: str, commands: tuple[str, ...]) -> Iterator[str]:
    for place, command in enumerate(_few(list(commands))):
        first, *rest = wrapped_command(command, _LABEL)
        yield f"  {label if not place else '':6}{first.lstrip()}"
        yield from rest


def _few(texts: list[str]) -> list[str]:
    if len(texts) <= _SHOWN:
        return texts
    return [*texts[: _SHOWN - 1], f"... {len(texts) - _SHOWN + 1} more: --format json"]


def wrapped_command(command: str, indent: int) -> Iterator[str]:
    """A command, broken with backslashes where it must be: it stays a command."""
    parts = _wrap(command, indent, _WIDTH - 2, " " * indent)
    for place, part in enumerate(parts):
        yield part if place == len(parts) - 1 else f"{part} \\"


def wrapped(text: str, indent: int, lead: str = "") -> list[str]:
    """Words in lines of at most 80 columns; `lead` goes before every line but the first."""
    return _wrap(text, indent, _WIDTH, "", lead)


def _wrap(text: str, indent: int, width: int, first: str, lead: str = "") -> list[str]:
    return TextWrapper(
        width,
        initial_indent=first,
        subsequent_indent=lead or " " * indent,
        break_long_words=False,
        break_on_hyphens=False,
        replace_whitespace=False,
        drop_whitespace=True,
    ).wrap(printable(text))
