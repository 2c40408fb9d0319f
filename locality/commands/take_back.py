"""Give groups what they had before attach-cbpf, where --verify saw that it got worse.

What cannot be put back of one group keeps no other from it, and is said. Imports on use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from locality.errors import LocalityError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from locality.cbpf import Program
    from locality.reuseport.survey import FoundGroup
    from locality.reuseport.target import Target
    from locality.spill.table import Table

    Given = tuple[Target, Program | Table]
    """A group as it was before, and the program that it was given."""


class TakenBack(NamedTuple):
    """What became of one group.

    Attributes:
        line: In words.
        as_it_was: Whether it is known to be as it was before.
    """

    line: str
    as_it_was: bool


def take_back(given: Iterable[Given]) -> Iterator[TakenBack]:
    """Give each group the program that it had, if nobody else has given it one meanwhile."""
    for target, program in given:
        try:
            taken = _take_back(target, program)
        except LocalityError as error:
            taken = TakenBack(f"{target.address}: not taken back: {error}", as_it_was=False)
        yield taken


def _take_back(target: Target, given: Program | Table) -> TakenBack:
    """Give a group the program that it had, through whichever of its sockets can be reached.

    Raises:
        LocalityError: The group has gone, or the kernel refuses.
    """
    try:
        return _through(target, given, target.pid, target.fd, (target.inode,))
    except LocalityError:
        # The process may have ended, as in a reload, and others hold the group.
        group = _now(target)
        return _through(target, given, *group.holder, group.inodes)


def _now(target: Target) -> FoundGroup:
    """The group of a target as it is now; LocalityError if none of its sockets is left."""
    from locality.reuseport.survey import find

    port = int(target.address.rpartition(":")[2])
    were = {*target.group.inodes}
    for group in find(ports=(port,), served=False):
        if group.inodes & were:
            return group
    raise LocalityError("the group has gone: its server was stopped or restarted")


def _through(
    target: Target, given: Program | Table, pid: int, fd: int, among: Collection[int]
) -> TakenBack:
    """Give a group the program that it had; one that somebody else attached meanwhile stays.

    Args:
        target: What it was before.
        given: The program that it was given.
        pid: A process that holds one of its sockets.
        fd: The socket's number there.
        among: The sockets that it may be, by inode.

    Raises:
        LocalityError: The socket cannot be reached, or the kernel refuses.
    """
    from locality import attach_cbpf
    from locality.reuseport.group import read_sockets
    from locality.steering import attachment

    now = read_sockets(pid, fd, among)
    if other := attachment.another(now, given):
        by_hand = attachment.detaching(f"locality attach-cbpf --pid {pid} --fd {fd}", now)
        line = f"{target.address}: {attachment.left_attached(other)}; to detach it: {by_hand}"
        return TakenBack(line, as_it_was=False)
    group = target.group
    if group.is_opaque:
        line = f"{target.address}: had {group.ebpf}, which cannot be put back"
        return TakenBack(line, as_it_was=False)
    if (program := attachment.present(group)) is not None:
        left_out = attachment.attach(pid, fd, program, among)
        line = f"{target.address}: its earlier program is attached again"
        if left_out:
            line += f", but only the hash selects some sockets: {next(iter(left_out.values()))}"
        return TakenBack(line, as_it_was=not left_out)
    attachment.detach(pid, fd, among)
    line = attach_cbpf.detached_line(pid, fd)
    if group.attached is None:
        line += "; whether it had a program before is not known"
    return TakenBack(line, as_it_was=group.attached is not None)


def restore_incoming_cpus(groups: Iterable[FoundGroup]) -> Iterator[TakenBack]:
    """Give each socket the SO_INCOMING_CPU that it had; one that was closed needs nothing."""
    from locality.reuseport.descriptors import descriptors
    from locality.steering import incoming_cpu

    for group in groups:
        had = incoming_cpu.as_found(group)
        still_open = descriptors(group.inodes).holders
        left = [setting for setting in had if setting.inode in still_open]
        try:
            incoming_cpu.apply(left or had)
        except LocalityError as error:
            yield TakenBack(f"{group}: not taken back: {error}", as_it_was=False)
            continue
        known = all(member.known for member in group.group.members)
        more = "" if known else ", as far as that is known"
        yield TakenBack(f"{group}: SO_INCOMING_CPU is as it was{more}", as_it_was=known)
