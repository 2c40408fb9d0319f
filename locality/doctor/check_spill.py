"""Groups that spill (attach-cbpf --spill), and groups with a map that should."""

from __future__ import annotations

from typing import TYPE_CHECKING

from locality import cbpf
from locality.cbpf.describe import describe, option_for
from locality.doctor.findings import Finding, Level
from locality.machine.namespaces import first_network_namespace
from locality.machine.topology import format_cpu_list
from locality.spill.text import totals
from locality.steering.attachment import describe_present
from locality.steering.nearest import fitting_map
from locality.text import percent, share

if TYPE_CHECKING:
    from collections.abc import Collection

    from locality.doctor.values import Value
    from locality.reuseport.group import Group
    from locality.reuseport.survey import FoundGroup

OFTEN = 10.0
"""From this percentage of spilled connections on, the RX CPUs are unequal enough for a word."""
SEEN = 1000
"""Answers of the program, to say how often it spills."""
FULL, EMPTY = 0.5, 0.1
"""A queue is long from this part of its limit on, and short up to that one."""

NOT_APPLIED = "that command changes a group, after it has checked what this would do"
AFTER_WORKERS = (
    f'{NOT_APPLIED}. Do first what the finding "workers" says: the command refuses workers that '
    "may run on several CPUs"
)


def attach_command(one: FoundGroup) -> str:
    """The command that changes a group, to which options are added.

    It names the network namespace, unless that is the one of who works on this machine.
    """
    named = one.netns is not None and one.netns != first_network_namespace()
    return f"locality attach-cbpf --port {one.port}" + (f" --netns {one.netns}" * named)


def program(one: FoundGroup, cpus: Collection[int], read: tuple[Value, ...]) -> Finding:
    """Whether a program that spills has the right table, and how often it spills."""
    group, spill, name = one.group, one.group.spill, describe_present(one.group)
    subject = f"{one} choice"
    if spill is None or spill.table is None:
        raise ValueError("a group without a table")
    command = attach_command(one)
    usual = group.by_cpu
    wrong = [*cpus] if usual is None else elsewhere(group, usual, cpus)
    indexes = {inode: index for index, inode in enumerate(group.inodes)}
    outside = [indexes[inode] for inode in spill.outside]
    effects = []
    if wrong:
        effects.append(f"what CPUs {format_cpu_list(wrong)} receive goes to workers elsewhere")
    if outside:
        effects.append(f"only the hash selects index {format_cpu_list(outside)}")
    if effects:
        return Finding(
            Level.COSTS if wrong else Level.MAY,
            subject,
            f"with {name} {'; '.join(effects)}",
            "Its table is not that of the group's sockets and workers as they are now.",
            read,
            by_hand=(f"{command} --map auto --spill {spill.table.bound}",),
            by_hand_undo=(f"{command} --detach",),
            not_applied=NOT_APPLIED,
        )
    counted = spill.counted
    if counted is not None and counted.answers >= SEEN:
        spilled = share(sum(counted.spilled.values()), counted.answers) or 0.0
        if spilled >= OFTEN:
            return Finding(
                Level.MAY,
                subject,
                f"{name} spilled {percent(spilled)}: {totals(counted)}",
                "Some RX CPUs receive more than their workers can take. If packets were spread "
                "evenly (RSS, RPS), more would stay local.",
                read,
            )
    what = f"{name} chooses the worker on the RX CPU, and spares workers with long queues"
    return Finding(Level.OK, subject, what, read=read)


def hot_worker(one: FoundGroup, read: tuple[Value, ...]) -> Finding | None:
    """A worker with a long queue beside others with short ones, under a program by CPU."""
    group = one.group
    if one.protocol != "tcp" or group.program is None or group.program.reads != {"cpu"}:
        return None
    filled = {
        index: member.backlog / member.backlog_limit
        for index, member in enumerate(group.members)
        if member.backlog is not None and member.backlog_limit
    }
    hot = [index for index, part in filled.items() if part >= FULL]
    idle = [index for index, part in filled.items() if part <= EMPTY]
    if not hot or not idle:
        return None
    waiting = group.members[hot[0]]
    option = option_for(group.program)
    command = attach_command(one)
    return Finding(
        Level.COSTS,
        f"{one} choice",
        f"{waiting.backlog} of {waiting.backlog_limit} connections wait for index {hot[0]}, and "
        f"few or none for index {format_cpu_list(idle)}",
        f"{describe(group.program)} sends all that a CPU receives to one worker, however long its "
        "queue is.",
        read,
        by_hand=(f"{command} --map auto --spill auto",),
        by_hand_undo=(f"{command} {option}",) if option else (),
        not_applied=NOT_APPLIED,
    )


def elsewhere(group: Group, by_cpu: cbpf.Program, cpus: Collection[int]) -> list[int]:
    """The CPUs whose packets a program by CPU sends elsewhere although a worker runs on them."""
    answers = {cpu: cbpf.evaluate(by_cpu, cbpf.Packet(cpu=cpu)) for cpu in cpus}
    return [
        cpu
        for cpu in fitting_map(group, cpus)
        if answers[cpu] >= len(group.members) or cpu not in group.members[answers[cpu]].cpus
    ]
