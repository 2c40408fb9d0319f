"""Which CPU each RX queue of a device arrives on, or should."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from locality.changes.kernel import FileChange
from locality.doctor.interrupts import shared_cpus

if TYPE_CHECKING:
    from locality.doctor.device import Device
    from locality.doctor.facts import Machine
    from locality.doctor.interrupts import Interrupt


def home_node(machine: Machine, device: Device) -> int | None:
    """The NUMA node of a device, if it has one of several that have CPUs.

    A node without CPUs is one of memory alone: which CPUs are near it is not known.
    """
    with_cpus = [node for node, cpus in machine.nodes.items() if set(cpus) & set(machine.online)]
    if device.node is None or len(with_cpus) < 2:  # noqa: PLR2004
        return None
    return device.node.number if device.node.number in with_cpus else None


def usable(machine: Machine, device: Device) -> tuple[int, ...]:
    """The CPUs that a device's queues may be put on.

    Those that are not reserved, and the reserved ones to which somebody sent one of its
    interrupts on purpose: a mask of every CPU is what the kernel starts with.
    """
    online = set(machine.online)
    chosen = {
        cpu
        for one in device.rx_interrupts
        if one.allowed and not online <= set(one.allowed.cpu_list)
        for cpu in one.allowed.cpu_list
    }
    return tuple(sorted(online.intersection({*machine.housekeeping, *chosen})))


def candidates(machine: Machine, device: Device) -> tuple[int, ...]:
    """The CPUs to put a device's queues on: its node's, if they are enough, else all."""
    cpus = usable(machine, device)
    node = home_node(machine, device)
    near = machine.nodes.get(node, ()) if node is not None else ()
    close = tuple(cpu for cpu in near if cpu in cpus)
    return close if len(close) >= len(device.rx) else cpus


def planned(machine: Machine, device: Device) -> dict[int, int]:
    """The CPU for each interrupt that serves an RX queue, by interrupt number.

    Those that arrive on a CPU with no more than its share stay there; each of the others gets
    the CPU with the fewest, the lowest of them.
    """
    cpus = candidates(machine, device)
    each, one_more = divmod(len(device.rx_interrupts), len(cpus))
    plan: dict[int, int] = {}
    load = Counter(dict.fromkeys(cpus, 0))
    for one in device.rx_interrupts:
        if len(one.cpus) != 1 or one.cpus[0] not in load:
            continue
        taken = load[one.cpus[0]]
        if taken < each or (taken == each and one_more):
            one_more -= taken == each
            plan[one.number] = one.cpus[0]
            load[one.cpus[0]] += 1
    for one in device.rx_interrupts:
        if one.number not in plan:
            cpu = min(cpus, key=lambda cpu: (load[cpu], cpu))
            plan[one.number] = cpu
            load[cpu] += 1
    return plan


def crowded(machine: Machine, device: Device) -> bool:
    """Whether interrupts share a CPU though there are CPUs without one."""
    arriving = {cpu for one in device.rx_interrupts for cpu in one.cpus}
    room = min(len(device.rx_interrupts), len(usable(machine, device)))
    return bool(shared_cpus(device.rx_interrupts)) and len(arriving) < room


def unsettled(device: Device) -> bool:
    """Whether an interrupt may arrive on several CPUs, as far as can be told."""
    return any(len(one.cpus) != 1 for one in device.rx_interrupts)


def far(machine: Machine, device: Device) -> tuple[int, ...]:
    """The queues that arrive on another node than the device's, though its CPUs suffice."""
    node = home_node(machine, device)
    cpus = set(candidates(machine, device))
    if node is None or device.doubt or not cpus <= set(machine.nodes[node]):
        return ()
    near = set(machine.nodes[node])
    away = (one for one in device.rx_interrupts if not near.issuperset(one.cpus))
    return tuple(sorted(queue for one in away for queue in one.rx))


def home(machine: Machine, device: Device, interrupt: Interrupt | None) -> int | None:
    """The CPU on which an interrupt arrives once what is wrong has been fixed, if it is known."""
    if interrupt is None:
        return None
    if crowded(machine, device) or unsettled(device) or far(machine, device):
        plan = _with_tx(device, planned(machine, device))
        if interrupt.number in plan:
            return plan[interrupt.number]
    return interrupt.cpus[0] if len(interrupt.cpus) == 1 else None


def rx_homes(machine: Machine, device: Device) -> frozenset[int]:
    """The CPUs on which RX queues arrive once what is wrong has been fixed; none in doubt."""
    found = [home(machine, device, device.rx_interrupt(queue)) for queue in range(len(device.rx))]
    known = frozenset(cpu for cpu in found if cpu is not None)
    return known if None not in found else frozenset()


def pinning(machine: Machine, device: Device) -> tuple[FileChange, ...]:
    """The changes that put every interrupt on the CPU planned for it."""
    plan = _with_tx(device, planned(machine, device))
    return tuple(
        FileChange(one.allowed.source, one.allowed.content, str(plan[one.number]))
        for one in device.interrupts
        if one.allowed and one.number in plan
        if one.allowed.cpu_list != (plan[one.number],)
    )


def _with_tx(device: Device, plan: dict[int, int]) -> dict[int, int]:
    """The same with the interrupts of TX queues alone: each goes with its number's RX queue."""
    serving = {queue: plan[one.number] for one in device.rx_interrupts for queue in one.rx}
    following = {
        one.number: serving[queue]
        for one in device.interrupts
        for queue in one.tx[:1]
        if not one.rx and queue in serving
    }
    return {**plan, **following}
