"""Settings of the stack: full listen queues, deferred freeing, offloads."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from locality.changes.kernel import FileChange
from locality.doctor.findings import Finding, Level
from locality.doctor.values import Value

if TYPE_CHECKING:
    from collections.abc import Iterator

    from locality.doctor.device import Device
    from locality.doctor.facts import Machine

#: What net.core.skb_defer_max was when it came, in 5.19.
_DEFER_MAX = 64
#: What net.core.somaxconn has been since 5.4.
_SOMAXCONN = 4096


def listen_queues(machine: Machine) -> Iterator[Finding]:
    """Connections that found the queue of their listening socket full."""
    overflows, drops = (machine.counters.get(name) for name in ("ListenOverflows", "ListenDrops"))
    if overflows is None or drops is None:
        return
    read, number = (overflows, drops), int(overflows.content.split()[1])
    if not number:
        yield Finding(Level.OK, "listen queues", "none has overflowed", read=read)
        return
    now = machine.sysctls.get("somaxconn")
    low = now is not None and now.number < _SOMAXCONN
    yield Finding(
        Level.MAY,
        "listen queues",
        f"{number} times one was full, since this network namespace began",
        "A program gives each CPU's connections to one worker, whose queue must take the whole "
        "burst; what does not fit is dropped and comes again later.",
        read,
        by_hand=(f"sysctl -w net.core.somaxconn={_SOMAXCONN}",) if low else (),
        by_hand_undo=(f"sysctl -w net.core.somaxconn={now.text}",) if low and now else (),
        not_applied="the server must also ask for more (nginx: listen ... backlog=4096)",
    )


def deferred_freeing(machine: Machine) -> Iterator[Finding]:
    """net.core.skb_defer_max: whether packets go back to their alloc CPU to be freed."""
    limit = machine.sysctls.get("skb_defer_max")
    if limit is None:  # before 5.19, or not in this network namespace
        return
    if limit.number:
        what = f"up to {limit.number} packets wait for their alloc CPU to free them"
        yield Finding(Level.OK, "skb_defer_max", what, read=(limit,))
        return
    yield Finding(
        Level.COSTS,
        "skb_defer_max",
        "0: every packet is freed by the CPU that read it",
        "Its memory goes to that CPU's caches, and the alloc CPU takes new memory each time.",
        (limit,),
        (FileChange(limit.source, limit.content, str(_DEFER_MAX)),),
    )


def offloads(_machine: Machine, device: Device) -> Iterator[Finding]:
    """GRO and TSO: without them one large packet is many small ones."""
    if not device.real:
        return
    off = [name for name, on in (("gro", device.link.gro), ("tso", device.link.tso)) if on is False]
    read = tuple(
        Value(f"ETHTOOL_G{name.upper()} {device.name}", "on" if on else "off")
        for name, on in (("gro", device.link.gro), ("tso", device.link.tso))
        if on is not None
    )
    if not read:
        return
    if not off:
        yield Finding(Level.OK, f"{device.name} offloads", "GRO and TSO are on", read=read)
        return
    command = f"ethtool -K {shlex.quote(device.name)}"
    yield Finding(
        Level.MAY,
        f"{device.name} offloads",
        f"{' and '.join(off).upper()} off",
        "Each segment is then a packet of its own: whatever crosses CPUs does so many times.",
        read,
        by_hand=(f"{command} {' '.join(f'{name} on' for name in off)}",),
        by_hand_undo=(f"{command} {' '.join(f'{name} off' for name in off)}",),
        not_applied="there are reasons to switch them off (routing, capturing, a driver's bug)",
    )
