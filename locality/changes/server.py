"""Changes of a running server that can be taken back: its group's program, its workers' CPUs.

Pids, ports and addresses are given out anew. So a group is the same one only while one of
its sockets is still there, and a thread only if it began when it did then.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from locality import attach_cbpf
from locality.cbpf.describe import describe, option_for
from locality.errors import LocalityError
from locality.machine.topology import format_cpu_list

if TYPE_CHECKING:
    from locality.cbpf import Program
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
    def of(cls, one: FoundGroup) -> GroupPlace:
        """Where a group is."""
        inodes = tuple(member.inode for member in one.group.members)
        return cls(one.netns, one.protocol, one.address, one.port, inodes)

    def find(self) -> FoundGroup:
        """The group now.

        Raises:
            LocalityError: It has gone, or its program cannot be read and so not put back.
        """
        from locality.reuseport import survey as groups  # noqa: PLC0415 - loads libbpf

        where = (self.netns, self.protocol, self.address)
        for one in groups.find(ports=[self.port]):
            same = {member.inode for member in one.group.members} & {*self.inodes}
            if same and (one.netns, one.protocol, one.address) == where:
                if one.group.attached is None:
                    raise LocalityError(f"{one}: its program is not known ({one.group.how})")
                if one.group.attached and one.group.program is None:
                    raise LocalityError(f"{one}: has an eBPF program, which cannot be put back")
                return one
        raise LocalityError(
            f"{self.protocol} {self.address}:{self.port}: the group has gone, its server was "
            "stopped or started anew: left alone"
        )


@dataclass(frozen=True, slots=True)
class ProgramChange:
    """Another program for a group; None is no program."""

    place: GroupPlace
    old: Program | None
    new: Program

    @property
    def command(self) -> str:
        """What makes the change by hand: a line for a shell."""
        return f"{self._command} {option_for(self.new) or describe(self.new)}"

    @property
    def undo_command(self) -> str:
        """What takes it back by hand; only an undo file can put back every program."""
        if self.old is None:
            return f"{self._command} --detach"
        if option := option_for(self.old):
            return f"{self._command} {option} --force"
        return f"# {describe(self.old)}: only by the undo file"

    @property
    def _command(self) -> str:
        where = "" if self.place.netns is None else f" --netns {self.place.netns}"
        return f"locality attach-cbpf --port {self.place.port}{where}"

    def remember(self) -> OldProgram:
        """The program that is there now; see `GroupPlace.find` for errors."""
        return OldProgram(self.place, self.place.find().group.program)

    def make(self) -> None:
        """Attach; LocalityError says what was refused."""
        attach_cbpf.attach(*self.place.find().holder, self.new)


@dataclass(frozen=True, slots=True)
class OldProgram:
    """The program of a group as it was; None for none."""

    place: GroupPlace
    program: Program | None

    def __str__(self) -> str:
        return f"program of {self.place.protocol} {self.place.address}:{self.place.port}"

    def restore(self) -> bool:
        """Put it back, and say whether another one was there."""
        one = self.place.find()
        if one.group.program == self.program:
            return False
        if self.program is None:
            attach_cbpf.detach(*one.holder)
        else:
            attach_cbpf.attach(*one.holder, self.program)
        return True


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

    def remember(self) -> OldAffinity:
        """The CPUs it may run on now; OSError if it has ended."""
        return OldAffinity(
            self.tid, start_time(self.tid), frozenset(os.sched_getaffinity(self.tid))
        )

    def make(self) -> None:
        """Set them; OSError says what the kernel refused."""
        os.sched_setaffinity(self.tid, self.new)


@dataclass(frozen=True, slots=True)
class OldAffinity:
    """The CPUs of a thread as they were, and when it began (clock ticks since boot)."""

    tid: int
    started: int
    cpus: frozenset[int]

    def __str__(self) -> str:
        return f"CPUs of thread {self.tid}"

    def restore(self) -> bool:
        """Put them back, and say whether they were others.

        Raises:
            LocalityError: The thread has ended.
        """
        try:
            same = start_time(self.tid) == self.started
        except OSError:
            same = False
        if not same:
            raise LocalityError("it has ended, and its CPUs with it: left alone")
        if os.sched_getaffinity(self.tid) == self.cpus:
            return False
        os.sched_setaffinity(self.tid, self.cpus)
        return True


def start_time(tid: int) -> int:
    """When a thread began, in clock ticks since boot; OSError if it has ended."""
    # The name may hold blanks and parentheses.
    fields = Path(f"/proc/{tid}/stat").read_bytes().rpartition(b")")[2].split()
    return int(fields[_START_TIME])
