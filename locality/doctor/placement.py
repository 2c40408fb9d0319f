"""Which CPU each RX queue of a device arrives on, or should."""

from __future__ import annotations

from typing import TYPE_CHECKING

from locality.changes.kernel import FileChange
from locality.doctor.interrupts import shared_cpus

if TYPE_CHECKING:
    from locality.doctor.facts import Device, Machine


def home_node(machine: Machine, device: Device) -> int | None:
    """The NUMA node of a device, if it has one of several."""
    if device.node is None or device.node.number < 0 or len(machine.nodes) < 2:  # noqa: PLR2004
        return None
    return device.node.number


def candidates(machine: Machine, device: Device) -> tuple[int, ...]:
    """The CPUs to put a device's queues on: its node's, if they are enough, else all."""
    node = home_node(machine, device)
    near = machine.nodes.get(node, ()) if node is not None else ()
    online = tuple(cpu for cpu in near if cpu in machine.online)
    return online if len(online) >= len(device.rx) else machine.online


def planned(machine: Machine, device: Device) -> tuple[int, ...]:
    """Queue i to CPU i: the plan, a CPU for each RX queue."""
    cpus = candidates(machine, device)
    return tuple(cpus[queue % len(cpus)] for queue in range(len(device.rx)))


def crowded(machine: Machine, device: Device) -> bool:
    """Whether queues share a CPU though there are CPUs without one."""
    arriving = {cpu for one in device.rx_interrupts for cpu in one.cpus}
    room = min(len(device.rx), len(machine.online))
    return bool(shared_cpus(device.rx_interrupts)) and len(arriving) < room


def unsettled(device: Device) -> bool:
    """Whether an interrupt may arrive on several CPUs, as far as can be told."""
    return any(len(one.cpus) != 1 for one in device.rx_interrupts)


def far(machine: Machine, device: Device) -> tuple[int, ...]:
    """The queues that arrive on another node than the device's, though its CPUs suffice."""
    node = home_node(machine, device)
    if node is None or len(candidates(machine, device)) == len(machine.online):
        return ()
    near = set(machine.nodes.get(node, ()))
    return tuple(
        one.queue
        for one in device.rx_interrupts
        if one.queue is not None and not near.issuperset(one.cpus)
    )


def settled(machine: Machine, device: Device) -> tuple[int, ...]:
    """The CPU of each RX queue once what is wrong has been fixed."""
    bad = crowded(machine, device) or unsettled(device) or far(machine, device)
    if bad or len(device.rx_interrupts) != len(device.rx):
        return planned(machine, device)
    return tuple(one.cpus[0] for one in device.rx_interrupts)


def pinning(machine: Machine, device: Device) -> tuple[FileChange, ...]:
    """The changes that put every interrupt of queue i on the CPU planned for it."""
    plan = planned(machine, device)
    return tuple(
        FileChange(one.allowed.source, one.allowed.content, str(plan[one.queue]))
        for one in device.interrupts
        if one.allowed and one.queue is not None and one.queue < len(plan)
        if one.allowed.cpu_list != (plan[one.queue],)
    )
