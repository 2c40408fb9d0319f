"""Which packets to count, and what that takes; decided in the kernel (probes/skb_sides.h)."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from locality.errors import LocalityError, Unsupported
from locality.filter import Wanted
from locality.text import printable

if TYPE_CHECKING:
    from locality.bpf.engine import Kernel
    from locality.bpf.ladder import Rung


@dataclass(frozen=True)
class Device:
    """A network device.

    Attributes:
        name: ``eth0``.
        index: Its number in its network namespace.
        netns: The inode of that namespace.
    """

    name: str
    index: int
    netns: int


def device(name: str) -> Device:
    """A network device of our own network namespace.

    Raises:
        LocalityError: There is none of this name.
    """
    try:
        index = socket.if_nametoindex(name)
    except (OSError, ValueError):
        raise LocalityError(
            f"there is no network device {printable(name)!r} in this network namespace: 'ip link' "
            "shows them, and 'ip netns exec' or nsenter enters another namespace"
        ) from None
    return Device(name, index, Path("/proc/thread-self/ns/net").stat().st_ino)


@dataclass(frozen=True)
class SkbFilter(Wanted):
    """Which packets to count; a packet must fit all that is given.

    Ports are local ones of TCP and UDP. A thread is the one that reads what was received, or that
    read from the packet's socket or sent by it last.

    Attributes:
        device: That received the packet, or sends it.
        family: 4 or 6, the IP version of the packets.
    """

    device: Device | None = None
    family: int | None = None

    @property
    def selects(self) -> bool:
        """Whether there is a choice at all."""
        return self != SkbFilter()

    def rodata(self) -> dict[str, Any]:
        """The probe's constants.

        Raises:
            LocalityError: More pids or ports than the probe has room for.
        """
        return super().rodata() | {
            "only_family": self.family or 0,
            "only_ifindex": self.device.index if self.device else 0,
            "only_ifindex_netns": self.device.netns if self.device else 0,
        }

    def __str__(self) -> str:
        parts = self.words()
        if self.device is not None:
            parts.append(f"device {self.device.name}")
        if self.family is not None:
            parts.append(f"IPv{self.family}")
        return ", ".join(parts) or "everything"


#: Tells whose a packet is before a function frees it: probes/skb_told.h.
_TOLD = ("told_segment", "told_copied", "told_dropped")
#: Learns whose a socket is, beside those that see a read: programs and their tracepoints.
_OWNERS = {
    "owner_sends": "sock_send_length",
    "owner_gone": "tcp_destroy_sock",
}


def choosing(rung: Rung, wanted: SkbFilter, *, flush_is_seen: bool) -> Rung:
    """A rung with the programs that tell which packets are wanted.

    Args:
        rung: One of `locality.skb.source.RUNGS`.
        wanted: It chooses some.
        flush_is_seen: Whether the probe knows the flush of a deferred list when it sees one.
    """

    def programs(kernel: Kernel) -> tuple[str, ...]:
        chosen = [*rung.programs(kernel)]
        if rung.name != "raw-tracepoint":
            chosen += _TOLD
            if not any(name.endswith("_flush") for name in chosen):
                chosen.append("told_consumed")
            if kernel.has_function("skb_attempt_defer_free") and not flush_is_seen:
                raise Unsupported(
                    "this kernel does not show where it frees what another CPU has consumed, so "
                    "it cannot be told which packets that are"
                )
        if wanted.names_tasks:
            chosen += [
                program
                for program, tracepoint in _OWNERS.items()
                if kernel.tracepoint_arguments(tracepoint) is not None
            ]
        return tuple(chosen)

    return rung._replace(programs=programs)
