"""Which interrupt serves which queue, by the names that drivers give them.

The kernel has no table of this before 6.8's netdev family, and few drivers fill that in.
A driver names the interrupt when it asks for it (request_irq), so the names below are
those found in drivers/net of the kernel.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from locality.doctor.values import Value

# Interrupts of a network device that carry no packets.
_NO_QUEUE = re.compile(
    r"async|config|control|mgmn?t|event|fdir|misc|ptp|mbx|aeq|adminq|cmd|pages|health|lsc|ntfy"
)
_LAST_NUMBER = re.compile(r"(\d+)\D*$")


@dataclass(frozen=True, slots=True)
class Interrupt:
    """One interrupt of a network device.

    Attributes:
        number: As in /proc/irq.
        name: What the driver calls it.
        rx: Serves an RX queue.
        tx: Serves a TX queue.
        queue: The queue it serves, or None.
        allowed: /proc/irq/N/smp_affinity_list, or None if it could not be read.
        effective: /proc/irq/N/effective_affinity_list, likewise.
    """

    number: int
    name: str
    rx: bool
    tx: bool
    queue: int | None
    allowed: Value | None
    effective: Value | None

    @property
    def cpus(self) -> tuple[int, ...]:
        """Where it arrives: the effective CPUs, else the allowed ones, else nothing known."""
        known = self.effective if self.effective and self.effective.text else self.allowed
        return known.cpu_list if known else ()


def parse_interrupts(text: str) -> dict[int, str]:
    """The names in /proc/interrupts, by interrupt number (show_interrupts, kernel/irq/proc.c).

    A line has the number, a count for each CPU in the head line, the chip, and after two
    spaces the names of those who share the interrupt.
    """
    lines = text.splitlines()
    cpus = len(lines[0].split()) if lines else 0
    names: dict[int, str] = {}
    for line in lines[1:]:
        number, _, rest = line.partition(":")
        words = rest.split(maxsplit=cpus)
        if number.strip().isdecimal() and len(words) > cpus:
            names[int(number)] = words[cpus].rstrip().rpartition("  ")[2]
    return names


def kind(name: str, device: str) -> tuple[bool, bool, int] | None:
    """What an interrupt's name says: whether it is for RX, for TX, and the driver's number.

    >>> kind("virtio2-input.1", "eth0"), kind("mlx5_comp3@pci:0000:3b:00.0", "eth0")
    ((True, False, 1), (True, True, 3))
    >>> kind("virtio2-config", "eth0"), kind("eth0", "eth0")
    (None, None)
    """
    own = re.sub(_of(device), "", name.partition("@")[0]).lower()
    number = _LAST_NUMBER.search(own)
    if number is None or _NO_QUEUE.search(own):
        return None
    rx, tx = ("rx" in own or "input" in own), ("tx" in own or "output" in own)
    return rx or not tx, tx or not rx, int(number[1])


def bears_name(name: str, device: str) -> bool:
    """Whether an interrupt is named after a device: ports of one card share their interrupts."""
    return re.search(_of(device), name) is not None


def _of(device: str) -> str:
    return rf"(?<![\w.]){re.escape(device)}(?![\w.])"


def by_queue(kinds: dict[int, tuple[bool, bool, int]], *, rx: bool, queues: int) -> dict[int, int]:
    """Interrupt to queue, for one direction.

    Drivers count from 0 or from 1, and some have more interrupts than queues: the order
    of their numbers is what they agree on. Fewer interrupts than queues are shared in a
    way that names do not tell: then none is assigned.
    """
    numbered = sorted(
        (number, irq) for irq, (is_rx, is_tx, number) in kinds.items() if (is_rx if rx else is_tx)
    )
    if len(numbered) < queues:
        return {}
    return {irq: queue for queue, (_, irq) in enumerate(numbered[:queues])}


def shared_cpus(interrupts: Iterable[Interrupt]) -> dict[int, list[Interrupt]]:
    """The CPUs on which more than one of these interrupts arrives."""
    seen: dict[int, list[Interrupt]] = {}
    for interrupt in interrupts:
        if len(interrupt.cpus) == 1:
            seen.setdefault(interrupt.cpus[0], []).append(interrupt)
    return {cpu: sharing for cpu, sharing in seen.items() if len(sharing) > 1}
