"""The other way to steer: SO_INCOMING_CPU on each listener, instead of a program.

Among the sockets of a group that the hash could choose, the kernel prefers one whose
SO_INCOMING_CPU is the CPU that processes the packet (reuseport_select_sock_by_hash of
net/core/sock_reuseport.c, since Linux 6.2 and its stable releases: b261eda84ec1,
"soreuseport: Fix socket selection for SO_INCOMING_CPU"). A CPU without a socket of its
own is hashed. An attached program is asked first.

Whether this kernel does so is tried out: see `incoming_effect`.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from locality.errors import LocalityError
from locality.machine.topology import format_cpu_list
from locality.reuseport.borrow import borrowed_socket
from locality.reuseport.descriptors import descriptors
from locality.reuseport.servers import server_of
from locality.steering.plan import unknown, unpinned

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from locality.reuseport.descriptors import Holder
    from locality.reuseport.survey import FoundGroup

NOT_SET = -1


@dataclass(frozen=True)
class Setting:
    """SO_INCOMING_CPU for one socket.

    Attributes:
        index: In its group.
        inode: The socket.
        cpu: What to set; NOT_SET for none.
    """

    index: int
    inode: int
    cpu: int

    @property
    def is_set(self) -> bool:
        """Whether it is a CPU."""
        return self.cpu != NOT_SET


def settings_for(group: FoundGroup, cpus: Collection[int]) -> list[Setting]:
    """The CPU of each socket's worker.

    Args:
        group: Its workers are known.
        cpus: The online CPUs.

    Raises:
        LocalityError: It has a program, or a socket whose worker is not on one CPU.
    """
    if group.group.attached:
        raise LocalityError(
            f"{group}: the group has a program, which takes precedence: detach it first"
        )
    members = group.group.members
    if hidden := unknown(group.group):
        raise LocalityError(
            f"{group}: who serves index {format_cpu_list(hidden)} is not known, for no thread was "
            "seen to wait for it, to accept on it or to read from it"
        )
    if roaming := unpinned(group.group, cpus):
        raise LocalityError(
            f"{group}: the workers of {len(roaming)} of {len(members)} sockets may run on several "
            f"CPUs: pin them first ({server_of(members[roaming[0]].workers[0].pid).pins})"
        )
    settings = []
    for index, member in enumerate(members):
        if len(member.cpus) != 1:
            raise LocalityError(
                f"{group}: socket {member.inode} needs a worker on one CPU, its workers may run "
                f"on {len(member.cpus)}"
            )
        settings.append(Setting(index, member.inode, min(member.cpus)))
    return settings


def as_found(group: FoundGroup) -> list[Setting]:
    """What each socket had when the group was read."""
    return [
        Setting(
            index, member.inode, NOT_SET if member.incoming_cpu is None else member.incoming_cpu
        )
        for index, member in enumerate(group.group.members)
    ]


def clearing(group: FoundGroup) -> list[Setting]:
    """What takes SO_INCOMING_CPU away from each socket."""
    return [
        Setting(index, member.inode, NOT_SET) for index, member in enumerate(group.group.members)
    ]


def apply(settings: Collection[Setting]) -> list[Setting]:
    """Set the option on other processes' sockets: on all of them, or on none.

    Returns:
        What each socket had.

    Raises:
        LocalityError: A socket could not be reached, or the kernel refused. Those before it have
            again what they had, as far as that could be done.
    """
    holders = descriptors({setting.inode for setting in settings}).holders
    before: list[Setting] = []
    try:
        for setting in settings:
            had = _set(setting, holders.get(setting.inode, ()))
            before.append(had)  # one by one: those that are set when one fails
    except BaseException as stopped:  # Ctrl-C, too
        left = _put_back(before, holders)
        if left and isinstance(stopped, LocalityError):
            raise LocalityError(
                f"{stopped}; sockets {', '.join(map(str, left))} keep what was set"
            ) from None
        raise
    return before


def _set(setting: Setting, held: Sequence[Holder]) -> Setting:
    """Set the option on one socket; what it had."""
    if not held:
        raise LocalityError(
            f"socket {setting.inode}: closed, or it cannot be duplicated (pidfd_getfd): run as root"
        )
    pid, fd = held[0].tid, held[0].fd
    with borrowed_socket(pid, fd, (setting.inode,)) as borrowed:
        try:
            had = borrowed.getsockopt(socket.SOL_SOCKET, socket.SO_INCOMING_CPU)
            borrowed.setsockopt(socket.SOL_SOCKET, socket.SO_INCOMING_CPU, setting.cpu)
        except OSError as error:
            raise LocalityError(
                f"setsockopt({pid}:{fd}, SO_INCOMING_CPU, {setting.cpu}): {error.strerror}"
            ) from None
    return replace(setting, cpu=had)


def _put_back(before: Sequence[Setting], holders: Mapping[int, Sequence[Holder]]) -> list[int]:
    """Set again what sockets had; those that could not be reached any more."""
    left = []
    for setting in before:
        try:
            _set(setting, holders.get(setting.inode, ()))
        except LocalityError:
            left.append(setting.inode)
    return left
