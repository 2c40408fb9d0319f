"""Machines, groups and tables for the tests of what spills."""

from __future__ import annotations

import numpy as np

from locality.machine.topology import Distance, Topology
from locality.reuseport.evidence import Worker
from locality.reuseport.group import Group, Member
from locality.spill.table import Table, make

CPUS = 8
FIRST = 100  # the inode of index 0


def two_sockets_of_two_cores() -> Topology:
    """CPUs 0-3 and 4-7 on two sockets; 2n and 2n + 1 are threads of one core."""
    distances = np.full((CPUS + 1, CPUS + 1), Distance.REMOTE, np.uint8)
    for cpu in range(CPUS):
        for other in range(CPUS):
            if cpu // 4 == other // 4:
                distances[cpu, other] = Distance.LLC
            if cpu // 2 == other // 2:
                distances[cpu, other] = Distance.CORE
    np.fill_diagonal(distances, Distance.CPU)
    distances[CPUS, :] = distances[:, CPUS] = Distance.UNKNOWN
    return Topology(CPUS, tuple(range(CPUS)), distances)


MACHINE = two_sockets_of_two_cores()


def table(*workers: int, bound: int = 2, own: dict[int, int] | None = None) -> Table:
    """Socket FIRST + i is served on the i-th CPU named; own: index by CPU."""
    at = {FIRST + index: {cpu} for index, cpu in enumerate(workers)}
    if own is None:
        own = {cpu: index for index, cpu in enumerate(workers)}
    return make(bound, {cpu: FIRST + index for cpu, index in own.items()}, at, MACHINE)


def group(*workers: int, backlog: int = 0, limit: int = 511) -> Group:
    """A group whose worker i runs on the i-th CPU named."""
    members = (
        Member(
            FIRST + index,
            (Worker(10 + index, 10 + index, "nginx", frozenset({cpu})),),
            backlog=backlog,
            backlog_limit=limit,
        )
        for index, cpu in enumerate(workers)
    )
    return Group(tuple(members), True, False, None, "read from the kernel")
