"""Changes of a running server that can be taken back: its group's program, its workers' CPUs.

Pids, ports and addresses are given out anew. So a group is the same one only while one of
its sockets is still there, and a thread only if it began when it did then.
"""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from locality.cbpf import Program
from locality.cbpf.describe import describe, option_for
from locality.changes.entry import cpu, number, text
from locality.changes.protocol import LeftAlone
from locality.errors import LocalityError
from locality.machine.processes import require_own_proc
from locality.machine.topology import format_cpu_list
from locality.spill.table import Table
from locality.spill.text import describe as describe_spill
from locality.steering import attachment

if TYPE_CHECKING:
    from typing import Self

    from locality.changes.entry import Entry
    from locality.changes.system import System
    from locality.reuseport.group import Group
    from locality.reuseport.survey import FoundGroup

_START_TIME = 19
"""Where field 22 of /proc/PID/stat is, counted after the name: clock ticks since boot."""


@dataclass(frozen=True, slots=True)
class GroupPlace:
    """A reuseport group, as `locality.reuseport.survey` finds it; `inodes` are its sockets."""

    netns: int | None
    protocol: str
    address: str
    port: int
    inodes: tuple[int, ...]

    @classmethod
    def of(cls, group: FoundGroup) -> GroupPlace:
        """Where a group is."""
        inodes = tuple(member.inode for member in group.group.members)
        return cls(group.netns, group.protocol, group.address, group.port, inodes)

    @classmethod
    def from_json(cls, entry: Entry) -> Self:
        """Read the members of an undo file's entry, with every type checked."""
        return cls(
            None if entry["netns"] is None else number(entry["netns"]),
            text(entry["protocol"]),
            text(entry["address"]),
            number(entry["port"]),
            tuple(map(number, entry["inodes"])),
        )

    @property
    def command(self) -> str:
        """The command that acts on the groups of the port, without what it does."""
        where = "" if self.netns is None else f" --netns {self.netns}"
        return f"locality attach-cbpf --port {self.port}{where}"

    def find(self) -> FoundGroup:
        """The group now.

        Raises:
            LocalityError: It has gone, or its program cannot be read and so not put back.
        """
        found = self.look()
        require_readable(found)
        return found

    def look(self) -> FoundGroup:
        """The group now, whatever its program is; LocalityError if it has gone."""
        from locality.reuseport import survey as groups  # noqa: PLC0415 - loads libbpf

        where = (self.netns, self.protocol, self.address)
        for candidate in groups.find(ports=[self.port], served=False):
            same = {member.inode for member in candidate.group.members} & {*self.inodes}
            if same and (candidate.netns, candidate.protocol, candidate.address) == where:
                return candidate
        raise LocalityError(
            f"{self.protocol} {self.address}:{self.port}: the group has gone, its server was "
            "stopped or restarted: not changed"
        )


def require_readable(found: FoundGroup) -> None:
    """Check that the program of a group can be read, and so be put back; LocalityError if not."""
    if found.group.attached is None:
        raise LocalityError(f"{found}: its program is not known ({found.group.how})")
    if found.group.is_opaque:
        raise LocalityError(
            f"{found}: has {attachment.describe_present(found.group)}, which cannot be put back"
        )


@dataclass(frozen=True, slots=True)
class ProgramChange:
    """Another program for a group; None is no program."""

    place: GroupPlace
    old: Program | Table | None
    new: Program | Table

    @property
    def command(self) -> str:
        """What makes the change by hand: a line for a shell."""
        return f"{self.place.command} {_option(self.new) or self._name(self.new)}"

    @property
    def undo_command(self) -> str:
        """What takes it back by hand; only an undo file can put back every program."""
        if self.old is None:
            return f"{self.place.command} --detach"
        if option := _option(self.old):
            return f"{self.place.command} {option} --force"
        return f"# {self._name(self.old)}: only by the undo file"

    def _name(self, program: Program | Table) -> str:
        if isinstance(program, Table):
            return describe_spill(program, self.place.inodes)
        return describe(program)

    def save(self, _system: System) -> SavedProgram:
        """The program that is there now; see `GroupPlace.find` for errors."""
        return SavedProgram(self.place, attachment.present(self.place.find().group), self.new)

    def make(self, _system: System) -> None:
        """Attach; LocalityError says what was refused."""
        _attach(self.place.find(), self.new)


def _attach(group: FoundGroup, program: Program | Table) -> None:
    """Attach a program; LocalityError where it is refused, or cannot select all of its sockets."""
    if left_out := attachment.attach(*group.holder, program, group.inodes):
        raise LocalityError(
            f"attached, but only the hash selects {len(left_out)} of {len(group.inodes)} sockets: "
            f"{next(iter(left_out.values()))}"
        )


def _option(program: Program | Table) -> str:
    """The options of attach-cbpf that make a program; empty if none do."""
    if isinstance(program, Table):
        return f"--map auto --spill {program.bound}"
    return option_for(program)


@dataclass(frozen=True, slots=True)
class SavedProgram:
    """The program of a group as it was.

    Attributes:
        place: The group.
        program: What it had; None for none.
        given: What took its place, by which a program of somebody else is told apart; None if that
            is not known: then whatever is there is replaced.
    """

    KEY: ClassVar = "instructions"

    place: GroupPlace
    program: Program | Table | None
    given: Program | Table | None = None

    def __str__(self) -> str:
        return f"program of {self.place.protocol} {self.place.address}:{self.place.port}"

    def restore(self, _system: System) -> bool:
        """Put it back, and say whether another one was there.

        A program that somebody else attached after the change stays.
        """
        present = self.place.look()
        if self.given is not None:
            self._require_given(present.group, self.given)
        require_readable(present)
        if attachment.present(present.group) == self.program:
            return False
        if self.program is None:
            attachment.detach(*present.holder, present.inodes)
        else:
            _attach(present, self.program)
        return True

    def _require_given(self, group: Group, given: Program | Table) -> None:
        """Check that nobody else has given the group a program since the change.

        Raises:
            LeftAlone: Somebody has, and the group had none before the change.
            LocalityError: Somebody has, and the earlier program can be put back after that one.
        """
        if not attachment.another(group, self.program):
            return  # it is as it was
        if not (other := attachment.another(group, given)):
            return
        by_hand = attachment.detaching(f"{self.place.command} --proto {self.place.protocol}", group)
        stays = attachment.left_attached(other)
        if self.program is None:
            raise LeftAlone(f"{stays}; to detach it: {by_hand}")
        raise LocalityError(f"{stays}; detach it before the earlier program is put back: {by_hand}")

    def to_json(self) -> Entry:
        """The group's place, and the programs: instructions in hexadecimal, or a table."""
        return {**asdict(self.place), **_to_json(self.program), "given": _to_json(self.given)}

    @classmethod
    def from_json(cls, entry: Entry) -> Self:
        """Read what `to_json` gave, with every type checked."""
        given = entry.get("given")  # not in files that were written before it was
        if given is not None and not isinstance(given, dict):
            raise TypeError(given)
        return cls(
            GroupPlace.from_json(entry), _from_json(entry), _from_json(given) if given else None
        )


def _to_json(program: Program | Table | None) -> Entry:
    if isinstance(program, Table):
        return {"instructions": None, "spill": program.to_json()}
    return {"instructions": None if program is None else program.assemble().hex()}


def _from_json(entry: Entry) -> Program | Table | None:
    code = entry["instructions"]
    if code is None and entry.get("spill") is not None:
        return Table.from_json(entry["spill"])
    return None if code is None else Program.from_bytes(bytes.fromhex(text(code)))


@dataclass(frozen=True, slots=True)
class AffinityChange:
    """Other CPUs for a thread to run on."""

    tid: int
    old: frozenset[int]
    new: frozenset[int]

    @property
    def command(self) -> str:
        """What makes the change by hand: a line for a shell."""
        return f"taskset -pc {format_cpu_list(self.new)} {self.tid}"

    @property
    def undo_command(self) -> str:
        """What takes it back by hand."""
        return f"taskset -pc {format_cpu_list(self.old)} {self.tid}"

    def save(self, _system: System) -> SavedAffinity:
        """The CPUs it may run on now; OSError if it has ended."""
        return SavedAffinity(
            self.tid, start_time(self.tid), frozenset(os.sched_getaffinity(self.tid))
        )

    def make(self, _system: System) -> None:
        """Set them; OSError says what the kernel refused."""
        os.sched_setaffinity(self.tid, self.new)


@dataclass(frozen=True, slots=True)
class SavedAffinity:
    """The CPUs of a thread as they were, and when it began (clock ticks since boot)."""

    KEY: ClassVar = "tid"

    tid: int
    started: int
    cpus: frozenset[int]

    def __str__(self) -> str:
        return f"CPUs of thread {self.tid}"

    def restore(self, _system: System) -> bool:
        """Put them back, and say whether they were others.

        Raises:
            LocalityError: The thread has ended, or /proc is that of another pid namespace, in
                which its number is that of another thread.
        """
        require_own_proc()
        try:
            same = start_time(self.tid) == self.started
        except OSError:
            same = False
        if not same:
            raise LocalityError("the thread has ended: there is nothing to revert")
        if os.sched_getaffinity(self.tid) == self.cpus:
            return False
        os.sched_setaffinity(self.tid, self.cpus)
        return True

    def to_json(self) -> Entry:
        """Its members, the CPUs in order."""
        return {**asdict(self), "cpus": sorted(self.cpus)}

    @classmethod
    def from_json(cls, entry: Entry) -> Self:
        """Read what `to_json` gave, with every type checked."""
        cpus = frozenset(map(cpu, entry["cpus"]))
        return cls(number(entry["tid"]), number(entry["started"]), cpus)


def start_time(tid: int) -> int:
    """When a thread began, in clock ticks since boot; OSError if it has ended."""
    # The name may hold blanks and parentheses.
    fields = Path(f"/proc/{tid}/stat").read_bytes().rpartition(b")")[2].split()
    return int(fields[_START_TIME])
