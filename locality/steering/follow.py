"""Keep a port's groups on their program while servers reload, restart and lose workers.

Nothing is derived from events: the groups are read again, the plan says what each should have, and
what is not so is made so. A server that was stopped and started has a new group without a program;
one that reloaded has more sockets, or fewer, or new workers. All of these look the same here.

That is done when something has changed that it depends on, which is asked every second
(`reuseport.changes`); for a while after that, as long as something is not as it should be; and now
and then. Where the kernel does not tell what has changed it is done every second.

Who serves which socket is read again every time too, and a probe that runs all the while tells
who accepts. So the program is judged by the workers there are, not by those there were when it
was attached: after a reload the same program may send everything to the wrong worker.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from locality.errors import LocalityError
from locality.reuseport.evidence import LOOK_S, Seen
from locality.spill.table import Table
from locality.steering import attachment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from locality.cbpf import Program
    from locality.reuseport.changes import Changes
    from locality.reuseport.survey import FoundGroup
    from locality.stream import Awakened

PERIOD_S = 1.0
NOW_AND_THEN_S = 10.0
"""So often the groups are read at least."""
RESTLESS_S = 10.0
"""After a change they are read every second for so long, if something is not as it should be."""
SHARE_OF_TIME = 0.03
"""So much of a CPU it may take to read them now and then."""

_Key = tuple[int | None, str, str, int]


@dataclass
class Follower:
    """Groups, and what was last seen of each.

    Args:
        find: Finds the groups to follow, from what was seen of their workers and with a look by
            probe of so many seconds; called for every look.
        plan: What a group shall have; raises LocalityError, with the reason, where nothing fits.
        accepted: Hands out who accepted since it was asked last; None where that cannot be seen.
        changes: Sees whether another look could find something else; None where that cannot be
            seen, and every look is a close one.
    """

    find: Callable[[Seen, float], list[FoundGroup]]
    plan: Callable[[FoundGroup], Program | Table]
    accepted: Callable[[], Seen] | None = None
    changes: Changes | None = None
    _seen: Seen = field(default_factory=Seen)
    _hidden: frozenset[int] = frozenset()
    _known: dict[_Key, FoundGroup] = field(default_factory=dict)
    _trouble: dict[_Key, str] = field(default_factory=dict)
    _restless_until: float = 0.0
    _again_at: float = 0.0
    _left_out: dict[_Key, frozenset[int]] = field(default_factory=dict)
    _ours: dict[_Key, Program | Table] = field(default_factory=dict)

    @property
    def in_trouble(self) -> int:
        """How many groups were not on their programs at the last look."""
        return len(self._trouble)

    @property
    def has_attached(self) -> bool:
        """Whether a group had its program at the last look."""
        return bool(self._ours)

    def look(self) -> Iterator[str]:
        """Look once, and put right what is not; one line for each thing that happened."""
        if not self._is_due():
            return
        begun, spent = time.monotonic(), time.process_time()
        if self.changes is not None:
            self.changes.begin()
        yield from self._look_closely()
        if self.changes is not None:
            self.changes.found([*self._known.values()])
        pause = max(NOW_AND_THEN_S, (time.process_time() - spent) / SHARE_OF_TIME)
        unsettled = self._trouble or self._hidden
        self._again_at = begun + (0 if unsettled and begun < self._restless_until else pause)

    def _is_due(self) -> bool:
        """Whether to look closely: a look could find something else, or it is time for one."""
        news = self._hear()
        changed = news or self.changes is None or self.changes.seen()
        if changed:
            self._restless_until = time.monotonic() + RESTLESS_S
        return changed or time.monotonic() >= self._again_at

    def _hear(self) -> bool:
        """Note who accepted; whether that is news."""
        return self.accepted is not None and self._seen.add(self.accepted())

    def _look_closely(self) -> Iterator[str]:
        groups = {_key(group): group for group in self._find()}
        for key in self._known.keys() - groups.keys():
            yield f"{self._known[key]}: the group has gone; waiting for it"
        for key, group in groups.items():
            yield from self._keep(key, group)
        attachment.forget_others(group.group for group in groups.values())
        self._known = groups
        self._ours = {key: program for key, program in self._ours.items() if key in groups}
        self._trouble = {key: why for key, why in self._trouble.items() if key in groups}

    def _find(self) -> list[FoundGroup]:
        """The groups, with a look by probe for the workers of sockets that have just come."""
        groups = self.find(self._seen, 0)
        hidden = _unserved(groups)
        if not hidden <= self._hidden:
            groups = self.find(self._seen, LOOK_S)
            hidden = _unserved(groups)
        self._hidden = hidden
        return groups

    def _keep(self, key: _Key, group: FoundGroup) -> Iterator[str]:
        try:
            _require_known(group)
            program = self.plan(group)
            name = attachment.describe(program, group.group)
            if self._has(key, group, program):
                self._ours[key] = program
                if not self._left_out.get(key):
                    self._trouble.pop(key, None)
                if key not in self._known:
                    yield f"{group}: a group of {len(group.group.members)} has {name}"
                elif _sockets(group) != _sockets(self._known[key]):
                    yield f"{group}: {self._what_happened(key, group)}; {name} still fits"
                return
            left_out = attachment.attach(*group.holder, program, group.inodes)
        except LocalityError as error:
            yield from self._once(key, group, str(error))
            return
        self._ours[key] = program
        self._left_out[key] = frozenset(left_out)
        self._trouble.pop(key, None)
        yield f"{group}: {self._what_happened(key, group)}; attached {name}"
        for why in left_out.values():
            yield from self._once(key, group, f"{why}; only the hash selects it")

    def _has(self, key: _Key, group: FoundGroup, program: Program | Table) -> bool:
        """Whether a group has this program.

        Of a table, as far as its sockets could be put into the program's map, and are still there.
        """
        spill = group.group.spill
        if spill is not None and isinstance(program, Table):
            left_out = self._left_out.get(key, frozenset()) & spill.outside
            return spill.table == program.without(left_out | (program.members - group.inodes))
        return attachment.present(group.group) == program

    def _once(self, key: _Key, group: FoundGroup, trouble: str) -> Iterator[str]:
        """Say it, unless it was said: the next look finds the same, or that it has passed."""
        if self._trouble.get(key) != trouble:
            self._trouble[key] = trouble
            yield f"{group}: {trouble}"

    def _what_happened(self, key: _Key, group: FoundGroup) -> str:
        """How the group differs from what was seen of it before."""
        size = len(group.group.members)
        before = self._known.get(key)
        if before is None:
            return f"a group of {size}"
        sockets, were = _sockets(group), _sockets(before)
        changes = {
            f"a new group of {size}": not set(sockets) & set(were),
            f"{size} sockets, were {len(were)}": size != len(were),
            "its sockets are in another order": sockets != were,
            "the program was taken away": group.group.attached is False,
            "its workers are on other CPUs": [member.cpus for member in group.group.members]
            != [member.cpus for member in before.group.members],
        }
        return next(
            (change for change, seen in changes.items() if seen), "another program was attached"
        )

    def detach(self) -> Iterator[str]:
        """Take the program away from the groups that still have the one that they were given.

        That need not be the one of the plan any more: workers may have moved since the last look.
        """
        self._hear()
        for group in self._find():
            if group.group.attached is False:
                continue
            try:
                _require_known(group)
                ours = self._ours.get(_key(group)) or self.plan(group)
                if not self._has(_key(group), group, ours):
                    yield f"{group}: has another program by now, which is left as it is"
                    continue
                attachment.detach(*group.holder, group.inodes)
            except LocalityError as error:
                yield f"{group}: not detached: {error}"
            else:
                yield f"{group}: detached"


def follow(
    follower: Follower, wait: Callable[[float], Awakened], say: Callable[[str], None]
) -> None:
    """Look every second until a signal asks to end.

    Args:
        follower: What to keep.
        wait: From `stream.interruptible`.
        say: Takes each line, with the time of day before it.
    """
    due = time.monotonic()
    while True:
        for line in follower.look():
            say(f"{time.strftime('%H:%M:%S')} {line}")
        due = max(due + PERIOD_S, time.monotonic())
        if wait(due - time.monotonic()).stop:
            return


def _require_known(group: FoundGroup) -> None:
    if group.group.attached is None:
        raise LocalityError(f"which program it has is not known ({group.group.how})")


def _key(group: FoundGroup) -> _Key:
    return group.netns, group.protocol, group.address, group.port


def _unserved(groups: list[FoundGroup]) -> frozenset[int]:
    """The sockets whose workers are not known."""
    members = (member for group in groups for member in group.group.members)
    return frozenset(member.inode for member in members if member.inode and not member.workers)


def _sockets(group: FoundGroup) -> list[int]:
    """Its sockets in order."""
    return [member.inode for member in group.group.members]
