"""RPS, RFS and XPS: what moves a packet to another CPU after, or before, the hardware.

Documentation/networking/scaling.rst; get_rps_cpu and netif_set_xps_queue of net/core/dev.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from locality.changes.kernel import FileChange
from locality.doctor import placement
from locality.doctor.facts import CORE
from locality.doctor.findings import Finding, Level
from locality.doctor.values import Unread
from locality.machine.topology import format_cpu_list, format_cpu_mask

if TYPE_CHECKING:
    from collections.abc import Iterator

    from locality.doctor.facts import Device, Machine
    from locality.doctor.values import Value

_FLOW_ENTRIES = f"{CORE}/rps_sock_flow_entries"


def rps(machine: Machine, device: Device) -> Iterator[Finding]:
    """Receive packet steering: needed with one queue, harmful with one for every CPU."""
    masks = [queue.rps_cpus for queue in device.rx if queue.rps_cpus is not None]
    if not masks or len(machine.online) == 1:
        return
    subject, read, cpus = f"{device.name} RPS", tuple(masks), format_cpu_list(device.rps_cpus)
    everywhere = FileChange(masks[0].source, masks[0].content, format_cpu_mask(machine.online))
    if not device.rps_cpus:
        if device.real and len(device.rx) > 1:
            yield Finding(Level.OK, subject, "off, the device spreads packets itself", read=read)
        else:
            yield _one_cpu_receives(device, read, everywhere)
    elif device.real and len(device.rx) >= len(machine.online):
        yield Finding(
            Level.COSTS,
            subject,
            f"moves packets to CPUs {cpus}, though every CPU has a queue",
            "The stack runs on another CPU than the one that allocated the packet.",
            read,
            tuple(FileChange(one.source, one.content, "0") for one in masks if one.cpu_mask),
        )
    elif device.veth and not masks[0].cpu_mask:
        yield Finding(
            Level.COSTS,
            subject,
            "set, but not on rx-0, the only queue that counts here",
            "veth records no RX queue, so all packets count as queue 0's.",
            read,
            (everywhere,),
        )
    else:
        yield Finding(Level.OK, subject, f"spreads packets over CPUs {cpus}", read=read)


def _one_cpu_receives(device: Device, read: tuple[Value, ...], fix: FileChange) -> Finding:
    if device.real:
        cpus = format_cpu_list(device.rx_cpus) or "one CPU"
        return Finding(
            Level.COSTS,
            f"{device.name} RPS",
            f"off, and there is one RX queue: all packets are processed on CPU {cpus}",
            "A worker on any other CPU is never local, and one CPU does the work of all.",
            read,
            (fix,),
        )
    advice = " Where all packets come from a card with a queue for each CPU, leave it off."
    return Finding(
        Level.MAY,
        f"{device.name} RPS",
        "off: the RX CPU is the sender's" + (", or that of the card before it" * device.veth),
        "A client on this machine brings its packets to its own CPU, not to the worker's."
        + advice * device.veth,
        read,
        (fix,),
    )


def threaded_veth(_machine: Machine, device: Device) -> Iterator[Finding]:
    """Threaded NAPI of a veth, which works only with GRO."""
    if device.veth and device.threaded and device.threaded.text != "0" and not device.link.gro:
        yield Finding(
            Level.MAY,
            f"{device.name} threads",
            "NAPI threads are on and GRO is off: the threads are idle",
            "Without GRO a veth does not poll: the sender's CPU does the receiving.",
            (device.threaded,),
            by_hand=(f"ethtool -K {device.name} gro on",),
            by_hand_undo=(f"ethtool -K {device.name} gro off",),
            not_applied="it also wants TSO off at the other end, which is not ours",
        )


def rfs(machine: Machine, device: Device) -> Iterator[Finding | Unread]:
    """Receive flow steering: a table for the machine and one for each queue, both or none."""
    counts = [queue.rps_flow_cnt for queue in device.rx if queue.rps_flow_cnt is not None]
    if not counts:
        return
    flows = sum(one.number for one in counts)
    entries = machine.sysctls.get("rps_sock_flow_entries")
    if entries is None:
        if flows:
            yield Unread(_FLOW_ENTRIES, "only the machine's first network namespace has it")
        return
    subject, read = f"{device.name} RFS", (entries, *counts)
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
    else:
        what = "on: the RX CPU follows the reader of a flow" if flows else "off"
        yield Finding(Level.OK, subject, what, read=read)


def xps(machine: Machine, device: Device) -> Iterator[Finding]:
    """Transmit packet steering: a CPU sends on the queue whose interrupt it serves."""
    if not device.real or len(device.xps) <= 1:
        return
    wanted = _xps_plan(machine, device)
    read, subject = device.xps, f"{device.name} XPS"
    pairs = list(zip(device.xps, wanted, strict=True))
    changes = tuple(
        FileChange(now.source, now.content, format_cpu_mask(cpus))
        for now, cpus in pairs
        if set(now.cpu_mask) != set(cpus)
    )
    homes = placement.settled(machine, device)
    astray = [
        queue
        for queue, (now, _) in enumerate(pairs)
        if queue < len(homes) and homes.index(homes[queue]) == queue
        if homes[queue] not in now.cpu_mask
    ]
    if not any(mask.cpu_mask for mask in device.xps):
        what = "off: a packet is sent on the queue that its hash falls on"
    elif astray:
        what = f"queues {format_cpu_list(astray)} are not used by the CPU of their RX queue"
    else:
        yield Finding(Level.OK, subject, "each CPU sends on the queue it serves", read=read)
        return
    yield Finding(
        Level.MAY,
        subject,
        what,
        "The packet's end of transmission is then handled on another CPU than its sender's.",
        read,
        changes,
    )


def _xps_plan(machine: Machine, device: Device) -> list[list[int]]:
    """The CPUs for each TX queue: the one of its RX queue; the others go round."""
    plan: list[list[int]] = [[] for _ in device.xps]
    homes = placement.settled(machine, device)[: len(plan)]
    for queue, cpu in enumerate(homes):
        if cpu not in homes[:queue]:
            plan[queue].append(cpu)
    for place, cpu in enumerate(cpu for cpu in machine.online if cpu not in homes):
        plan[place % len(plan)].append(cpu)
    return plan


def _power_of_two(number: int) -> int:
    """The next power of two, which is what the kernel rounds to."""
    return 1 << (number - 1).bit_length()
