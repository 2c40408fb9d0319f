"""What the machine's state is made of."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, cast

import numpy as np
import pytest

from locality.doctor import facts
from locality.exporter import state
from locality.exporter.metrics import PortLabels
from locality.exporter.state import MachineState, attainable, workers_of
from locality.reuseport.evidence import Worker
from locality.reuseport.group import Group, Member
from locality.reuseport.survey import FoundGroup
from tests.trees import trees

if TYPE_CHECKING:
    from pathlib import Path

    from locality.exporter.measures import Reads


# Bugs: a CPU without a worker counts as local; a worker that may run anywhere counts as if it were
# on each CPU all the time.
@pytest.mark.parametrize(
    ("received", "workers", "share"),
    [
        ([50, 50], [{0}, {1}], 1.0),
        ([75, 25], [{0}, {0}], 0.75),
        ([10, 10, 10, 10], [{0, 1, 2, 3}], 0.25),
        ([10, 10, 10, 10], [{0, 1, 2, 3}, {2}], 0.4375),
        ([0, 0], [{0}, {1}], None),
        ([1, 1], [], None),
    ],
)
def test_attainable(received: list[int], workers: list[set[int]], share: float | None) -> None:
    assert attainable(np.array(received), [frozenset(cpus) for cpus in workers]) == share


def group(netns: int, *cpus: set[int]) -> FoundGroup:
    """A group of sockets whose workers may run on these CPUs; none: it is not known who serves."""
    members = tuple(
        Member(number, (Worker(7, 7, "server", frozenset(one)),) if one else ())
        for number, one in enumerate(cpus, 1)
    )
    found = Group(members, order_known=True, attached=False, program=None, how="")
    return FoundGroup("tcp", "0.0.0.0", 80, netns, 7, 3, found)


# Bugs: connections of one network namespace could have gone to a worker of another one, so that
# more is attainable than is; a socket that nobody is known to serve counts as one without workers.
def test_workers_of_a_port() -> None:
    cpus = [frozenset({0}), frozenset({1}), frozenset({2})]
    assert workers_of([group(1, {0}, {1}), group(1, {2}, set())]) == cpus
    assert workers_of([group(1, {0}), group(2, {1})]) is None
    assert workers_of([]) == []


class Reading:
    """Reads whose counters fail to be read for some time."""

    refusal: Exception | None = None

    def read(self) -> None:
        if self.refusal is not None:
            raise self.refusal

    def threads(self) -> dict[int, dict[int, int]]:
        return {}


# Bugs: an error that nobody expected, in what follows the look, ends the thread without a word; it
# is told each minute; what fails anew is not told; after it metrics claim to be of that look.
def test_an_unexpected_error_is_told_once_and_survived(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = facts.read(tmp_path, trees.unpack("rps-first-queue-only", tmp_path))
    monkeypatch.setattr(state, "look_at_this_machine", lambda: (machine, []))
    told: list[str] = []
    reading = Reading()
    looked = MachineState(threading.Lock(), None, cast("Reads", reading), told.append)
    for error in (OverflowError("too many"), OverflowError("too many"), OSError(5, "no answer")):
        reading.refusal = error
        looked.refresh()
    assert [*looked.families(PortLabels(1))] == []
    reading.refusal = None
    looked.refresh()
    assert [*looked.families(PortLabels(1))] != []
    reading.refusal = OSError(5, "no answer")
    looked.refresh()
    said = "settings and groups are not read"
    assert told == [
        f"{said}: OverflowError: too many",
        f"{said}: no answer",
        f"{said}: no answer",
    ]


# Bug: the thread ends at the first error, and the settings are those of its last look for ever.
def test_the_thread_goes_on_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = threading.Event()
    looks: list[None] = []

    def look() -> None:
        looks.append(None)
        if len(looks) == 3:
            ended.set()
        raise OverflowError("too many")

    monkeypatch.setattr(state, "look_at_this_machine", look)
    monkeypatch.setattr(state, "PERIOD_S", 0.001)
    MachineState(threading.Lock(), None, None, lambda _line: None).watch(lambda: None, ended)
    assert ended.wait(30)
