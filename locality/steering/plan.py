"""What program a group shall have: a plan looks at a group and answers with its program.

A plan can be asked again when the group has changed: `follow` does so every second.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from locality import cbpf
from locality.errors import LocalityError
from locality.reuseport.group import Group
from locality.steering.nearest import nearest_map

if TYPE_CHECKING:
    from collections.abc import Collection

    from locality.cbpf import Program
    from locality.machine.topology import Topology

Plan = Callable[[Group], cbpf.Program]
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


@dataclass(frozen=True)
class AutoMap:
    """A table from RX CPU to the nearest worker, made from where the workers really are.

    Attributes:
        machine: Its CPUs.
        receiving: The CPUs that process packets. The other online CPUs get their nearest
            worker too, so that a packet there is not hashed, but no say in who gets what.
        force: Go on where workers may run on every CPU.
    """

    machine: Topology
    receiving: frozenset[int]
    force: bool = False

    def __call__(self, group: Group) -> Program:
        """The table for this group.

        Raises:
            LocalityError: The group's order or its workers could not be read, or its
                workers are not pinned.
        """
        if not group.order_known:
            raise LocalityError(f"no map can be made: the group's order is not known ({group.how})")
        workers = [member.cpus for member in group.members]
        if not any(workers):
            raise LocalityError("no map can be made: nobody was seen waiting for these sockets")
        roaming = unpinned(group, self.machine.online)
        if roaming and not self.force:
            raise LocalityError(
                f"the workers of {len(roaming)} of {len(workers)} sockets may run on every CPU, so "
                "no map makes them local: pin them first (nginx: worker_cpu_affinity auto); "
                "--force goes on"
            )
        others = set(self.machine.online) - self.receiving
        return cbpf.table(
            nearest_map(workers, others, self.machine)
            | nearest_map(workers, self.receiving, self.machine)
        )


def unpinned(group: Group, cpus: Collection[int]) -> list[int]:
    """The indexes whose worker may run on every one of several CPUs."""
    if len(cpus) < 2:  # noqa: PLR2004 - on one CPU everybody is at home
        return []
    return [index for index, one in enumerate(group.members) if one.cpus.issuperset(cpus)]
