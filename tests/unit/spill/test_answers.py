"""The rules of the program, by our own evaluator; a live test compares it with the kernel's."""

from __future__ import annotations

import pytest

from locality.machine.topology import Distance
from locality.spill import table as tables
from locality.spill.answers import ASKED, Answer, Kind, possible
from tests.unit.spill.made_up import FIRST, MACHINE, table

FOUR = table(0, 1, 2, 4, bound=2)


def answers(*queues: int, cpu: int = 0) -> list[tuple[Kind, int]]:
    waiting = {FIRST + index: length for index, length in enumerate(queues)}
    return [(one.kind, (one.socket or 0) - FIRST) for one in possible(FOUR, cpu, waiting)]


# Bugs: the bound is one off; the nearest is passed over for the shortest, or asked although the own
# queue is short; a queue as long as the own one is taken for shorter.
@pytest.mark.parametrize(
    ("queues", "answer"),
    [
        ((0, 0, 0, 0), (Kind.KEPT, 0)),
        ((2, 0, 0, 0), (Kind.KEPT, 0)),
        ((3, 0, 0, 0), (Kind.SPILLED, 1)),
        ((3, 2, 0, 0), (Kind.SPILLED, 1)),
        ((3, 3, 2, 0), (Kind.SPILLED, 2)),
        ((3, 3, 3, 0), (Kind.SPILLED, 3)),
        ((3, 3, 3, 3), (Kind.KEPT_LONG, 0)),
        ((9, 10, 11, 12), (Kind.KEPT_LONG, 0)),
    ],
)
def test_the_nearest_with_a_shorter_queue(
    queues: tuple[int, ...], answer: tuple[Kind, int]
) -> None:
    assert answers(*queues) == [answer]


# Bug: the first of the sockets equally near is taken, however long its queue is.
def test_the_shortest_of_those_equally_near() -> None:
    near = tables.make(0, {4: 1}, {1: {4}, 2: {0}, 3: {1}, 4: {2}}, MACHINE)
    assert possible(near, 4, {1: 5, 2: 2, 3: 1, 4: 4}) == [Answer(Kind.SPILLED, 3, Distance.REMOTE)]


# Bugs: what has no worker, or whose worker's socket has left, goes anywhere but to the hash; a
# socket that has left is chosen.
def test_what_is_hashed_and_who_has_left() -> None:
    assert possible(FOUR, 7, {}) == [Answer(Kind.HASHED)]
    assert possible(FOUR, 0, {FIRST + 1: 0}) == [Answer(Kind.HASHED)]
    assert possible(FOUR, 0, {FIRST: 3, FIRST + 2: 0}) == [
        Answer(Kind.SPILLED, FIRST + 2, Distance.LLC)
    ]


# Bugs: of many workers only the first are ever asked, or all of them; one that nobody can ask is
# said to be an answer.
def test_of_many_equally_near_workers_some_are_asked() -> None:
    many = ASKED + 3
    workers = {1: {0}} | {10 + number: {4} for number in range(many)}
    far = tables.make(0, {0: 1}, workers, MACHINE)
    empty = dict.fromkeys(workers, 0) | {1: 5}
    assert {one.socket for one in possible(far, 0, empty)} == {10 + n for n in range(many)}
    one_short = dict.fromkeys(workers, 9) | {1: 5, 12: 0}
    found = {(one.kind, one.socket) for one in possible(far, 0, one_short)}
    assert found == {(Kind.SPILLED, 12), (Kind.KEPT_LONG, 1)}
