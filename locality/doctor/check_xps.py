"""XPS: on which TX queue a CPU sends.

Documentation/networking/scaling.rst; netif_set_xps_queue and get_xps_queue of net/core/dev.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from locality.changes.kernel import FileChange
from locality.doctor import placement
from locality.doctor.findings import Finding, Level, numbered
from locality.doctor.values import Unread
from locality.machine.topology import format_cpu_mask

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from locality.doctor.device import Device
    from locality.doctor.facts import Machine
    from locality.doctor.values import Value


def xps(machine: Machine, device: Device) -> Iterator[Finding | Unread]:
    """Transmit packet steering: a CPU sends on the queue whose interrupt it serves."""
    if not device.real or len(device.xps) <= 1 or device.doubt:
        return
    read = tuple(mask for mask in device.xps if mask)
    if len(read) < len(device.xps):
        return  # `Machine.unread` has those; which CPUs a queue has is not known without its mask
    subject = f"{device.name} XPS"
    homes = [
        placement.home(machine, device, device.tx_interrupt(queue)) for queue in range(len(read))
    ]
    if None in homes:
        unknown = [queue for queue, home in enumerate(homes) if home is None]
        yield Unread(
            subject,
            f"where the interrupt of {numbered('TX queue', unknown)} arrives is not known, so no "
            "mask is changed",
        )
        return
    known = [home for home in homes if home is not None]
    masks = [set(mask.cpu_mask) for mask in read]
    # Where queues share a CPU, it is enough that it sends on one of them.
    astray = [
        known.index(cpu)
        for cpu in dict.fromkeys(known)
        if cpu not in machine.reserved
        if not any(cpu in masks[queue] for queue, home in enumerate(known) if home == cpu)
    ]
    foreign = [
        queue for queue, home in enumerate(known) if masks[queue].intersection(known) - {home}
    ]
    if not any(masks):
        what = "off: a packet is sent on the queue that its hash falls on"
    elif astray:
        what = f"not used by the CPU where its interrupt arrives: {numbered('queue', astray)}"
    elif foreign:
        what = f"used by CPUs that have a queue of their own: {numbered('queue', foreign)}"
    else:
        yield Finding(Level.OK, subject, "each CPU sends on the queue it serves", read=read)
        return
    yield Finding(
        Level.MAY,
        subject,
        what,
        "The packet's end of transmission is then handled on another CPU than its sender's.",
        read,
        tuple(_changes(machine, read, known, {*astray, *foreign})),
    )


def _changes(
    machine: Machine, read: Sequence[Value], homes: list[int], wrong: Collection[int]
) -> Iterator[FileChange]:
    """New masks for the queues that are wrong; the others keep theirs.

    A queue gets the CPU that its interrupt arrives on. CPUs that no queue arrives on go round,
    reserved ones only where somebody gave them a queue before.
    """
    masks = [set(mask.cpu_mask) for mask in read]
    kept = set[int]().union(*(masks[queue] for queue in range(len(masks)) if queue not in wrong))
    plan = {queue: masks[queue] & machine.reserved - set(homes) for queue in wrong}
    for queue in sorted(wrong):
        if homes[queue] not in kept:
            plan[queue].add(homes[queue])
            kept.add(homes[queue])
    others = [cpu for cpu in machine.housekeeping if cpu not in kept and cpu not in homes]
    for place, cpu in enumerate(others if wrong else ()):
        plan[sorted(wrong)[place % len(plan)]].add(cpu)
    for queue in sorted(wrong):
        if plan[queue] != masks[queue]:
            now = read[queue]
            yield FileChange(now.source, now.content, format_cpu_mask(plan[queue]))
