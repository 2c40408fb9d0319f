"""RPS and RFS: what moves a packet to another CPU after the hardware.

Documentation/networking/scaling.rst; get_rps_cpu of net/core/dev.c.
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from locality.changes.kernel import FileChange
from locality.doctor import placement
from locality.doctor.facts import CORE
from locality.doctor.findings import Finding, Level, numbered
from locality.doctor.values import Unread
from locality.machine.topology import format_cpu_mask

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from locality.doctor.device import Device
    from locality.doctor.facts import Machine
    from locality.doctor.values import Value

_FLOW_ENTRIES = f"{CORE}/rps_sock_flow_entries"


def rps(machine: Machine, device: Device) -> Iterator[Finding]:
    """Receive packet steering: needed with one queue, harmful with one for every CPU.

    Each queue has a mask of its own, and is judged by where its interrupt arrives. Where that
    is not known, `check_queues.interrupts` says so, and nothing follows from it here.
    """
    masks = tuple(queue.rps_cpus for queue in device.rx if queue.rps_cpus is not None)
    if not masks or len(machine.online) == 1:
        return
    if device.takes_over:
        yield from _not_its_own(machine, device, masks)
    elif device.kind == "bridge":
        yield from _of_a_bridge(machine, device, masks)
    elif not device.real:
        yield _of_a_virtual_device(machine, device, masks)
    elif _one_cpu_receives(device):
        yield _of_one_queue(machine, device, masks)
    else:
        yield from _of_several_queues(machine, device, masks)


def _not_its_own(machine: Machine, device: Device, masks: tuple[Value, ...]) -> Iterator[Finding]:
    """A device whose packets the device below has received already."""
    below = ", ".join(lowest(machine, device)) or "the device below it"
    counts = f"the RPS of {below} counts, and not its own"
    cpus = {cpu for mask in masks for cpu in mask.cpu_mask}
    if cpus:
        yield Finding(
            Level.MAY,
            f"{device.name} RPS",
            f"set ({numbered('CPU', cpus)}), and does nothing: {counts}",
            "The kernel chooses the CPU when the device below receives a packet, and not again.",
            masks,
        )
    elif machine.asked is not None:
        yield Finding(Level.OK, f"{device.name} RPS", f"off: {counts}", read=masks)


def _of_a_bridge(machine: Machine, device: Device, masks: tuple[Value, ...]) -> Iterator[Finding]:
    """A bridge receives what is for this host once more, after the port that received it."""
    ports = ", ".join(lowest(machine, device)) or "a port"
    subject = f"{device.name} RPS"
    if cpus := set(machine.online).intersection(cpu for mask in masks for cpu in mask.cpu_mask):
        what = f"moves packets for this host to {numbered('CPU', cpus)}, after the RPS of {ports}"
        yield Finding(Level.OK, subject, what, read=masks)
    elif machine.asked is not None:
        what = f"off: packets for this host stay on the CPU that the RPS of {ports} gave them"
        yield Finding(Level.OK, subject, what, read=masks)


def lowest(machine: Machine, device: Device) -> tuple[str, ...]:
    """The devices below that receive the packets: those whose RPS counts."""
    found: list[str] = []
    below = list(device.lower)
    while below:
        name = below.pop(0)
        lower = machine.device(name)
        if lower is not None and lower.takes_over and lower.lower:
            below += lower.lower
        elif name not in found:
            found.append(name)
    return tuple(found)


def _of_a_virtual_device(machine: Machine, device: Device, masks: tuple[Value, ...]) -> Finding:
    """One without interrupts: the sender's CPU receives, or that of the device before it."""
    counting = {cpu for queue in device.steered for cpu in queue.mask}.intersection(machine.online)
    elsewhere = {cpu for mask in masks for cpu in mask.cpu_mask}
    subject, everywhere = f"{device.name} RPS", _everywhere(masks[0], machine.housekeeping)
    if counting:
        return Finding(Level.OK, subject, _spreads(counting), read=masks)
    if device.veth and elsewhere.intersection(machine.online):
        return Finding(
            Level.COSTS,
            subject,
            "set, but not on rx-0, the only queue that counts here",
            "veth records no RX queue, so all packets count as queue 0's.",
            masks,
            everywhere,
        )
    state = f"set to {numbered('CPU', elsewhere)} alone, offline"
    advice = " Where all packets come from a card with a queue for each CPU, leave it off."
    return Finding(
        Level.MAY,
        subject,
        f"{state if elsewhere else 'off'}: the RX CPU is the sender's"
        + (", or that of the card before it" * device.veth),
        "A client on this machine brings its packets to its own CPU, not to the worker's."
        + advice * device.veth,
        masks,
        everywhere,
    )


def _one_cpu_receives(device: Device) -> bool:
    """Whether all packets arrive on one CPU: one queue, or one interrupt for all."""
    if device.doubt:
        # One queue, and no two interrupts of which one may not be the queue's.
        return len(device.rx) == 1 and sum(bool(one.name) for one in device.interrupts) <= 1
    return len(device.rx) == 1 or len(device.rx_interrupts) == 1


def _of_one_queue(machine: Machine, device: Device, masks: tuple[Value, ...]) -> Finding:
    """A card that brings everything to one CPU."""
    subject, arriving = f"{device.name} RPS", _arriving(device, 0)
    named = {cpu for mask in masks for cpu in mask.cpu_mask}
    cpus = named.intersection(machine.online)
    usable = placement.usable(machine, device)
    if cpus - arriving or (cpus and not arriving):
        if all(mask.cpu_mask for mask in masks):
            return Finding(Level.OK, subject, _spreads(cpus), read=masks)
        what = "set on some of the queues, which all arrive on one CPU"
        why = "What the others receive stays on that CPU."
        return Finding(Level.MAY, subject, what, why, masks)
    if len(usable) == 1 and arriving.issubset(usable):
        what = f"off: CPU {usable[0]} is the only one for it"
        return Finding(Level.OK, subject, what, read=masks)
    state = "off"
    if cpus:
        state = f"set to {numbered('CPU', cpus)}, where the packets arrive anyway"
    elif named:
        state = f"set to {numbered('CPU', named)} alone, offline"
    queues = "one RX queue" if len(device.rx) == 1 else "one interrupt for all RX queues"
    one_of = "one of " * (len(arriving) > 1)
    one_cpu = f"{one_of}{numbered('CPU', arriving)}" if arriving else "one CPU"
    return Finding(
        Level.COSTS,
        subject,
        f"{state}, and there is {queues}: all packets are processed on {one_cpu}",
        "A worker on any other CPU is never local, and one CPU does the work of all.",
        masks,
        tuple(change for mask in masks for change in _everywhere(mask, usable)),
    )


def _of_several_queues(
    machine: Machine, device: Device, masks: tuple[Value, ...]
) -> Iterator[Finding]:
    """A card that spreads packets itself: RPS adds CPUs that have no queue."""
    subject, online = f"{device.name} RPS", set(machine.online)
    moving, dead, idle = list[int](), list[int](), list[int]()
    for number, queue in enumerate(device.rx):
        targets = online.intersection(queue.mask)
        if not targets:
            (dead if queue.mask else idle).append(number)
        elif targets == _arriving(device, number):
            idle.append(number)
        else:
            moving.append(number)
    what = "off, the device spreads packets itself"
    if dead and not moving:
        what = f"set on {numbered('queue', dead)} to CPUs that are offline: it does nothing"
        yield Finding(Level.MAY, subject, what, "Packets stay where they arrive.", masks)
        return
    if not moving:
        if any(queue.mask for queue in device.rx):
            what = "names only the CPU where a queue arrives anyway: no packet is moved"
        yield Finding(Level.OK, subject, what, read=masks)
        return
    idle = sorted(idle + dead)
    targets = online.intersection(cpu for queue in moving for cpu in device.rx[queue].mask)
    cpus = numbered("CPU", targets)
    homes = placement.rx_homes(machine, device)
    if device.doubt and len(device.rx) >= len(placement.usable(machine, device)):
        return  # whether every CPU has a queue is what is not known
    if homes.issuperset(targets.union(placement.usable(machine, device))):
        yield Finding(
            Level.COSTS,
            subject,
            f"moves packets to {cpus}, though every CPU has a queue",
            "The stack runs on another CPU than the one that allocated the packet.",
            masks,
            tuple(
                FileChange(mask.source, mask.content, "0")
                for queue in moving
                if (mask := device.rx[queue].rps_cpus) is not None
            ),
        )
    elif idle:
        stay = {cpu for queue in idle for cpu in _arriving(device, queue)}
        where = numbered("CPU", stay) if stay else "the CPU of their interrupt"
        yield Finding(
            Level.MAY,
            subject,
            f"on for {numbered('queue', moving)} alone, to {cpus}; packets of "
            f"{numbered('queue', idle)} stay on {where}",
            "Each queue has a mask of its own: a script that sets the first one alone moves that "
            "queue's packets only.",
            masks,
        )
    else:
        yield Finding(Level.OK, subject, _spreads(targets), read=masks)


def _spreads(cpus: Iterable[int]) -> str:
    return f"spreads packets over {numbered('CPU', cpus)}"


def _arriving(device: Device, queue: int) -> set[int]:
    interrupt = device.rx_interrupt(queue)
    return set(interrupt.cpus) if interrupt else set()


def _everywhere(mask: Value, cpus: tuple[int, ...]) -> tuple[FileChange, ...]:
    return (FileChange(mask.source, mask.content, format_cpu_mask(cpus)),)


def threaded_veth(_machine: Machine, device: Device) -> Iterator[Finding]:
    """Threaded NAPI of a veth, which works only with GRO."""
    if device.veth and device.threaded and device.threaded.text != "0" and not device.link.gro:
        yield Finding(
            Level.MAY,
            f"{device.name} threads",
            "NAPI threads are on and GRO is off: the threads are idle",
            "Without GRO a veth does not poll: the sender's CPU does the receiving.",
            (device.threaded,),
            by_hand=(f"ethtool -K {shlex.quote(device.name)} gro on",),
            by_hand_undo=(f"ethtool -K {shlex.quote(device.name)} gro off",),
            not_applied="it also wants TSO off at the other end, which is not ours",
        )


def rfs(machine: Machine, device: Device) -> Iterator[Finding | Unread]:
    """Receive flow steering: a table for the machine and one for each queue, both or none."""
    queues = {
        number: queue.rps_flow_cnt
        for number, queue in enumerate(device.steered)
        if queue.rps_flow_cnt is not None
    }
    if not queues:
        return
    counts = tuple(queues.values())
    flows = sum(one.number for one in counts)
    entries = machine.sysctls.get("rps_sock_flow_entries")
    if entries is None:
        if flows:
            yield Unread(_FLOW_ENTRIES, "only the machine's first network namespace has it")
        return
    subject, read = f"{device.name} RFS", (entries, *counts)
    without = [number for number, one in queues.items() if not one.number]
    if flows and not entries.number:
        yield Finding(
            Level.MAY,
            subject,
            f"half on: the queues have {flows} flows, the machine has no table of sockets",
            "Without net.core.rps_sock_flow_entries RFS does nothing.",
            read,
            (FileChange(entries.source, entries.content, str(_power_of_two(flows))),),
        )
    elif entries.number and not flows:
        share = str(max(1, entries.number // len(counts)))
        yield Finding(
            Level.MAY,
            subject,
            f"half on: the machine has a table of {entries.number}, the queues have none",
            "Without rps_flow_cnt on the queues RFS does nothing for this device.",
            read,
            tuple(FileChange(one.source, one.content, share) for one in counts),
        )
    elif flows and without:
        share = str(max(one.number for one in counts))
        yield Finding(
            Level.MAY,
            subject,
            f"on for some queues alone: no table of flows for {numbered('queue', without)}",
            "Packets of a queue without rps_flow_cnt do not follow the reader of their flow.",
            read,
            tuple(FileChange(queues[one].source, queues[one].content, share) for one in without),
        )
    else:
        what = "on: the RX CPU follows the reader of a flow" if flows else "off"
        yield Finding(Level.OK, subject, what, read=read)


def _power_of_two(number: int) -> int:
    """The next power of two, which is what the kernel rounds to."""
    return 1 << (number - 1).bit_length()
