"""A guest's network card with several queues: each RX queue interrupts a CPU of its own."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from locality.errors import LocalityError
from locality.lab.network import SERVER_ADDRESS
from locality.machine.topology import format_cpu_mask

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from locality.lab.namespaces import Namespace

DRIVER = Path("/sys/bus/virtio/drivers/virtio_net")
INTERRUPTS = Path("/proc/interrupts")


def qemu_card(tap: str, queues: int) -> tuple[str, ...]:
    """The options for QEMU that make the card, on a tap that has as many queues.

    The card hashes the flows itself (rss): else the tap puts a flow into the queue from which
    the guest last sent for it, and that depends on the program under test.
    """
    return (
        *("-netdev", f"tap,id=card,ifname={tap},script=no,downscript=no,queues={queues}"),
        # An interrupt for each RX and TX queue, one for the control queue, one for the rest.
        *("-device", f"virtio-net-pci,netdev=card,mq=on,rss=on,vectors={2 * queues + 2}"),
    )


@dataclass(frozen=True)
class Card:
    """The card, up and with the server's address.

    Attributes:
        link: Its name.
        interrupts: Of each RX queue, its number in /proc/interrupts.
    """

    link: str
    interrupts: tuple[int, ...]

    def interrupted(self) -> tuple[tuple[int, ...], ...]:
        """How often each RX queue has interrupted each CPU so far: [queue][CPU]."""
        table = interrupt_table(INTERRUPTS.read_text())
        counts = dict(table.values())
        return tuple(counts[number] for number in self.interrupts)


def set_up(server: Namespace, cpus: Sequence[int]) -> Card:
    """Bring the card up: the interrupts of queue i on `cpus[i]`, which also sends on queue i.

    Raises:
        LocalityError: There is no such card, or it has fewer queues.
    """
    # Not in the lab's environment, which does not say where start.sh has the modules.
    subprocess.run(["modprobe", "virtio_net"], check=True)
    if shutil.which("udevadm") is not None:
        # It may give the card another name, and then it does so any moment now.
        server.run("udevadm", "settle")
    found = list(DRIVER.glob("virtio*/net/*"))
    if len(found) != 1:
        raise LocalityError(f"{DRIVER}: one network card is needed, there are {len(found)}")
    link, device = found[0].name, found[0].parents[1].name
    server.run("ip", "address", "add", f"{SERVER_ADDRESS}/24", "dev", link)
    server.run("ip", "link", "set", link, "up")
    # An even spread. It is the default too, but there are pairs of QEMU and driver with which
    # no packet arrives until it was set once.
    server.run("ethtool", "-X", link, "equal", str(len(cpus)))
    table = interrupt_table(INTERRUPTS.read_text())
    names = [f"{device}-input.{queue}" for queue in range(len(cpus))]
    if missing := [name for name in names if name not in table]:
        raise LocalityError(f"{link} has no interrupt {missing[0]} in {INTERRUPTS}")
    card = Card(link, tuple(table[name][0] for name in names))
    for queue, cpu in enumerate(cpus):
        server.write(f"/proc/irq/{card.interrupts[queue]}/smp_affinity_list", str(cpu))
        server.write(f"/sys/class/net/{link}/queues/tx-{queue}/xps_cpus", format_cpu_mask([cpu]))
    return card


def interrupt_table(text: str) -> Mapping[str, tuple[int, tuple[int, ...]]]:
    """Read /proc/interrupts: name of each device's interrupt to its number and count by CPU."""
    head, *lines = text.splitlines()
    cpus = len(head.split())
    table = {}
    for line in lines:
        number, _, rest = line.partition(":")
        words = rest.split()
        if number.strip().isdigit():  # the others are no device's
            table[words[-1]] = (int(number), tuple(map(int, words[:cpus])))
    return table
