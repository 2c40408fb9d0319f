"""What a trial is about: the listeners of a port, who serves them, and the program to try.

The listeners are those of one network namespace. A trial that attaches a program needs reuseport
groups whose order, workers and program are known: what is not known can be neither compared nor
put back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from locality import cbpf
from locality.changes.server import GroupPlace, ProgramChange
from locality.errors import LocalityError
from locality.machine.processes import threads
from locality.reuseport.group import read_sockets
from locality.reuseport.one_server import of_one_namespace
from locality.reuseport.servers import server_of
from locality.reuseport.survey import find
from locality.spill.table import Table
from locality.steering import attachment
from locality.steering.plan import AutoMap
from locality.text import counted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from locality.cbpf import Program
    from locality.machine.topology import Topology
    from locality.reuseport.evidence import Seen
    from locality.reuseport.survey import FoundGroup
    from locality.steering.plan import Plan


@dataclass(frozen=True)
class Target:
    """The listeners of a port.

    Attributes:
        port: The port.
        netns: Inode of their network namespace; None if it may not be seen.
        groups: The listeners, as groups; those without SO_REUSEPORT are groups of one.
    """

    port: int
    netns: int | None
    groups: tuple[FoundGroup, ...]

    def __str__(self) -> str:
        return f"port {self.port}"

    @property
    def pids(self) -> tuple[int, ...]:
        """The processes that serve the listeners, ascending; none if they are not known."""
        members = (member for group in self.groups for member in group.group.members)
        return tuple(sorted({worker.pid for member in members for worker in member.workers}))

    @property
    def holders(self) -> tuple[int, ...]:
        """Processes that hold the listeners: they are in their network namespace."""
        return tuple(group.pid for group in self.groups if group.pid is not None)

    @property
    def inodes(self) -> frozenset[int]:
        """The listening sockets."""
        return frozenset[int]().union(*(group.inodes for group in self.groups))

    @property
    def server(self) -> str:
        """The server and its workers, in words."""
        names = sorted({server_of(pid).name for pid in self.pids}) or ["server not known"]
        workers = sum(len(threads(pid)) for pid in self.pids)
        processes = counted(len(self.pids), "process")
        return f"{', '.join(names)}: {processes}, {counted(workers, 'thread')}"

    def again(self, known: Seen | None = None, look: float = 0) -> Target:
        """The same listeners as they are now; see `find_target` for errors."""
        return find_target(self.port, self.netns, known, look)


def find_target(port: int, netns: int | None, known: Seen | None = None, look: float = 0) -> Target:
    """The TCP listeners of a port.

    Args:
        port: The port.
        netns: Inode of their network namespace; None if they are all in one.
        known: Which threads serve which sockets, as far as a probe saw it.
        look: Seconds to look by probe for the workers that /proc does not tell.

    Raises:
        LocalityError: There are none, or they are of several network namespaces.
    """
    everything = [
        group
        for group in find(ports=[port], known=known, look=look, alone=True)
        if netns in {None, group.netns}
    ]
    listeners = [group for group in everything if group.protocol == "tcp"]
    if not listeners:
        other = sorted({group.protocol for group in everything})
        found = (
            f"only {' and '.join(other)} sockets were found there" if other else "none was found"
        )
        raise LocalityError(
            f"a trial needs a TCP listener on port {port}, and {found}: ss -lntup shows what "
            "there is"
        )
    of_one_namespace(listeners)
    return Target(port, listeners[0].netns, tuple(listeners))


@dataclass(frozen=True)
class Steered:
    """A group, and what is tried on it.

    Attributes:
        group: As it was found, with the program that it has.
        indexes: The map: index by CPU.
        table: Of a program that spills, if that is tried: it equals the map while queues are short.
    """

    group: FoundGroup
    indexes: Mapping[int, int]
    table: Table | None = None

    @property
    def before(self) -> Program | Table | None:
        """The program that it has; None for none."""
        return attachment.present(self.group.group)

    @property
    def tried(self) -> Program | Table:
        """The program that is tried."""
        return self.nearest if self.table is None else self.table

    @property
    def nearest(self) -> Program:
        """The program that sends each connection to the nearest worker."""
        return cbpf.table(self.indexes)

    @property
    def coin(self) -> Program:
        """The program that flips a coin for each connection."""
        return cbpf.toss(self.indexes, len(self.group.group.members))

    def change_to(self, program: Program | Table) -> ProgramChange:
        """The change that gives the group a program; what is saved for it is what it has now."""
        return ProgramChange(GroupPlace.of(self.group), self.before, program)

    def describe(self, program: Program | Table | None) -> str:
        """A program of this group in a few words."""
        return "none" if program is None else attachment.describe(program, self.group.group)

    def require_present(self, program: Program | Table | None) -> None:
        """Check that nobody else has given the group a program since it was given this one.

        Args:
            program: None for none.

        Raises:
            LocalityError: Somebody has, or the group has gone.
        """
        try:
            present = read_sockets(*self.group.holder, self.group.inodes)
        except LocalityError:  # see `attach`
            present = GroupPlace.of(self.group).look().group
        if other := attachment.another(present, program):
            raise LocalityError(replaced(self.group, other))

    def attach(self, program: Program | Table | None) -> None:
        """Give the group a program; None takes away the one that it has.

        Raises:
            LocalityError: The group has gone, it had none, or the kernel refused.
        """
        try:
            self._attach(self.group, program)
        except LocalityError:
            # The process that it was reached through may have ended, and another has it.
            self._attach(GroupPlace.of(self.group).find(), program)

    @staticmethod
    def _attach(group: FoundGroup, program: Program | Table | None) -> None:
        if program is None:
            attachment.detach(*group.holder, group.inodes)
        elif left_out := attachment.attach(*group.holder, program, group.inodes):
            raise LocalityError(f"{group}: {next(iter(left_out.values()))}")


def replaced(group: FoundGroup, other: str) -> str:
    """That somebody else gave a group a program, in words, with the program in a few words."""
    return (
        f"another program was attached to {group} meanwhile ({other}): is locality attach-cbpf "
        "--follow running?"
    )


def steer(
    target: Target, machine: Topology, receiving: frozenset[int], plan: Plan | None = None
) -> list[Steered]:
    """The program for each group of a target, as attach-cbpf makes it.

    Args:
        target: What was found.
        machine: The CPUs.
        receiving: The CPUs that receive.
        plan: What each group shall have; the map to the nearest worker if not given.

    Raises:
        LocalityError: A listener is alone, a group's program could not be put back, or no map
            fits it; says why.
    """
    steered = []
    for group in target.groups:
        if not group.shares or len(group.group.members) < 2:  # noqa: PLR2004 - a choice takes two
            pid = group.pid or 0
            raise LocalityError(
                f"{group} has one socket, so there is nothing to choose from: give each worker a "
                f"socket of its own first ({server_of(pid).own})"
            )
        if group.group.attached is None:
            raise LocalityError(
                f"{group}: its program is not known, so it could not be put back "
                f"({group.group.how})"
            )
        if group.group.is_opaque:
            raise LocalityError(
                f"{group}: it has {attachment.describe_present(group.group)}, which could not be "
                f"put back: detach it first (locality attach-cbpf --port {target.port} --detach "
                "--force)"
            )
        try:
            program = (plan or AutoMap(machine, receiving))(group.group)
        except LocalityError as error:
            why = str(error).replace("; --force attaches it anyway", "")
            raise LocalityError(f"{group}: {why}") from error
        steered.append(_steered(group, program, machine))
    return steered


def _steered(group: FoundGroup, program: Program | Table, machine: Topology) -> Steered:
    usual = attachment.by_cpu(program, group.group)
    if usual is None:
        raise LocalityError(f"{group}: none of its sockets is there any more")
    answers = {cpu: cbpf.evaluate(usual, cbpf.Packet(cpu=cpu)) for cpu in machine.online}
    indexes = {cpu: at for cpu, at in answers.items() if at != cbpf.HASH}
    return Steered(group, indexes, program if isinstance(program, Table) else None)
