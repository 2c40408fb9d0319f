"""The facts: what files and calls say of a machine's network devices, CPUs and settings.

Everything is read below a root, so a tree captured elsewhere is read as this machine is.
A fact that could not be read is None, and why is in `Machine.unread`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from locality.doctor.interrupts import Interrupt, bears_name, by_queue, kind, parse_interrupts
from locality.doctor.values import Files, Unread, Value
from locality.errors import LocalityError
from locality.machine.topology import parse_cpu_list

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from locality.machine.ethtool import Link

NET = "/sys/class/net"
CORE = "/proc/sys/net/core"
NODES = "/sys/devices/system/node"
SYSCTLS = ("rps_sock_flow_entries", "skb_defer_max", "somaxconn")
NETSTAT = "/proc/net/netstat"


@dataclass(frozen=True, slots=True)
class RxQueue:
    """One RX queue: the files that steer its packets."""

    rps_cpus: Value | None
    rps_flow_cnt: Value | None


@dataclass(frozen=True, slots=True)
class Device:
    """One network device.

    Attributes:
        name: Its name in this network namespace.
        link: What netlink and ethtool say of it.
        real: Whether it is hardware, or a hypervisor's idea of it.
        state: Its operstate file.
        node: Its numa_node file; -1 there is no node.
        threaded: Whether its NAPI runs in kernel threads.
        rx: Its RX queues.
        xps: xps_cpus of its TX queues; the kernel has it only where there are several.
        interrupts: All of its interrupts.
    """

    name: str
    link: Link
    real: bool
    state: Value | None
    node: Value | None
    threaded: Value | None
    rx: tuple[RxQueue, ...]
    xps: tuple[Value, ...]
    interrupts: tuple[Interrupt, ...]

    @property
    def veth(self) -> bool:
        """Whether it is one end of a veth pair."""
        return self.link.kind == "veth"

    @property
    def rx_interrupts(self) -> tuple[Interrupt, ...]:
        """Those that serve an RX queue, in the order of the queues."""
        serving = [one for one in self.interrupts if one.rx and one.queue is not None]
        return tuple(sorted(serving, key=lambda one: one.queue or 0))

    @property
    def rps_cpus(self) -> tuple[int, ...]:
        """The CPUs that RPS hands packets to, of all queues."""
        masks = [queue.rps_cpus.cpu_mask for queue in self.rx if queue.rps_cpus]
        return tuple(sorted({cpu for mask in masks for cpu in mask}))

    @property
    def rx_cpus(self) -> tuple[int, ...]:
        """The CPUs that process its packets, as far as they are known."""
        arriving = {cpu for one in self.rx_interrupts for cpu in one.cpus}
        return self.rps_cpus or tuple(sorted(arriving))


@dataclass(frozen=True, slots=True)
class Machine:
    """What was read of a machine.

    Attributes:
        online: Its CPUs, ascending.
        nodes: The CPUs of each NUMA node; empty where the kernel shows none.
        devices: The network devices of this namespace, by name.
        irqbalance: /proc/PID/comm of a running irqbalance.
        sysctls: Those of `SYSCTLS` that this network namespace shows, by name.
        counters: Counters of /proc/net/netstat, such as TcpExt's ListenOverflows.
        unread: What is there and could not be read.
    """

    online: tuple[int, ...]
    nodes: Mapping[int, tuple[int, ...]]
    devices: tuple[Device, ...]
    irqbalance: Value | None
    sysctls: Mapping[str, Value]
    counters: Mapping[str, Value]
    unread: tuple[Unread, ...]


def read(root: Path, links: Mapping[str, Link], only: str | None = None) -> Machine:
    """Read a machine.

    Args:
        root: The root directory, or a captured tree.
        links: Its devices as netlink shows them; see `ethtool.read_links`.
        only: Read this device alone.

    Raises:
        LocalityError: There is no such device, or sysfs is another namespace's.
    """
    files = Files(root)
    _same_namespace(files, links)
    if only is not None and only not in links:
        raise LocalityError(f"no network device {only!r} here: {', '.join(sorted(links))}")
    online = files.read("/sys/devices/system/cpu/online")
    if online is None:
        raise LocalityError("/sys/devices/system/cpu/online cannot be read: is /sys mounted?")
    interrupts = files.read("/proc/interrupts")
    names = parse_interrupts(interrupts.content) if interrupts else {}
    devices = tuple(
        _read_device(files, name, link, names)
        for name, link in sorted(links.items())
        if only in {None, name}
    )
    nodes = {
        int(node.removeprefix("node")): tuple(parse_cpu_list(cpus.content))
        for node in files.names(NODES)
        if re.fullmatch(r"node\d+", node) and (cpus := files.read(f"{NODES}/{node}/cpulist"))
    }
    sysctls = {name: files.read(f"{CORE}/{name}") for name in SYSCTLS}
    netstat = files.read(NETSTAT)
    return Machine(
        online.cpu_list,
        nodes,
        devices,
        _irqbalance(files),
        {name: value for name, value in sysctls.items() if value},
        parse_netstat(netstat) if netstat else {},
        (*files.unread, *(one for device in devices for one in device.link.unread)),
    )


def parse_netstat(netstat: Value) -> dict[str, Value]:
    """Counters of /proc/net/netstat by name: a line of names, then a line of numbers."""
    lines = netstat.content.splitlines()
    return {
        name: Value(netstat.source, f"{name} {number}")
        for names, numbers in zip(lines[::2], lines[1::2], strict=False)
        for name, number in zip(names.split()[1:], numbers.split()[1:], strict=False)
    }


def _same_namespace(files: Files, links: Mapping[str, Link]) -> None:
    """After `nsenter --net` or `unshare --net` /sys still shows the devices of before."""
    for name, link in links.items():
        index = files.read(f"{NET}/{name}/ifindex")
        if index is None or index.number != link.index:
            raise LocalityError(
                f"/sys shows the devices of another network namespace ({name} is not there, or "
                "another one): mount -t sysfs sysfs /sys, in a mount namespace of your own"
            )


def _read_device(files: Files, name: str, link: Link, names: dict[int, str]) -> Device:
    base = f"{NET}/{name}"
    queues = files.names(f"{base}/queues")
    # `queues` sorts rx-10 before rx-2.
    rx = [f"{base}/queues/rx-{n}" for n in range(sum(one.startswith("rx-") for one in queues))]
    tx = [f"{base}/queues/tx-{n}" for n in range(sum(one.startswith("tx-") for one in queues))]
    modalias = files.read(f"{base}/device/modalias")
    # A virtio device has neither a node nor interrupts: the PCI device that carries it has.
    virtio = modalias is not None and modalias.text.startswith("virtio:")
    bus = f"{base}/device/.." if virtio else f"{base}/device"
    irqs = [int(irq) for irq in files.names(f"{bus}/msi_irqs")]
    if not irqs:  # not PCI, or without MSI
        own = re.compile(rf"{re.escape(name)}(?:-.*)?")
        irqs = [n for n, users in names.items() if any(map(own.fullmatch, users.split(", ")))]
    xps = (files.read(f"{queue}/xps_cpus") for queue in tx)
    return Device(
        name,
        link,
        modalias is not None or bool(files.names(f"{base}/device")),
        files.read(f"{base}/operstate"),
        files.read(f"{bus}/numa_node"),
        files.read(f"{base}/threaded"),
        tuple(
            RxQueue(files.read(f"{queue}/rps_cpus"), files.read(f"{queue}/rps_flow_cnt"))
            for queue in rx
        ),
        tuple(mask for mask in xps if mask),
        _interrupts(files, {irq: names.get(irq, "") for irq in irqs}, name, len(rx)),
    )


def _interrupts(files: Files, names: dict[int, str], device: str, rx: int) -> tuple[Interrupt, ...]:
    """The interrupts of a device with so many RX queues."""
    own = {irq: name for irq, name in names.items() if bears_name(name, device)}
    kinds = {irq: told for irq, name in own.items() if (told := kind(name, device))}
    if not kinds:
        kinds = {irq: told for irq, name in names.items() if (told := kind(name, device))}
    if not kinds and rx == 1 and len(names) == 1:  # one for all that the device has to say
        kinds = dict.fromkeys(names, (True, True, 0))
    rx_queues = by_queue(kinds, rx=True, queues=rx)
    # TX queues of an interrupt of its own do not matter here beyond their order.
    tx_only = {irq: told for irq, told in kinds.items() if not told[0]}
    tx_queues = by_queue(tx_only, rx=False, queues=len(tx_only))
    return tuple(
        Interrupt(
            number,
            name,
            *kinds.get(number, (False, False, 0))[:2],
            rx_queues.get(number, tx_queues.get(number)),
            files.read(f"/proc/irq/{number}/smp_affinity_list"),
            files.read(f"/proc/irq/{number}/effective_affinity_list"),
        )
        for number, name in sorted(names.items())
    )


def _irqbalance(files: Files) -> Value | None:
    """The comm file of irqbalance, if it runs in a process that we can see."""
    for pid in filter(str.isdecimal, files.names("/proc")):
        comm = files.read(f"/proc/{pid}/comm")
        if comm and comm.text == "irqbalance":
            return comm
    return None
