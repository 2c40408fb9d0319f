"""Source and actor in one: spread one flow over a port's sockets, and count what was done.

An XDP program (`probes/xdp_spread.bpf.c`) gives UDP datagrams to chosen ports a random source
port, so that the hash of a reuseport group sees many flows where there is one. It is there
from when a `SpreadSource` is made until it is closed, or this process ends in any way.

What it costs: the receiver no longer sees the true source port, and datagrams of one flow
are read by several sockets, in no order.
"""

from __future__ import annotations

import socket
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Self

import numpy as np

from locality.bpf import xdp
from locality.bpf.btf import check_layout
from locality.bpf.counters import Counters
from locality.bpf.ladder import Refusal
from locality.bpf.object import Object
from locality.bpf.source import Attaching
from locality.bpf.xdp import Mode
from locality.errors import LocalityError, Unsupported
from locality.machine import topology
from locality.machine.capabilities import held, missing_for_probes
from locality.text import printable

if TYPE_CHECKING:
    from collections.abc import Collection

    from locality.arrays import Array

#: `struct spread_counts`: one for each CPU, in packets.
COUNTS = np.dtype(
    [
        ("seen", "u8"),
        ("rewritten", "u8"),
        ("passed", "u8"),
        ("malformed", "u8"),
        ("reserved", "u8", (4,)),
    ]
)

#: The figures of `COUNTS`; seen is the sum of the others.
FIGURES = ("seen", "rewritten", "passed", "malformed")

#: The first of the source ports that datagrams get: from here to 65535, evenly.
FIRST_PORT = 1024

_PORTS = 65536


@dataclass(frozen=True)
class Spread:
    """What was done in one interval.

    Attributes:
        time: Its end, UTC, seconds since the epoch.
        seconds: Its length.
        counts: (CPUs,) of `COUNTS`: packets by the CPU the program ran on.
    """

    time: float
    seconds: float
    counts: Array

    @property
    def total(self) -> dict[str, int]:
        """The packets of all CPUs, by the names of `FIGURES`."""
        return {name: int(self.counts[name].sum()) for name in FIGURES}

    def __len__(self) -> int:
        """One interval, whatever is in it."""
        return 1

    def first(self, _count: int) -> Self:
        """An interval cannot be cut."""
        return self

    def __add__(self, later: Spread) -> Spread:
        """This interval and the one after it, as one."""
        counts = np.zeros_like(later.counts)
        for name in FIGURES:
            counts[name] = self.counts[name] + later.counts[name]
        return Spread(later.time, self.seconds + later.seconds, counts)


class Attachment(NamedTuple):
    """Where the program runs.

    Attributes:
        obj: Loaded.
        link: What keeps it there.
        mode: Native or generic.
        refused: The ways tried before.
    """

    obj: Object
    link: xdp.Link
    mode: Mode
    refused: tuple[Refusal, ...]


#: The ways, best first: the mode, the program, and what is said of it when it is refused.
WAYS = (
    (Mode.NATIVE, "locality_spread", "native"),
    (Mode.NATIVE, "locality_spread_buffers", "native, several buffers a packet"),
    (Mode.GENERIC, "locality_spread", "generic"),
)


def open_object(ports: Collection[int], program: str) -> Object:
    """The program for these destination ports, loaded; attached to nothing.

    Raises:
        Unsupported: The kernel refused it.
    """
    chosen = np.zeros(_PORTS, np.uint8)
    chosen[list(ports)] = 1
    obj = Object.open("xdp_spread", {"chosen_ports": np.packbits(chosen, bitorder="little")})
    try:
        check_layout(COUNTS, obj.btf.struct("spread_counts"), "spread_counts")
        obj.select([program])
        obj.resize("counts", topology.possible_cpus())
        obj.load()
    except BaseException:
        obj.close()
        raise
    return obj


class SpreadSource(Attaching):
    """The program on an interface of this network namespace, and its counts.

    Args:
        interface: Its name.
        ports: Destination ports to spread.
        period: Seconds between readings.
        mode: Only this one; None takes native where the driver allows it.

    Raises:
        LocalityError: There is no such interface, or a program is there already.
        Unsupported: No mode is allowed here; says what the kernel answered.
    """

    fd: int | None = None

    def __init__(
        self,
        interface: str,
        ports: Collection[int],
        period: float = 1.0,
        mode: Mode | None = None,
    ) -> None:
        self.period = period
        self.interface = interface
        with self.attaching() as stack:
            self.attachment = _attach_best(interface, ports, mode)
            stack.callback(self.attachment.obj.close)
            stack.callback(self.attachment.link.close)
            cpus = topology.possible_cpus()
            self._counters = Counters(self.attachment.obj, "counts", COUNTS, (cpus,))
            self._counted: Array = np.zeros(cpus, COUNTS)
            self._since = time.monotonic()

    def read(self) -> Spread:
        """The interval since the last reading; never waits.

        Raises:
            LocalityError: The program is no longer on the interface.
        """
        if not self.attachment.link.holds:
            raise LocalityError(
                f"{printable(self.interface)} spreads no longer: the interface has gone, or "
                "somebody detached the program (bpftool link detach)"
            )
        return self.count()

    def count(self) -> Spread:
        """The same, also when the program has gone."""
        counted, now = self._counters.read(), time.monotonic()
        counts = np.zeros_like(counted)
        for name in FIGURES:
            counts[name] = counted[name] - self._counted[name]
        seconds, self._counted, self._since = now - self._since, counted, now
        return Spread(time.time(), seconds, counts)


def _attach_best(interface: str, ports: Collection[int], only: Mode | None) -> Attachment:
    name = printable(interface)
    try:
        ifindex = socket.if_nametoindex(interface)
    except OSError:
        raise LocalityError(
            f"there is no interface {name!r} in this network namespace: ip link shows which are"
        ) from None
    if there := xdp.attached(ifindex):
        which = ", ".join(map(str, there))
        raise LocalityError(f"{name} has an XDP program already: {which}; it is left as it is")
    refused: list[Refusal] = []
    for mode, program, way in WAYS:
        if only not in {None, mode}:
            continue
        try:
            obj = open_object(ports, program)
            try:
                link = xdp.attach(obj, program, ifindex, mode)
            except BaseException:
                obj.close()
                raise
        except Unsupported as refusal:
            refused.append(Refusal(way, str(refusal), refusal.answer))
            continue
        return Attachment(obj, link, mode, tuple(refused))
    missing = missing_for_probes()
    if not held()["CAP_NET_ADMIN"]:
        missing.append("CAP_NET_ADMIN")
    if missing:
        raise Unsupported(f"this process has no {' and no '.join(missing)}: run it as root")
    reasons = "; ".join(f"{one.rung}: {one.reason}" for one in refused)
    raise Unsupported(f"nothing can be spread on {name}: {reasons}")
