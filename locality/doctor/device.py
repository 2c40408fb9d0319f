"""One network device: its queues, its interrupts, and the devices below it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from locality.doctor.interrupt_names import Assigned, assign, owner
from locality.doctor.interrupts import Interrupt

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from locality.doctor.values import Files, Value
    from locality.machine.ethtool import Link

NET = "/sys/class/net"

#: Kinds of devices that take over a packet which the device below has received already, after
#: RPS (rx_handler and vlan_do_receive in __netif_receive_skb_core). A bridge is none of them:
#: it hands packets for this host to netif_receive_skb, so that RPS counts once more.
_TAKES_OVER = {"vlan", "macvlan", "macvtap", "ipvlan", "ipvtap", "bond", "team", "vrf", "failover"}


@dataclass(frozen=True, slots=True)
class RxQueue:
    """One RX queue: the files that steer its packets."""

    rps_cpus: Value | None
    rps_flow_cnt: Value | None

    @property
    def mask(self) -> tuple[int, ...]:
        """The CPUs of its RPS mask, those that are offline too."""
        return self.rps_cpus.cpu_mask if self.rps_cpus else ()


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
        xps: xps_cpus of its TX queues, None where it could not be read; the kernel has it only
            where there are several.
        interrupts: All of its interrupts.
        told_by: What told which interrupt serves which queue.
        doubt: Why it is not known which interrupt serves which RX queue; empty if it is.
        kind: "veth", "bridge" and so on; empty for a real device and for loopback.
        lower: The devices directly below it, by name.
    """

    name: str
    link: Link
    real: bool
    state: Value | None
    node: Value | None
    threaded: Value | None
    rx: tuple[RxQueue, ...]
    xps: tuple[Value | None, ...]
    interrupts: tuple[Interrupt, ...]
    told_by: str = ""
    doubt: str = ""
    kind: str = ""
    lower: tuple[str, ...] = ()

    @property
    def veth(self) -> bool:
        """Whether it is one end of a veth pair."""
        return self.kind == "veth"

    @property
    def takes_over(self) -> bool:
        """Whether its packets have met the RPS of a device below it, and do not meet its own.

        A real device with one below it is the synthetic one of a virtual function
        (netvsc_vf_handle_frame, net_failover_handle_frame).
        """
        of_a_function = self.real and not self.kind and bool(self.lower)
        return self.kind in _TAKES_OVER or of_a_function

    @property
    def down(self) -> bool:
        """Whether it is known to be down."""
        return self.state is not None and self.state.text == "down"

    @property
    def rx_interrupts(self) -> tuple[Interrupt, ...]:
        """Those that serve an RX queue, in the order of the queues."""
        return tuple(sorted((one for one in self.interrupts if one.rx), key=lambda one: one.rx))

    def rx_interrupt(self, queue: int) -> Interrupt | None:
        """The interrupt of an RX queue, if it is known."""
        return next((one for one in self.interrupts if queue in one.rx), None)

    def tx_interrupt(self, queue: int) -> Interrupt | None:
        """The interrupt of a TX queue, if it is known."""
        return next((one for one in self.interrupts if queue in one.tx), None)

    @property
    def steered(self) -> tuple[RxQueue, ...]:
        """The RX queues whose RPS counts: a veth records no queue, so its first counts for all."""
        return () if self.takes_over else self.rx[:1] if self.veth else self.rx

    def processing(self, queue: int, online: Iterable[int]) -> frozenset[int]:
        """The CPUs that process what an RX queue receives; none where that is not known.

        RPS hands a packet to an online CPU of the mask; what its hash gives to an offline one
        stays on the interrupt's CPU (get_rps_cpu, net/core/dev.c).
        """
        mask = frozenset(self.steered[queue].mask)
        targets = mask.intersection(online)
        if targets and targets == mask:
            return targets
        interrupt = self.rx_interrupt(queue)
        arriving = frozenset(interrupt.cpus) if interrupt else frozenset()
        return targets | arriving if arriving else frozenset()

    def rx_cpus(self, online: Iterable[int]) -> tuple[int, ...]:
        """The CPUs that process its packets; none where that is not known of all queues."""
        each = [self.processing(queue, online) for queue in range(len(self.steered))]
        return tuple(sorted(frozenset().union(*each))) if all(each) else ()


def read_device(
    files: Files, name: str, links: Mapping[str, Link], names: Mapping[int, str]
) -> Device:
    """Read one device.

    Args:
        files: The files of its machine.
        name: The device.
        links: All devices of this network namespace.
        names: The names in /proc/interrupts, by number.
    """
    base, link = f"{NET}/{name}", links[name]
    queues = files.names(f"{base}/queues")
    # `queues` sorts rx-10 before rx-2.
    rx = [f"{base}/queues/rx-{n}" for n in range(sum(one.startswith("rx-") for one in queues))]
    tx = [f"{base}/queues/tx-{n}" for n in range(sum(one.startswith("tx-") for one in queues))]
    modalias = files.read(f"{base}/device/modalias")
    interrupts, told_by, doubt = _interrupts(files, name, links, names, (len(rx), len(tx)))
    xps = tuple(files.read(f"{queue}/xps_cpus") for queue in tx)
    kind = link.kind or _device_type(files, base)
    return Device(
        name,
        link,
        modalias is not None or bool(files.names(f"{base}/device")),
        files.read(f"{base}/operstate"),
        files.read(f"{_bus(files, name)}/numa_node"),
        files.read(f"{base}/threaded"),
        tuple(
            RxQueue(files.read(f"{queue}/rps_cpus"), files.read(f"{queue}/rps_flow_cnt"))
            for queue in rx
        ),
        xps if len(xps) > 1 or any(xps) else (),
        interrupts,
        told_by,
        doubt,
        kind,
        tuple(_lower(files, name, kind, links)),
    )


def _bus(files: Files, name: str) -> str:
    """The directory with a device's node and interrupts.

    A virtio device has neither: the PCI device that carries it has.
    """
    modalias = files.read(f"{NET}/{name}/device/modalias")
    virtio = modalias is not None and modalias.text.startswith("virtio:")
    return f"{NET}/{name}/device/.." if virtio else f"{NET}/{name}/device"


def _device_type(files: Files, base: str) -> str:
    """DEVTYPE of a device's uevent, which is the kind's name for bridge, bond, vlan and macvlan."""
    uevent = files.read(f"{base}/uevent")
    lines = uevent.content.splitlines() if uevent else []
    types = [line.removeprefix("DEVTYPE=") for line in lines if line.startswith("DEVTYPE=")]
    return types[0] if types else ""


def _lower(files: Files, name: str, kind: str, links: Mapping[str, Link]) -> Iterator[str]:
    """The devices directly below one: sysfs links to those of the same network namespace."""
    below = [
        one.removeprefix("lower_")
        for one in files.names(f"{NET}/{name}")
        if one.startswith("lower_")
    ]
    yield from below
    if below or kind not in _TAKES_OVER:
        return
    index = files.read(f"{NET}/{name}/iflink")
    if index is None or not index.text.isdecimal() or index.number == links[name].index:
        return
    here = [other for other, link in links.items() if link.index == index.number]
    yield here[0] if len(here) == 1 else f"device {index.number} of another network namespace"


def _interrupts(
    files: Files,
    name: str,
    links: Mapping[str, Link],
    names: Mapping[int, str],
    queues: tuple[int, int],
) -> tuple[tuple[Interrupt, ...], str, str]:
    """The interrupts of a device with so many RX and TX queues, what told them, and the doubt."""
    rx, tx = queues
    if msi := _msi_irqs(files, name):
        irqs, told_by = msi, "device/msi_irqs, and names in /proc/interrupts"
        sharing = [one for one in links if one == name or msi & _msi_irqs(files, one)]
    elif links[name].kind:  # a virtual device
        return (), "", ""
    else:  # not PCI, or without MSI
        irqs = {
            irq
            for irq, users in names.items()
            if any(owner(user, links) == name for user in users.split(", "))
        }
        told_by, sharing = "names in /proc/interrupts", list(links)
    link = links[name]
    told = assign({irq: names.get(irq, "") for irq in irqs}, name, sharing, rx=rx, tx=tx)
    rx_irqs, tx_irqs = _complete(link.rx_irqs, rx), _complete(link.tx_irqs, tx)
    if rx_irqs:
        told = Assigned(rx_irqs, tx_irqs or told.tx)
        irqs, told_by = irqs | rx_irqs.keys() | tx_irqs.keys(), "netdev family (netlink)"
    found = tuple(
        Interrupt(
            number,
            names.get(number, ""),
            tuple(told.rx.get(number, ())),
            tuple(told.tx.get(number, ())),
            files.read(f"/proc/irq/{number}/smp_affinity_list"),
            files.read(f"/proc/irq/{number}/effective_affinity_list"),
        )
        for number in sorted(irqs)
    )
    return found, told_by, told.doubt


def _msi_irqs(files: Files, name: str) -> set[int]:
    return {int(irq) for irq in files.names(f"{_bus(files, name)}/msi_irqs") if irq.isdecimal()}


def _complete(irqs: tuple[int | None, ...], queues: int) -> dict[int, tuple[int, ...]]:
    """Interrupt to queues, if the kernel tells the interrupt of every queue."""
    serving: dict[int, tuple[int, ...]] = {}
    if len(irqs) != queues:
        return {}
    for queue, irq in enumerate(irqs):
        if irq is None:
            return {}
        serving[irq] = (*serving.get(irq, ()), queue)
    return serving
