"""Findings about groups: if several groups of a port have one, it is reported once."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING

from locality.doctor.findings import Finding
from locality.doctor.values import Unread

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Iterator

    from locality.reuseport.survey import FoundGroup

    Answer = Finding | Unread


def together(judged: Iterable[tuple[FoundGroup, Answer]]) -> Iterator[Answer]:
    """Put findings together that differ only in the group that they are about.

    Args:
        judged: A group and something found of it, whose subject begins with the group.

    Returns:
        One for each kind of finding, in the order in which they were found. One about several
        groups has everything that was read of them, and every command, each once.
    """
    same: dict[Hashable, list[tuple[FoundGroup, Answer]]] = defaultdict(list)
    for group, answer in judged:
        same[_key(group, answer)].append((group, answer))
    for alike in same.values():
        groups, answers = [group for group, _ in alike], [answer for _, answer in alike]
        yield answers[0] if len(alike) == 1 else _merged(groups, answers)


def _key(group: FoundGroup, answer: Answer) -> Hashable:
    if isinstance(answer, Unread):
        return group.protocol, group.port, _part(group, answer.source), answer.reason
    return (
        *(group.protocol, group.port, _part(group, answer.subject)),
        *(answer.level, answer.what, answer.why, answer.not_applied),
        *(bool(answer.by_hand), bool(answer.by_hand_undo)),
    )


def _merged(groups: list[FoundGroup], answers: list[Answer]) -> Answer:
    first = answers[0]
    of_all = f"{groups[0].protocol} port {groups[0].port}, {len(groups)} groups"
    if isinstance(first, Unread):
        return Unread(f"{of_all}: {_part(groups[0], first.source)}", first.reason)
    findings = [answer for answer in answers if isinstance(answer, Finding)]
    return replace(
        first,
        subject=f"{of_all}: {_part(groups[0], first.subject)}",
        read=tuple(dict.fromkeys(value for one in findings for value in one.read)),
        by_hand=tuple(dict.fromkeys(command for one in findings for command in one.by_hand)),
        by_hand_undo=tuple(
            dict.fromkeys(command for one in findings for command in one.by_hand_undo)
        ),
    )


def _part(group: FoundGroup, subject: str) -> str:
    """The subject without its group: "workers", "choice"."""
    return subject.removeprefix(f"{group} ")
