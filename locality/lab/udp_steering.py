"""Ways to choose the socket of a datagram."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from locality import cbpf
from locality.attach_cbpf import attach, detach
from locality.errors import LocalityError
from locality.lab.network import LINK
from locality.lab.udp_forwarder import CONTROL, PORT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from locality.cbpf import Program
    from locality.lab.namespaces import Namespace
    from locality.lab.udp_forwarder import Forwarder

STEERINGS = ("hash", "cpu", "random", "spread")


@contextmanager
def steering(name: str, server: Namespace, forwarder: Forwarder) -> Iterator[bool]:
    """Steer the forwarder's group for the time of the block.

    Args:
        name: hash (the kernel's), cpu (the worker on the RX CPU), random, spread (the hash,
            of source ports that an XDP program made random), or payload (keep-alives to index
            0, the rest at random to the others).
        server: Where the forwarder is.
        forwarder: Whose group.

    Yields:
        Whether an XDP program runs in the veth itself.

    Raises:
        LocalityError: It cannot be used here.
    """
    match name:
        case "hash":
            yield False
        case "spread":
            with spreading(server) as native:
                yield native
        case _:
            with attached(forwarder, program_of(name, forwarder)):
                yield False


def program_of(name: str, forwarder: Forwarder) -> Program:
    """The classic BPF program of a steering.

    Raises:
        LocalityError: It has none.
    """
    match name:
        case "cpu":
            # Workers that share a CPU: the first gets all of it.
            first = {cpu: index for index, cpu in reversed(list(enumerate(forwarder.cpus)))}
            return cbpf.table(first)
        case "random":
            return cbpf.random(len(forwarder.cpus))
        case "payload":
            return cbpf.payload(len(forwarder.cpus), cbpf.Control(0, CONTROL))
    raise LocalityError(f"no program steers by {name}")


@contextmanager
def attached(forwarder: Forwarder, program: Program) -> Iterator[None]:
    """The forwarder's group with a program."""
    fd = next(iter(forwarder.sockets()))
    attach(forwarder.pid, fd, program)
    try:
        yield
    finally:
        detach(forwarder.pid, fd)


@contextmanager
def spreading(server: Namespace) -> Iterator[bool]:
    """An XDP program that gives what the server receives random source ports.

    Yields:
        Whether it runs in the veth itself, not in the stack.

    Raises:
        LocalityError: This kernel takes none.
    """
    # To be had once: it loads libbpf and a probe.
    from locality.bpf.xdp import Mode  # noqa: PLC0415
    from locality.spread.source import SpreadSource  # noqa: PLC0415

    with server.joined():
        source = SpreadSource(LINK, [PORT])
    with source:
        yield source.attachment.mode is Mode.NATIVE
