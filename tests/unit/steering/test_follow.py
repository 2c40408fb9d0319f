"""When a follower looks closely: the looks themselves are tested on the running kernel."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from locality import cbpf
from locality.errors import LocalityError
from locality.reuseport.evidence import Evidence, Seen, Thread, Worker
from locality.reuseport.group import Group, Member
from locality.reuseport.survey import FoundGroup
from locality.steering import attachment, follow
from locality.steering.follow import Follower

if TYPE_CHECKING:
    from collections.abc import Sequence

PROGRAM = cbpf.table({0: 0})
WORKER = Worker(7, 7, "server", frozenset({0}))


def group(program: cbpf.Program | None = PROGRAM, *, attached: bool | None = True) -> FoundGroup:
    members = (Member(100, (WORKER,)),)
    found = Group(members, True, attached, program, "BPF was refused")
    return FoundGroup("tcp", "127.0.0.1", 80, 1, 7, 3, found)


@dataclass
class World:
    """What happens around a follower, and how often it looks."""

    looks: int = 0
    changed: bool = True
    accepts: Seen = field(default_factory=Seen)
    planned: str = ""
    program: cbpf.Program = PROGRAM
    there: FoundGroup = field(default_factory=group)

    def find(self, _seen: Seen, _look: float) -> list[FoundGroup]:
        self.looks += 1
        return [self.there]

    def plan(self, _group: FoundGroup) -> cbpf.Program:
        if self.planned:
            raise LocalityError(self.planned)
        return self.program

    def begin(self) -> None:
        pass

    def found(self, groups: Sequence[FoundGroup]) -> None:
        assert [one.port for one in groups] == [80]
        self.changed = False

    def seen(self) -> bool:
        return self.changed

    def follower(self) -> Follower:
        return Follower(self.find, self.plan, lambda: self.accepts, self)  # type: ignore[arg-type]


def looks(world: World, follower: Follower, seconds: int = 5) -> int:
    """How many of the next seconds' looks are close ones."""
    before = world.looks
    for _ in range(seconds):
        list(follower.look())
    return world.looks - before


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(follow, "NOW_AND_THEN_S", 1000.0)
    return World()


# Bug: every descriptor of the machine is read each second, though nothing has changed.
def test_it_looks_closely_where_something_changed(world: World) -> None:
    follower = world.follower()
    assert looks(world, follower) == 1
    assert looks(world, follower) == 0
    world.changed = True
    assert looks(world, follower) == 1


# Bug: a thread that accepts where another one did is never seen, for nothing else has changed.
def test_who_accepts_is_news(world: World) -> None:
    follower = world.follower()
    looks(world, follower)
    world.accepts.note(100, Thread(7, 8), Evidence.SERVES)
    assert looks(world, follower) == 1


# Bugs: what could not be attached is not tried again for long; it is tried every second for ever.
def test_trouble_is_looked_at_again_for_a_while(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    follower = world.follower()
    world.planned = "not known"
    assert looks(world, follower) == 5
    monkeypatch.setattr(follow, "RESTLESS_S", 0.0)
    world.changed = True
    assert looks(world, follower) == 1


# Bug: what nothing told of is never seen.
def test_it_looks_now_and_then(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "NOW_AND_THEN_S", 0.0)
    monkeypatch.setattr(follow, "SHARE_OF_TIME", 1e9)
    assert looks(world, world.follower()) == 5


# Bug: a kernel that does not tell what has changed is taken for one on which nothing does.
def test_without_what_sees_changes_every_look_is_a_close_one(world: World) -> None:
    follower = world.follower()
    follower.changes = None
    assert looks(world, follower) == 5


@pytest.fixture
def detached(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """The sockets through which programs were detached."""
    through: list[tuple[int, int]] = []
    monkeypatch.setattr(attachment, "detach", lambda pid, fd, _among: through.append((pid, fd)))
    return through


# Bugs: with --detach-on-exit the program stays, because workers moved after the last look and
# another one would fit now, or because nobody knows the workers of a server that is ending.
@pytest.mark.parametrize("planned", ["", "no map can be made"])
def test_what_was_attached_is_detached_whatever_would_fit_now(
    world: World, detached: list[tuple[int, int]], planned: str
) -> None:
    follower = world.follower()
    looks(world, follower, 1)
    world.program, world.planned = cbpf.table({0: 1}), planned
    assert [*follower.detach()] == ["tcp 127.0.0.1:80: detached"]
    assert detached == [(7, 3)]


# Bugs: a program that somebody else attached meanwhile is detached, or its group passes for
# detached; to detach nothing is an error.
def test_programs_of_others_are_not_detached(world: World, detached: list[tuple[int, int]]) -> None:
    follower = world.follower()
    looks(world, follower, 1)
    world.there = group(cbpf.table({0: 1}))
    (said,) = follower.detach()
    assert "another program by now" in said
    world.there = group(None, attached=False)
    assert [*follower.detach()] == []
    assert detached == []


# Bug: where BPF is refused, a program is attached each second, for nobody sees that it is there.
def test_nothing_is_attached_where_the_program_is_not_known(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    attached: list[object] = []
    monkeypatch.setattr(attachment, "attach", lambda *given: attached.append(given))
    world.there = group(None, attached=None)
    follower = world.follower()
    said = [line for _ in range(3) for line in follower.look()]
    assert said == ["tcp 127.0.0.1:80: which program it has is not known (BPF was refused)"]
    assert attached == []
