"""Whether this kernel selects by SO_INCOMING_CPU: tried out on sockets of our own.

The option can be set everywhere and is ignored where it does nothing. It can also be that it
cannot be tried out here; that says nothing about the kernel, and nothing may be decided on it.
"""

from __future__ import annotations

import os
import select
import socket
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING

from locality.errors import Unsupported
from locality.machine.limits import raise_if_ours

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from locality.reuseport.survey import FoundGroup

CONNECTIONS = 8
"""Tries from each CPU: all right by chance once in 2^16."""
PATIENCE_S = 5.0


@dataclass(frozen=True)
class Effect:
    """What was found out about this kernel.

    Attributes:
        works: Whether it selects by SO_INCOMING_CPU; None where that is not known.
        why: Why it is not known; empty where it is.
    """

    works: bool | None
    why: str = ""


def effect() -> Effect:
    """Try on sockets of our own whether the kernel prefers by SO_INCOMING_CPU.

    Two listeners, each with a CPU; over loopback a SYN is processed where the client runs.

    Raises:
        OSError: This process may open no more files.
    """
    try:
        return Effect(chooses_by_cpu())
    except Unsupported as unknown:
        return Effect(None, str(unknown))
    except OSError as error:
        raise_if_ours(error.errno)
        return Effect(
            None,
            "connections to 127.0.0.1 in this network namespace, to test it: "
            f"{error.strerror or error}; is lo up (ip link set lo up)?",
        )


def require_effective() -> None:
    """Raise an error unless the kernel is known to prefer by SO_INCOMING_CPU; see `effect`.

    Raises:
        Unsupported: It does not, or that is not known here.
    """
    found = effect()
    if found.works is None:
        raise Unsupported(f"cannot test SO_INCOMING_CPU: {found.why}")
    if not found.works:
        raise Unsupported(
            "this kernel accepts SO_INCOMING_CPU but does not select by it (connections to two "
            "listeners of our own went to the wrong one): attach a program instead (--with cbpf)"
        )


def as_this_kernel_selects(found: list[FoundGroup]) -> list[FoundGroup]:
    """Groups as this kernel sees them; it is asked only if one of them depends on it.

    Where it ignores SO_INCOMING_CPU, no socket has it. Where that is not known, the groups that
    depend on it say so: `Group.incoming_doubt`.

    Raises:
        OSError: This process may open no more files.
    """
    if not any(map(_depends, found)):
        return found
    answer = effect()
    if answer.works:
        return found
    return [
        (_in_doubt(one, answer.why) if answer.works is None else _unheeded(one))
        if _depends(one)
        else one
        for one in found
    ]


def _depends(one: FoundGroup) -> bool:
    """Whether SO_INCOMING_CPU would choose in a group: an attached program is asked first."""
    members = one.group.members
    asked = any(member.incoming_cpu is not None for member in members)
    return asked and len(members) > 1 and one.group.attached is False


def _unheeded(one: FoundGroup) -> FoundGroup:
    members = tuple(replace(member, incoming_cpu=None) for member in one.group.members)
    return replace(one, group=replace(one.group, members=members))


def _in_doubt(one: FoundGroup, why: str) -> FoundGroup:
    return replace(one, group=replace(one.group, incoming_doubt=why))


@cache  # a kernel does not change its mind; what is raised is not kept
def chooses_by_cpu() -> bool:
    """Whether connections from each of two CPUs come to the listener that has it.

    Raises:
        Unsupported: It cannot be told.
        OSError: A system call failed, or nothing arrived in time.
    """
    allowed = sorted(os.sched_getaffinity(0))
    if len(allowed) < 2:  # noqa: PLR2004 - a choice takes two
        raise Unsupported("this process may run on one CPU only, and testing it takes two")
    cpus = allowed[:2]
    with (
        socket.create_server(("127.0.0.1", 0), reuse_port=True) as first,
        socket.create_server(first.getsockname(), reuse_port=True) as second,
    ):
        listeners = first, second
        for listener, cpu in zip(listeners, cpus, strict=True):
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_INCOMING_CPU, cpu)
            listener.setblocking(False)
        return all(
            _arrives(listeners, listener, cpu)
            for listener, cpu in zip(listeners, cpus, strict=True)
        )


def _arrives(group: Sequence[socket.socket], listener: socket.socket, cpu: int) -> bool:
    """Whether connections made on a CPU come to this listener of the group."""
    for _ in range(CONNECTIONS):
        with _running_on(cpu), socket.create_connection(listener.getsockname(), PATIENCE_S):
            # The client is done when it has sent its ACK, which may still be on its way.
            ready, _, _ = select.select(group, (), (), PATIENCE_S)
            if not ready:
                raise TimeoutError("no connection arrived in time")
            for reached in ready:
                with reached.accept()[0] as accepted:
                    rx_cpu = accepted.getsockopt(socket.SOL_SOCKET, socket.SO_INCOMING_CPU)
                if rx_cpu != cpu:  # as with RPS of lo: it chose by the CPU that processed it
                    raise Unsupported(
                        f"CPU {rx_cpu} processed packets to 127.0.0.1 that were sent on CPU {cpu}, "
                        "so they do not test it"
                    )
            if ready != [listener]:
                return False
    return True


@contextmanager
def _running_on(cpu: int) -> Iterator[None]:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {cpu})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
