"""Trees made up of what a test says: one card, its queues and its interrupts."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def card(
    interrupts: Sequence[tuple[str, str]],
    *,
    rx: Sequence[str] = ("0",),
    tx: Sequence[str] = (),
    online: str = "0-3",
    link: Mapping[str, object] | None = None,
    msi: bool = True,
    files: Mapping[str, str] | None = None,
) -> str:
    """A machine with the card eth0.

    Args:
        interrupts: The name of each in /proc/interrupts and where it arrives; numbered from 50.
        rx: The RPS mask of each RX queue.
        tx: The XPS mask of each TX queue.
        online: The CPUs.
        link: More of what netlink and ethtool say of eth0.
        msi: Whether the interrupts are in device/msi_irqs.
        files: More files, by their paths.
    """
    cpus = 1 + int(online.rpartition("-")[2])
    table = ["      " + " ".join(f"CPU{cpu}" for cpu in range(cpus))]
    text = [f"= links\n{json.dumps({'eth0': {'index': 2, **(link or {})}})}"]
    for number, (name, cpu) in enumerate(interrupts, 50):
        counts = " ".join(["1"] * cpus)
        table.append(f" {number}: {counts}  PCI-MSI-0000:03:00.0  {number - 50}-edge      {name}")
        text.append(f"= proc/irq/{number}/smp_affinity_list\n{cpu}")
        text.append(f"= proc/irq/{number}/effective_affinity_list\n{cpu}")
        if msi:
            text.append(f"= sys/class/net/eth0/device/msi_irqs/{number}\nmsix")
    text.append("= proc/interrupts\n" + "\n".join(table))
    text.append(f"= sys/devices/system/cpu/online\n{online}")
    text.append("= sys/class/net/eth0/ifindex\n2")
    text.append("= sys/class/net/eth0/operstate\nup")
    text.append("= sys/class/net/eth0/device/modalias\npci:v00008086")
    for queue, mask in enumerate(rx):
        text.append(f"= sys/class/net/eth0/queues/rx-{queue}/rps_cpus\n{mask}")
        text.append(f"= sys/class/net/eth0/queues/rx-{queue}/rps_flow_cnt\n0")
    for queue, mask in enumerate(tx):
        text.append(f"= sys/class/net/eth0/queues/tx-{queue}/xps_cpus\n{mask}")
    text += [f"= {path}\n{content}" for path, content in (files or {}).items()]
    return "\n".join(text)
