"""The checklist on the running machine."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from locality.changes.kernel import FileChange
from locality.doctor.checklist import Diagnosis, diagnose
from locality.doctor.facts import read
from locality.errors import LocalityError
from locality.machine.ethtool import read_links
from locality.machine.namespaces import own_network_namespace
from locality.reuseport.survey import survey
from locality.steering.incoming_effect import as_this_kernel_selects

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from locality.changes.protocol import Change
    from locality.changes.system import KernelFiles
    from locality.doctor.facts import Machine
    from locality.reuseport.survey import FoundGroup


_TIMES = 3


def diagnosis_of_this_machine(device: str | None, ports: Collection[int]) -> Diagnosis:
    """Read this network namespace and go through the checklist.

    Args:
        device: Only this one; all that matter if None.
        ports: Only groups on these; all if empty.

    Raises:
        LocalityError: There is no such device, or the kernel refuses netlink.
    """
    machine, found = look_at_this_machine(device, ports)
    return diagnosis_of(machine, found)


def look_at_this_machine(
    device: str | None = None, ports: Collection[int] = ()
) -> tuple[Machine, list[FoundGroup]]:
    """What the checklist is about: this network namespace, and the groups of all.

    Args:
        device: Only this one; all that matter if None.
        ports: Only groups on these; all if empty.

    Raises:
        LocalityError: There is no such device, or the kernel refuses netlink.
    """
    return _read_machine(device), survey(ports=ports, alone=True).groups


def _read_machine(device: str | None) -> Machine:
    """Read it again where a device came or went meanwhile, as those of containers do.

    That looks like the /sys of another network namespace, which stays one.
    """
    for _ in range(_TIMES - 1):
        with suppress(LocalityError):
            return _read_once(device)
    return _read_once(device)


def _read_once(device: str | None) -> Machine:
    try:
        links = read_links()
    except OSError as error:
        raise LocalityError(f"netlink, to list the devices: {error.strerror}") from error
    return read(Path("/"), links, device)


def diagnosis_of(machine: Machine, found: Iterable[FoundGroup]) -> Diagnosis:
    """Go through the checklist with the groups of this network namespace."""
    here = own_network_namespace()
    ours = [one for one in found if one.netns == here]
    return diagnose(machine, as_this_kernel_selects(ours))


def without_effect(
    changes: Iterable[Change], failed: Collection[str], files: KernelFiles
) -> list[FileChange]:
    """Changes that the kernel accepted and that left the file as it was.

    Args:
        changes: The changes that were made.
        failed: What could not be changed: lines that begin with the change's command.
        files: The files of the kernel.
    """
    unchanged: list[FileChange] = []
    for change in changes:
        refused = any(line.startswith(f"{change.command}: ") for line in failed)
        if isinstance(change, FileChange) and not refused:
            with suppress(OSError, LocalityError):  # it is not known
                if files.read(change.path) == change.old:
                    unchanged.append(change)
    return unchanged
