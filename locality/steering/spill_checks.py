"""Look before attaching a program that spills; `preflight` does it for classic programs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from locality.errors import LocalityError
from locality.machine.topology import format_cpu_list
from locality.spill.text import answer_lines, describe, order_lines, rule
from locality.steering import preflight
from locality.steering.attachment import describe_present
from locality.steering.preflight import Finding, Level

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from locality.reuseport.group import Group
    from locality.reuseport.target import Target
    from locality.spill.table import Table

_EXAMPLES = 4
"""So many indexes are shown with a long queue."""

UDP = (
    "--spill is for TCP: a program of a UDP group runs for each datagram, so to spill would "
    "scatter a flow over several sockets"
)


def decide(target: Target, table: Table, cpus: Collection[int]) -> list[Finding]:
    """What speaks against attaching; see `preflight.decide`."""
    if unfit := preflight.unfit_target(target):
        return [unfit]
    if target.kind != "tcp":
        return [Finding(Level.REFUSE, UDP)]
    if unseen := preflight.unseen_group(target):
        return [unseen]
    group = target.group
    warnings = [*preflight.unserved_sockets(group), *_useless_bound(group, table)]
    usual = table.as_map(group.inodes)
    if usual is not None:
        warnings += preflight.misplaced(group, usual, cpus)
    foreign = preflight.foreign_program(target)
    return [*foreign, *(Finding(Level.WARN, warning) for warning in warnings)]


def _useless_bound(group: Group, table: Table) -> Iterator[str]:
    """A bound that no queue can be above."""
    # The kernel drops a SYN where the queue is longer than its limit (sk_acceptq_is_full).
    full = [
        index
        for index, member in enumerate(group.members)
        if member.backlog_limit is not None and member.backlog_limit <= table.bound
    ]
    if full:
        yield (
            f"the accept queue of index {format_cpu_list(full)} has room for "
            f"{group.members[full[0]].backlog_limit}, so it overflows before more than "
            f"{table.bound} wait and nothing is spilled from it: choose a lower bound"
        )


def explain(target: Target, table: Table, cpus: Collection[int]) -> list[str]:
    """The lines that say what the program means for this target."""
    group = target.group
    lines = [*preflight.about_group(target)]
    if before := describe_present(group):
        lines.append(f"{describe(table, group.inodes)} replaces {before}")
    lines.append(rule(table))
    usual = table.as_map(group.inodes)
    if usual is not None:
        lines.append(preflight.where_local(group, usual, cpus) + ", while queues are short")
    return [*lines, *preflight.about_workers(group)]


def dry_run(
    target: Target, table: Table, cpus: Collection[int], queues: Sequence[int] | None
) -> list[str]:
    """The lines to show instead of attaching: each CPU's workers, and the answers.

    Args:
        target: Its group has the sockets of the table.
        table: What would be attached.
        cpus: The CPUs to tell.
        queues: How many connections wait for each index; None for those that wait now, and then
            for one more than the bound at some indexes in turn while the others are empty.

    Raises:
        LocalityError: There are more lengths than indexes, or fewer: exit status 2.
    """
    group = target.group
    inodes = group.inodes
    if queues is not None and len(queues) != len(inodes):
        raise LocalityError(
            f"--queues has {len(queues)} lengths, the group of {target.address} has "
            f"{len(inodes)} sockets: give one for each index",
            exit_code=2,
        )
    lines = [f"{describe(table, inodes)}: {rule(table)}", *order_lines(table, inodes, cpus)]
    for lengths in [queues] if queues is not None else _examples(group, table):
        lines += ["", *answer_lines(table, inodes, cpus, lengths)]
    return lines


def _examples(group: Group, table: Table) -> Iterator[Sequence[int]]:
    """The queues as they are, and with one that is too long at some CPUs' own workers in turn."""
    yield [member.backlog or 0 for member in group.members]
    own = frozenset(table.sockets[:, 0].tolist()) if table.cpus else frozenset()
    indexes = [index for index, inode in enumerate(group.inodes) if inode in own]
    for index in indexes[:_EXAMPLES]:
        yield [(table.bound + 1) * (other == index) for other in range(len(group.members))]
