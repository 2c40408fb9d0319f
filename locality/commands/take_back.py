"""Give groups what they had before attach-cbpf, where --verify saw that it got worse.

What cannot be put back of one group keeps no other from it, and is said. Imports on use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from locality.errors import LocalityError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from locality.reuseport.survey import FoundGroup
    from locality.reuseport.target import Target


class TakenBack(NamedTuple):
    """What became of one group.

    Attributes:
        line: In words.
        as_it_was: Whether it is known to be as it was before.
    """

    line: str
    as_it_was: bool


def take_back(targets: Iterable[Target]) -> Iterator[TakenBack]:
    """Give each group the program that it had."""
    for target in targets:
        try:
            yield _program_of(target)
        except LocalityError as error:
            yield TakenBack(f"{target.address}: not taken back: {error}", as_it_was=False)


def _program_of(target: Target) -> TakenBack:
    """Give a group the program that it had.

    Raises:
        LocalityError: Its socket cannot be reached, or the kernel refuses.
    """
    from locality import attach_cbpf
    from locality.steering import attachment

    group = target.group
    if group.is_opaque:
        line = f"{target.address}: had {group.ebpf}, which cannot be put back"
        return TakenBack(line, as_it_was=False)
    if (program := attachment.present(group)) is not None:
        left_out = attachment.attach(target.pid, target.fd, program, (target.inode,))
        line = f"{target.address}: its earlier program is attached again"
        if left_out:
            line += f", but only the hash selects some sockets: {next(iter(left_out.values()))}"
        return TakenBack(line, as_it_was=not left_out)
    attachment.detach(target.pid, target.fd, (target.inode,))
    line = attach_cbpf.detached_line(target.pid, target.fd)
    if group.attached is None:
        line += "; whether it had a program before is not known"
    return TakenBack(line, as_it_was=group.attached is not None)


def restore_incoming_cpus(groups: Iterable[FoundGroup]) -> Iterator[TakenBack]:
    """Give each socket the SO_INCOMING_CPU that it had."""
    from locality.steering import incoming_cpu

    for group in groups:
        try:
            incoming_cpu.apply(incoming_cpu.as_found(group))
        except LocalityError as error:
            yield TakenBack(f"{group}: not taken back: {error}", as_it_was=False)
            continue
        known = all(member.known for member in group.group.members)
        more = "" if known else ", as far as that is known"
        yield TakenBack(f"{group}: SO_INCOMING_CPU is as it was{more}", as_it_was=known)
