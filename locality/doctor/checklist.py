"""Every check, in the order in which a packet meets what they look at."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from locality.doctor import check_groups, check_queues, check_stack, check_steering, check_xps
from locality.doctor.findings import Finding, Level
from locality.doctor.values import Unread

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from locality.changes.protocol import Change
    from locality.doctor.device import Device
    from locality.doctor.facts import Machine
    from locality.reuseport.survey import FoundGroup

_OF_A_DEVICE = (
    check_queues.queues,
    check_queues.indirection,
    check_queues.interrupts,
    check_queues.node,
    check_steering.rps,
    check_steering.threaded_veth,
    check_steering.rfs,
    check_xps.xps,
    check_stack.offloads,
)
_OF_THE_MACHINE = (
    check_queues.irqbalance,
    check_stack.deferred_freeing,
    check_stack.listen_queues,
)
_GROUPS, _DEVICES = "groups", "devices"
#: What findings are named by, for programs: the names of the checks.
CODES = (*(check.__name__ for check in (*_OF_A_DEVICE, *_OF_THE_MACHINE)), _GROUPS, _DEVICES)


@dataclass(frozen=True)
class Diagnosis:
    """What was found, and what could not be looked at."""

    findings: tuple[Finding, ...]
    unread: tuple[Unread, ...]

    @property
    def bad(self) -> tuple[Finding, ...]:
        """The findings worse than ok, worst first."""
        order = list(Level)
        worse = (finding for finding in self.findings if finding.level is not Level.OK)
        return tuple(sorted(worse, key=lambda finding: order.index(finding.level)))

    @property
    def changes(self) -> tuple[Change, ...]:
        """What `--fix` changes, each thing once."""
        return tuple(dict.fromkeys(change for one in self.bad for change in one.changes))


def diagnose(machine: Machine, groups: Iterable[FoundGroup] = ()) -> Diagnosis:
    """Go through the checklist.

    Args:
        machine: What was read of it.
        groups: Its reuseport groups; see `locality.reuseport.survey`. Only those of this network
            namespace: what is known of the devices does not hold for others.
    """
    answers = [*_answers(machine), *_coded(_GROUPS, check_groups.groups(machine, groups))]
    return Diagnosis(
        tuple(answer for answer in answers if isinstance(answer, Finding)),
        (*machine.unread, *(answer for answer in answers if isinstance(answer, Unread))),
    )


def _answers(machine: Machine) -> Iterator[Finding | Unread]:
    looked_at = [device for device in machine.devices if _worth_a_look(device, machine)]
    for device in looked_at:
        for check in _OF_A_DEVICE:
            yield from _coded(check.__name__, check(machine, device))
    if not any(device.real for device in looked_at):
        what = ", ".join(device.name for device in looked_at) or "none"
        no_card = Finding(Level.OK, "devices", f"no network card here, only: {what}")
        yield from _coded(_DEVICES, [no_card])
    for check_all in _OF_THE_MACHINE:
        yield from _coded(check_all.__name__, check_all(machine))


def _coded(code: str, answers: Iterable[Finding | Unread]) -> Iterator[Finding | Unread]:
    """The same, each finding with the name of its check."""
    for answer in answers:
        yield replace(answer, code=code) if isinstance(answer, Finding) else answer


def _worth_a_look(device: Device, machine: Machine) -> bool:
    """Devices that are up and whose settings count, or seem to; all if one was asked for."""
    if machine.asked is not None:
        return True
    seems_to_count = device.real or device.veth or device.takes_over or device.kind == "bridge"
    return (seems_to_count or len(machine.devices) == 1) and not device.down
