"""A diagnosis as text of at most 80 columns, and as JSON."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from locality.doctor.findings import Level
from locality.text import counted, wrap, wrap_command

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from locality.changes.protocol import Change
    from locality.doctor.checklist import Diagnosis
    from locality.doctor.findings import Finding

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
        yield from wrap(f"ok  {finding.subject}: {finding.what}", "    ")
    for unread in diagnosis.unread:
        yield from wrap(f"?   {unread.source}: {unread.reason}", "    ")
    fixable = sum(bool(finding.changes) for finding in diagnosis.bad)
    count = counted(len(diagnosis.bad), "finding")
    advice = ": locality doctor --fix" if fixable else ""
    yield f"{count}, {fixable} can be fixed{advice}"


def plan_lines(changes: Iterable[Change]) -> Iterator[str]:
    """What `--fix` would run, as commands for a shell, and what would take it back."""
    changes = tuple(changes)
    yield f"# {counted(len(changes), 'change')}"
    yield from (line for one in changes for line in wrap_command(one.command, 0))
    yield "# back again"
    yield from (line for one in reversed(changes) for line in wrap_command(one.undo_command, 0))


def by_hand_lines(diagnosis: Diagnosis) -> Iterator[str]:
    """What `--fix` leaves to the user, and why."""
    for finding in diagnosis.bad:
        if finding.by_hand:
            yield from wrap(f"# left to you: {finding.subject}: {finding.not_applied}", "# ")
            for command in finding.by_hand[:_SHOWN]:
                yield from wrap_command(f"# {command}", 0)
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
    yield from wrap(f"{finding.level.value}: {finding.subject}", "  ")
    yield from wrap(f"  {finding.what}", "  ")
    yield from _labelled("why", [finding.why])
    yield from _labelled("read", [f"{one.source} = {one.text}" for one in finding.read])
    yield from _commands("fix", finding.fix)
    yield from _commands("undo", finding.undo)
    if finding.not_applied:
        yield from _labelled("note", [f"not done by --fix: {finding.not_applied}"])


def _labelled(label: str, texts: list[str]) -> Iterator[str]:
    for place, text in enumerate(_few(texts)):
        yield from wrap(f"  {label if not place else '':6}{text}", " " * _LABEL)


def _commands(label: str, commands: tuple[str, ...]) -> Iterator[str]:
    for place, command in enumerate(_few(list(commands))):
        first, *rest = wrap_command(command, _LABEL)
        yield f"  {label if not place else '':6}{first.lstrip()}"
        yield from rest


def _few(texts: list[str]) -> list[str]:
    if len(texts) <= _SHOWN:
        return texts
    return [*texts[: _SHOWN - 1], f"... {len(texts) - _SHOWN + 1} more: --format json"]
