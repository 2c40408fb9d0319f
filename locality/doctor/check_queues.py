"""RX queues, the RSS table, interrupts, and the node they arrive on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from locality.changes.kernel import TableChange
from locality.doctor import placement
from locality.doctor.facts import NODES
from locality.doctor.findings import Finding, Level
from locality.doctor.interrupts import shared_cpus
from locality.doctor.values import Unread, Value
from locality.machine.topology import format_cpu_list

if TYPE_CHECKING:
    from collections.abc import Iterator

    from locality.doctor.facts import Device, Machine


def queues(machine: Machine, device: Device) -> Iterator[Finding]:
    """RX queues against CPUs."""
    if not device.real:
        return
    have, cpus = len(device.rx), len(machine.online)
    channels = device.link.channels
    most = (channels.max_combined or channels.max_rx) if channels else 0
    what = f"{have} RX queue{'s' * (have != 1)} for {cpus} CPUs"
    read: tuple[Value, ...] = (
        Value(f"/sys/class/net/{device.name}/queues", f"{have} rx"),
        Value("/sys/devices/system/cpu/online", format_cpu_list(machine.online)),
    )
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
        by_hand=(f"ethtool -L {device.name} {kind} {min(most, cpus)}",),
        by_hand_undo=(f"ethtool -L {device.name} {kind} {have}",),
        not_applied="it resets the device and makes its interrupts anew",
    )


def indirection(_machine: Machine, device: Device) -> Iterator[Finding]:
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
    within = counts[:reach]
    unused = [queue for queue, count in enumerate(within) if not count]
    if not unused and max(within) - min(within) <= 1:
        if reach == have:
            yield Finding(Level.OK, subject, f"even over {have} queues", read=read)
            return
        what = f"the card's RSS reaches {reach} of {have} queues"
        changes: tuple[TableChange, ...] = ()
    else:
        what = f"one queue gets {max(within)} of {len(table)} hash values, another {min(within)}"
        if unused:
            what = f"queues {format_cpu_list(unused)} get nothing"
        changes = (TableChange(device.name, table, reach),)
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
    serving = device.rx_interrupts
    if not device.real:
        return
    if len(serving) < len(device.rx):
        names = ", ".join(filter(None, (one.name for one in device.interrupts))) or "none seen"
        yield Unread(
            f"{device.name} interrupts",
            f"which one serves which of {len(device.rx)} RX queues is not told by their names: "
            f"{names}",
        )
        return
    subject = f"{device.name} interrupts"
    read = tuple(
        known for one in serving for known in (one.allowed, one.effective) if known is not None
    )
    cpus = format_cpu_list({cpu for one in serving for cpu in one.cpus})
    changes = placement.pinning(machine, device)
    if len(serving) > 1 and placement.crowded(machine, device):
        crowds = "; ".join(
            f"queues {format_cpu_list(one.queue or 0 for one in sharing)} on CPU {cpu}"
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
    else:
        each = "each RX queue on a CPU of its own" if len(serving) > 1 else "the RX queue"
        yield Finding(Level.OK, subject, f"{each}: {cpus}", read=read)


def node(machine: Machine, device: Device) -> Iterator[Finding]:
    """The NUMA node of the device against the CPUs that receive."""
    home = placement.home_node(machine, device)
    if home is None or device.node is None:
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
        f"the device is on node {home}; RX queues {format_cpu_list(away)} arrive on another",
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
        if interrupt.queue is not None
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
        not_applied="a service is yours to stop; or keep it off these interrupts with "
        "--banirq=" + " --banirq=".join(map(str, numbers)),
    )
