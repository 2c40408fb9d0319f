"""What program a group shall have: a plan looks at a group and answers with its program.

A plan can be asked again when the group has changed: `follow` does so every second.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from locality import cbpf
from locality.errors import LocalityError
from locality.machine.capabilities import held, lacking
from locality.machine.topology import format_cpu_list
from locality.reuseport.group import Group
from locality.reuseport.servers import server_of
from locality.spill import table as spill_table
from locality.spill.table import Table
from locality.steering.nearest import nearest_map

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from locality.cbpf import Program
    from locality.machine.topology import Topology
    from locality.reuseport.servers import Server

Plan = Callable[[Group], cbpf.Program | Table]
"""Raises LocalityError, with the reason, for a group it has no program for."""


def fixed(program: Program) -> Plan:
    """The same program whatever the group looks like."""
    return lambda _group: program


def by_size(build: Callable[[int], Program]) -> Plan:
    """A program for as many sockets as the group has, such as one of `cbpf.BUILDERS`."""

    def plan(group: Group) -> Program:
        if not group.members:
            raise LocalityError("the socket has joined no group yet: give its size (--group N)")
        return build(len(group.members))

    return plan


_REMEMBERED = 64
"""Maps of so many sets of workers."""


class LessCapacity(LocalityError):  # noqa: N818 - it says why, like the others
    """A program would leave CPUs without work that have some."""


@dataclass(frozen=True)
class AutoMap:
    """A table from RX CPU to the nearest worker, made from where the workers really are.

    Attributes:
        machine: Its CPUs.
        receiving: The CPUs that process packets. The other online CPUs get their nearest
            worker too, so that a packet there is not hashed, but no say in who gets what.
        force: Go on where workers may run on several CPUs, and where CPUs would be left
            without work.
    """

    machine: Topology
    receiving: frozenset[int]
    force: bool = False
    _made: dict[tuple[frozenset[int], ...], tuple[dict[int, int], Program]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def __call__(self, group: Group) -> Program:
        """The table for this group.

        Raises:
            LessCapacity: It would leave workers' CPUs without work.
            LocalityError: The group's order or its workers are not known, or its workers may
                run on several CPUs.
        """
        workers = tuple(_workers(group))
        local, program = self._made_for(workers)
        if not self.force:
            _require_pinned(group, self.machine.online)
            _require_capacity(group, local, self.receiving)
        return program

    def _made_for(self, workers: tuple[frozenset[int], ...]) -> tuple[dict[int, int], Program]:
        """The map of the receiving CPUs, and the program with that of all CPUs.

        A server may have a thousand groups, all with the same workers.
        """
        if workers not in self._made:
            if len(self._made) >= _REMEMBERED:
                self._made.clear()
            local = nearest_map(workers, self.receiving, self.machine)
            program = cbpf.table(_own_workers(workers, self.receiving, self.machine))
            self._made[workers] = local, program
        return self._made[workers]


@dataclass(frozen=True)
class SpillTable:
    """The same for a program that spills, with the other workers by their distance.

    Nobody is left without work by it: a worker on a CPU that does not receive gets what others
    have no time for.

    Attributes:
        machine: Its CPUs.
        receiving: The CPUs that process packets, as in `AutoMap`.
        bound: Says how many connections may wait for a CPU's own worker, from the index of each
            CPU's own worker and the group.
        force: Go on where workers may run on several CPUs.
    """

    machine: Topology
    receiving: frozenset[int]
    bound: Callable[[Mapping[int, int], Group], int]
    force: bool = False

    def __call__(self, group: Group) -> Table:
        """The table for this group; see `AutoMap` for errors."""
        workers = _workers(group)
        if not self.force:
            _require_pinned(group, self.machine.online)
        indexes = _own_workers(workers, self.receiving, self.machine)
        own = {cpu: group.members[index].inode for cpu, index in indexes.items()}
        open_sockets = {one.inode: one.cpus for one in group.members if one.inode}
        return spill_table.make(self.bound(indexes, group), own, open_sockets, self.machine)


def fixed_bound(bound: int) -> Callable[[Mapping[int, int], Group], int]:
    """The same bound whatever the group looks like."""
    return lambda _own, _group: bound


def _workers(group: Group) -> list[frozenset[int]]:
    """The CPUs of each socket's workers, in the group's order, if they are known."""
    if not group.order_known:
        raise LocalityError(
            f"no map can be made: the group's order is not known ({group.how}): {_to_see_it()}"
        )
    if hidden := unknown(group):
        raise LocalityError(
            f"no map can be made: who serves index {format_cpu_list(hidden)} is not known, for "
            "no thread was seen to wait for it, to accept on it or to read from it"
        )
    workers = [member.cpus for member in group.members]
    if not any(workers):
        raise LocalityError("no map can be made: no thread was seen to wait for these sockets")
    return workers


def _to_see_it() -> str:
    """What to do where the order of a group is not known."""
    if missing := lacking("attach-cbpf", held()):
        return f"run it as root, or with {', '.join(missing)}"
    return "locality check shows what this kernel refuses"


def _own_workers(
    workers: Sequence[frozenset[int]], receiving: frozenset[int], machine: Topology
) -> dict[int, int]:
    """The index of its nearest worker for each online CPU."""
    others = set(machine.online) - receiving
    return nearest_map(workers, others, machine) | nearest_map(workers, receiving, machine)


def unknown(group: Group) -> list[int]:
    """The indexes of sockets whose workers are not known; not of those being closed."""
    return [i for i, member in enumerate(group.members) if member.inode and not member.workers]


def unpinned(group: Group, cpus: Collection[int]) -> list[int]:
    """The indexes whose workers may run on more than one of some CPUs."""
    return [i for i, member in enumerate(group.members) if len(member.cpus.intersection(cpus)) > 1]


def _require_pinned(group: Group, online: Collection[int]) -> None:
    """Check that each socket is served on one CPU."""
    roaming = unpinned(group, online)
    shared = [i for i in roaming if len(group.members[i].workers) > 1]
    if shared:
        raise LocalityError(
            f"several threads serve index {format_cpu_list(shared)} on several CPUs, and whichever "
            "wakes first accepts, so no map can help: give each thread a socket of its own "
            f"({_server(group, shared).own}); --force attaches it anyway"
        )
    if roaming:
        raise LocalityError(
            f"the workers of {len(roaming)} of {len(group.members)} sockets may run on several "
            "CPUs, so no map can make them local: pin them first "
            f"({_server(group, roaming).pins}); --force attaches it anyway"
        )


def _server(group: Group, indexes: list[int]) -> Server:
    """The server that some sockets belong to."""
    return server_of(group.members[indexes[0]].workers[0].pid)


def _require_capacity(group: Group, mapped: Mapping[int, int], receiving: Collection[int]) -> None:
    """Check that no CPU is left without connections that gets some now."""
    fed = _cpus(group, mapped.values())
    starved = _cpus(group, _fed(group, receiving)) - fed
    if starved:
        raise LessCapacity(
            f"only CPUs {format_cpu_list(receiving)} receive, so a map would leave the workers on "
            f"CPUs {format_cpu_list(starved)} without any: let more CPUs receive first (locality "
            "doctor: RSS, RPS); --force attaches it anyway"
        )


def _fed(group: Group, receiving: Collection[int]) -> Collection[int]:
    """The indexes that get what some CPUs receive now: all, if the hash chooses or may do so."""
    everybody = range(len(group.members))
    if group.spill is not None or group.program is None or not group.program.reads <= {"cpu"}:
        return everybody
    try:
        answers = {cbpf.evaluate(group.program, cbpf.Packet(cpu=cpu)) for cpu in receiving}
    except LocalityError:  # an instruction that is not evaluated
        return everybody
    return answers if answers <= {*everybody} else everybody


def _cpus(group: Group, indexes: Iterable[int]) -> frozenset[int]:
    """The CPUs of the workers of some sockets."""
    return frozenset[int]().union(*(group.members[index].cpus for index in indexes))
