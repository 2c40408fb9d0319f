"""The program of a group, of whichever kind: a classic one, or one that spills with its table.

Who plans, compares and restores programs need not know which kind it is.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from locality import attach_cbpf
from locality.cbpf.describe import describe as describe_classic
from locality.errors import LocalityError
from locality.spill.table import Table
from locality.spill.text import describe as describe_spill

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from locality.cbpf import Program
    from locality.reuseport.group import Group


def present(group: Group) -> Program | Table | None:
    """The program that a group has; None without one, and where it is not known."""
    if group.spill is not None:
        return group.spill.table
    return group.program


def by_cpu(program: Program | Table, group: Group) -> Program | None:
    """The classic program that answers the same while queues are short."""
    return program.as_map(group.inodes) if isinstance(program, Table) else program


def describe(program: Program | Table, group: Group) -> str:
    """A program in a few words."""
    if isinstance(program, Table):
        return describe_spill(program, group.inodes)
    return describe_classic(program)


def describe_present(group: Group) -> str:
    """The program that a group has, in a few words; empty if it has none or that is not known."""
    if (program := present(group)) is not None:
        return describe(program, group)
    if group.ebpf is not None:
        return f"an {group.ebpf}"
    return "an eBPF program" if group.attached else ""


def foreign(group: Group) -> str:
    """Why the program of a group should stay, in words: it could not be put back.

    Empty if it could, or if the group has none.
    """
    if not group.is_foreign:
        return ""
    return f"the group has {describe_present(group)} of another owner, which could not be put back"


def require_ours(group: Group, done: str) -> None:
    """Check that the program of a group could be put back, before it is taken away.

    Args:
        group: The group.
        done: What --force does to the program, such as ``replaces``.

    Raises:
        LocalityError: It could not.
    """
    if why := foreign(group):
        raise LocalityError(f"{why}: --force {done} it all the same")


def has(group: Group, program: Program | Table) -> bool | None:
    """Whether a group has a program that it was given; None where that cannot be told.

    Of a table, as far as its sockets are still there and could be put into the program's map.
    """
    if group.attached is None:
        return None
    if group.spill is not None and isinstance(program, Table):
        table = group.spill.table
        if table is None or not table.cpus:
            return None
        gone = program.members - {*group.inodes}
        return table == program.without(gone | group.spill.outside)
    if group.is_opaque and group.ebpf is None:  # perhaps a classic one that could not be read
        return None
    return not group.is_opaque and present(group) == program


def another(group: Group, program: Program | Table | None) -> str:
    """The program that somebody else gave a group, in a few words.

    Args:
        group: As it is now.
        program: What it was given before that; None for none.

    Returns:
        Empty if the group still has that program, has none by now, or if that cannot be told.
    """
    if not group.attached or (program is not None and has(group, program) is not False):
        return ""
    return describe_present(group)


def left_attached(other: str) -> str:
    """That a program stays which somebody else gave a group, in words; see `another`."""
    return f"somebody else attached another program meanwhile ({other}), which stays attached"


def detaching(command: str, group: Group) -> str:
    """The line for a shell that detaches the program of a group.

    Args:
        command: `attach-cbpf` with the options that choose the group.
        group: As it is now.
    """
    return f"{command} --detach" + " --force" * group.is_foreign


def attach(
    pid: int, fd: int, program: Program | Table, among: Collection[int] = ()
) -> Mapping[int, str]:
    """Give the group of a socket a program; see `attach_cbpf.attach` and `spill.program.give`.

    Returns:
        The sockets that a program that spills cannot select, by inode, and why; the hash still can.
    """
    if isinstance(program, Table):
        from locality.spill.program import give  # noqa: PLC0415 - loads libbpf

        return give(pid, fd, program, among).left_out
    attach_cbpf.attach(pid, fd, program, among)
    _release(pid, fd, among)
    return {}


def detach(pid: int, fd: int, among: Collection[int] = ()) -> None:
    """Take the program of a socket's group away, whichever it has; see `attach_cbpf.detach`."""
    attach_cbpf.detach(pid, fd, among)
    _release(pid, fd, among)


def _release(pid: int, fd: int, among: Collection[int]) -> None:
    """Let another program that spills have the group's sockets at once."""
    if _may_have_maps():
        from locality.spill.program import release  # noqa: PLC0415 - loads libbpf

        release(pid, fd, among)


def forget_others(groups: Iterable[Group]) -> None:
    """Let the maps of programs go that are in none of these groups any more."""
    if _may_have_maps():
        from locality.spill import maps  # noqa: PLC0415 - loads libbpf

        needed = {group.spill.number for group in groups if group.spill is not None}
        maps.forget(*(maps.remembered() - needed))


def _may_have_maps() -> bool:
    """Whether this process may have maps open: a classic program is attached without libbpf."""
    return "locality.spill.maps" in sys.modules
