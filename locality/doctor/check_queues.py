"""RX queues, the RSS table, interrupts, and the node they arrive on."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from locality.changes.kernel import TableChange
from locality.doctor import placement
from locality.doctor.facts import NODES
from locality.doctor.findings import Finding, Level, numbered
from locality.doctor.interrupts import shared_cpus
from locality.doctor.values import Unread, Value
from locality.machine.topology import format_cpu_list
from locality.text import counted

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from locality.doctor.device import Device
    from locality.doctor.facts import Machine


def queues(machine: Machine, device: Device) -> Iterator[Finding]:
    """RX queues against CPUs."""
    if not device.real:
        return
    have, usable = len(device.rx), placement.usable(machine, device)
    cpus = len(usable)
    channels = device.link.channels
    most = (channels.max_combined or channels.max_rx) if channels else 0
    what = f"{counted(have, 'RX queue')} for {counted(cpus, 'CPU')}"
    read: tuple[Value, ...] = (
        Value(f"/sys/class/net/{device.name}/queues", f"{have} rx"),
        Value("/sys/devices/system/cpu/online", format_cpu_list(machine.online)),
    )
    if apart := machine.reserved.intersection(machine.online).difference(usable):
        what += f"; {_kept_free(machine, apart)}"
    if channels:
        read += (Value(f"ETHTOOL_GCHANNELS {device.name}", f"at most {most}"),)
    if channels is None or min(most, cpus) <= have:
        yield Finding(Level.OK, f"{device.name} queues", what, read=read)
        return
    kind = "combined" if channels.max_combined else "rx"
    yield Finding(
        Level.MAY,
        f"{device.name} queues",
        f"{what}; the device can have {most}",
        "Only the CPUs of the queues receive: a worker elsewhere never gets a local packet.",
        read,
        by_hand=(f"ethtool -L {shlex.quote(device.name)} {kind} {min(most, cpus)}",),
        by_hand_undo=(f"ethtool -L {shlex.quote(device.name)} {kind} {have}",),
        not_applied="it resets the device and creates its interrupts again",
    )


def indirection(machine: Machine, device: Device) -> Iterator[Finding | Unread]:
    """The RSS indirection table: every queue, and each as often."""
    table, have = device.link.indirection, len(device.rx)
    if table is None or have == 1:
        return
    subject, counts = f"{device.name} RSS table", [table.count(queue) for queue in range(have)]
    shares = " ".join(f"{queue}:{count}" for queue, count in enumerate(counts))
    read: tuple[Value, ...] = (Value(f"ETHTOOL_GRXFHINDIR {device.name}", shares),)
    reach = min(have, device.link.rss_queues or have)
    if device.link.rss_queues:
        read += (Value(f"ETHTOOL_GRXRINGS {device.name}", str(device.link.rss_queues)),)
    if device.doubt and machine.reserved and not all(counts[:reach]):
        yield Unread(subject, "whether the unused queues arrive on isolated CPUs is not known")
        return
    # A queue that arrives on a reserved CPU and gets nothing was taken out on purpose.
    left_out = [
        queue
        for queue in range(reach)
        if not counts[queue]
        if placement.home(machine, device, device.rx_interrupt(queue)) in machine.reserved
    ]
    judged = [queue for queue in range(reach) if queue not in left_out]
    within = [counts[queue] for queue in judged]
    unused = [queue for queue in judged if not counts[queue]]
    if not unused and max(within) - min(within) <= 1:
        if reach == have:
            what = f"even over {len(judged)} queues"
            if left_out:
                what += f"; {numbered('queue', left_out)} get nothing, on CPUs that are kept free"
            yield Finding(Level.OK, subject, what, read=read)
            return
        what = f"the card's RSS reaches {reach} of {have} queues"
        changes: tuple[TableChange, ...] = ()
    else:
        what = f"one queue gets {max(within)} of {len(table)} hash values, another {min(within)}"
        if unused:
            what = f"{numbered('queue', unused)} get{'s' * (len(unused) == 1)} nothing"
        # ethtool and the kernel's default know no other even table than that of the first queues.
        first = judged == list(range(len(judged)))
        changes = (TableChange(device.name, table, len(judged)),) if first else ()
    yield Finding(
        Level.COSTS if unused else Level.MAY,
        subject,
        what,
        "The worker on the CPU of an unused queue never gets a local packet, the one on a "
        "favoured queue's CPU gets more connections than the others.",
        read,
        changes,
    )


def interrupts(machine: Machine, device: Device) -> Iterator[Finding | Unread]:
    """Where the interrupt of each RX queue arrives."""
    serving, subject = device.rx_interrupts, f"{device.name} interrupts"
    if not device.real:
        return
    if device.doubt:
        yield Unread(
            subject,
            f"which one serves which of {len(device.rx)} RX queues is not known, so neither they "
            f"nor XPS and RPS are changed: {device.doubt}",
        )
        return
    told = ", ".join(f"rx-{format_cpu_list(one.rx)}: {one.number}" for one in serving)
    read = (
        Value(device.told_by, told),
        *(known for one in serving for known in (one.allowed, one.effective) if known is not None),
    )
    cpus = format_cpu_list({cpu for one in serving for cpu in one.cpus})
    changes = placement.pinning(machine, device)
    if len(serving) > 1 and placement.crowded(machine, device):
        crowds = "; ".join(
            f"{numbered('queue', (queue for one in sharing for queue in one.rx))} on CPU {cpu}"
            for cpu, sharing in sorted(shared_cpus(serving).items())
        )
        yield Finding(
            Level.COSTS,
            subject,
            f"RX queues share CPUs while others have none: {crowds}",
            "A CPU without a queue receives nothing, so its worker is never local; the "
            "crowded CPU does the work of several.",
            read,
            changes,
        )
    elif len(serving) > 1 and placement.unsettled(device):
        yield Finding(
            Level.MAY,
            subject,
            f"each RX queue may arrive on several of the CPUs {cpus}",
            "When an interrupt moves to another CPU, its connections leave their worker's.",
            read,
            changes,
        )
    elif len(serving) == 1 and len(device.rx) > 1 and len(machine.housekeeping) > 1:
        yield Finding(
            Level.COSTS,
            subject,
            f"{len(device.rx)} RX queues have one interrupt: all packets arrive on CPU {cpus}",
            "The queues cannot be put on CPUs of their own: the card, or the hypervisor, gives "
            "the driver too few vectors (QEMU: vectors=).",
            read,
        )
    else:
        yield Finding(Level.OK, subject, _in_order(machine, device, cpus), read=read)


def _in_order(machine: Machine, device: Device, cpus: str) -> str:
    serving = device.rx_interrupts
    if len(serving) == 1:
        return f"the RX queue: {cpus}"
    shared = shared_cpus(serving)
    if not shared:
        return f"each RX queue on a CPU of its own: {cpus}"
    most = max(map(len, shared.values()))
    apart = machine.reserved.intersection(machine.online)
    if apart and not any(apart.intersection(one.cpus) for one in serving):
        return (
            f"{len(device.rx)} RX queues, kept on the housekeeping CPUs {cpus}, up to {most} on "
            f"one; "
            f"{_kept_free(machine, apart)}"
        )
    return f"{len(device.rx)} RX queues on CPUs {cpus}, up to {most} on one"


def _kept_free(machine: Machine, cpus: Collection[int]) -> str:
    """Why nothing is moved to these CPUs."""
    isolated, outside = machine.isolated.intersection(cpus), machine.outside.intersection(cpus)
    reasons = [
        f"{numbered('CPU', those)} {'is' if len(those) == 1 else 'are'} {why}"
        for those, why in ((isolated, "isolated"), (outside - isolated, "outside the cpuset"))
        if those
    ]
    return ", ".join(reasons)


def node(machine: Machine, device: Device) -> Iterator[Finding]:
    """The NUMA node of the device against the CPUs that receive."""
    home = placement.home_node(machine, device)
    if device.node is None:
        return
    if home is None:
        if machine.nodes.get(device.node.number) == ():
            what = f"the device is on node {device.node.number}, which has no CPUs"
            yield Finding(Level.OK, f"{device.name} node", what, read=(device.node,))
        return
    away = placement.far(machine, device)
    near = format_cpu_list(machine.nodes.get(home, ()))
    read = (device.node, Value(f"{NODES}/node{home}/cpulist", near))
    if not away:
        yield Finding(Level.OK, f"{device.name} node", f"the device is on node {home}", read=read)
        return
    yield Finding(
        Level.MAY,
        f"{device.name} node",
        f"the device is on node {home}; {numbered('RX queue', away)} arrive on another",
        "Descriptors and packets cross the link between the nodes before a CPU sees them.",
        read,
        placement.pinning(machine, device),
    )


def irqbalance(machine: Machine) -> Iterator[Finding]:
    """Whether irqbalance will move what was pinned."""
    numbers = [
        interrupt.number
        for device in machine.devices
        if device.real
        for interrupt in device.interrupts
        if interrupt.rx or interrupt.tx
    ]
    if machine.irqbalance is None:
        if numbers:
            yield Finding(Level.OK, "irqbalance", "not seen: interrupts stay where they are")
        return
    yield Finding(
        Level.MAY,
        "irqbalance",
        "it runs, and moves interrupts as the load changes",
        "A moved interrupt takes its connections off their worker's CPU; what is pinned here "
        "lasts until its next round, ten seconds later.",
        (machine.irqbalance,),
        by_hand=("systemctl stop irqbalance",),
        by_hand_undo=("systemctl start irqbalance",),
        not_applied="a service is yours to stop"
        + "; or keep it off these interrupts with" * bool(numbers)
        + "".join(f" --banirq={number}" for number in numbers),
    )
