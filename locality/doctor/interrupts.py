"""The interrupts of a network device, and the table of them in /proc/interrupts."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from locality.doctor.values import Value

# The last column of an interrupt without a name: how it is triggered, or its flow handler
# (show_interrupts, kernel/irq/proc.c).
_TRIGGER = re.compile(
    r"(\S+ +)*(\S*-)?(\d+[ -])?(edge|level|fasteoi|fasteoi_mask|simple|percpu|event|msi|virq|none)",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Interrupt:
    """One interrupt of a network device.

    Attributes:
        number: As in /proc/irq.
        name: What the driver calls it; empty if nobody has requested it.
        rx: The RX queues that it serves.
        tx: The TX queues that it serves.
        allowed: /proc/irq/N/smp_affinity_list, or None if it could not be read.
        effective: /proc/irq/N/effective_affinity_list, or None if it could not be read.
    """

    number: int
    name: str
    rx: tuple[int, ...]
    tx: tuple[int, ...]
    allowed: Value | None
    effective: Value | None

    @property
    def cpus(self) -> tuple[int, ...]:
        """Where it arrives from now on; empty if that is not known.

        The effective CPUs, unless they are not among the allowed ones: then it moves to those,
        but not before it comes the next time (irq_move_masked_irq, kernel/irq/migration.c).
        """
        allowed = self.allowed.cpu_list if self.allowed else ()
        effective = self.effective.cpu_list if self.effective and self.effective.text else ()
        return effective if effective and (not allowed or {*effective} <= {*allowed}) else allowed


def parse_interrupts(text: str) -> dict[int, str]:
    """The names in /proc/interrupts, by interrupt number (show_interrupts, kernel/irq/proc.c).

    A line has the number, a count for each CPU in the head line, the chip, how the interrupt
    is triggered, and after two spaces the names of those who share it, if anybody has
    requested it.
    """
    lines = text.splitlines()
    cpus = len(lines[0].split()) if lines else 0
    names: dict[int, str] = {}
    for line in lines[1:]:
        number, _, rest = line.partition(":")
        words = rest.split(maxsplit=cpus)
        if number.strip().isdecimal() and len(words) > cpus:
            last = words[cpus].rstrip().rpartition("  ")[2].strip()
            names[int(number)] = "" if _TRIGGER.fullmatch(last) else last
    return names


def shared_cpus(interrupts: Iterable[Interrupt]) -> dict[int, list[Interrupt]]:
    """The CPUs on which more than one of these interrupts arrives."""
    seen: dict[int, list[Interrupt]] = {}
    for interrupt in interrupts:
        if len(interrupt.cpus) == 1:
            seen.setdefault(interrupt.cpus[0], []).append(interrupt)
    return {cpu: sharing for cpu, sharing in seen.items() if len(sharing) > 1}
