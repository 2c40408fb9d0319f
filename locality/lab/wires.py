"""The wires that the lab can lay between server and client, and what each of them can show."""

from __future__ import annotations

import os
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from locality.errors import LocalityError
from locality.lab.namespaces import POLL_S, START_S
from locality.lab.napi_threads import receive_by_threads
from locality.lab.network import LINK, join_by_veth, receive_on, set_addresses
from locality.lab.programs import failure

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from locality.lab.namespaces import Namespace, Process

WIRES = {
    "tap": "two taps with a queue for each CPU: queue i is received on CPU i",
    "veth-rps": "a veth: RPS spreads what the server receives over the CPUs",
    "veth-napi": "a veth: a NAPI thread on each CPU receives what one queue gets",
    "veth": "a veth: the server receives on the CPU that the client sends on",
}
"""The name of each wire, and how it spreads packets over CPUs."""
VETH_LIMIT = "a veth cannot show where packets are local: the sender's CPU allocates them"
"""What every veth hides: a card's packets are allocated on the CPU that receives them."""

TUN = Path("/dev/net/tun")
PROGRAM = Path(__file__).with_name("tap_wire")
"""Compiled from tap_wire.c when the package is built."""
READY = "ready\n"


@dataclass(frozen=True)
class Wire:
    """A wire that connects server and client."""

    name: str
    process: Process | None = None
    """The program that carries the packets; None where the kernel does."""

    @property
    def like_card(self) -> bool:
        """Whether a packet's sk_buff is allocated on the CPU that receives it, as by a card."""
        return self.name == "tap"

    def lines(self) -> tuple[str, ...]:
        """How it spreads packets over CPUs, and what it cannot show."""
        limit = () if self.like_card else (VETH_LIMIT,)
        return (f"wire: {WIRES[self.name]}", *limit)

    def check(self) -> None:
        """See that it still carries packets.

        Raises:
            LocalityError: Its program ended; carries the last line it printed.
        """
        if self.process is not None:
            self.process.check()


def best_wire() -> str:
    """The wire that shows most here: taps where this process may make them, else a veth."""
    return "veth-rps" if why_no_tap() else "tap"


def why_no_tap() -> str:
    """Why this process cannot make taps, in words; empty if it can."""
    if not PROGRAM.exists():
        return f"{PROGRAM.name} is not compiled (python hatch_build.py does it)"
    if _machine(PROGRAM) != _machine(Path("/proc/self/exe")):
        return f"{PROGRAM.name} was compiled for another architecture"
    try:
        # The file may be there, but not the driver: opening tells.
        os.close(os.open(TUN, os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        return f"{TUN}: {error.strerror}"
    return ""


def require_taps(otherwise: str) -> None:
    """See that this process can make taps.

    Args:
        otherwise: What to do, or to know, where it cannot.

    Raises:
        LocalityError: It cannot; says why.
    """
    if missing := why_no_tap():
        raise LocalityError(f"no taps here: {missing}; {otherwise}")


def _machine(program: Path) -> bytes:
    """The architecture that an ELF file is for: its class, byte order and e_machine."""
    with program.open("rb") as file:
        head = file.read(20)
    return head[4:6] + head[18:20]


@contextmanager
def lay_wire(
    name: str, server: Namespace, client: Namespace, cpus: Sequence[int]
) -> Iterator[Wire]:
    """Lay a wire of `WIRES` between two namespaces; it is there until the block ends.

    Args:
        name: Its name in `WIRES`.
        server: Gets SERVER_ADDRESS.
        client: Gets CLIENT_ADDRESS and as many local ports as there are.
        cpus: The server's RX CPUs, in ascending order; the wire has a queue for each.

    Raises:
        LocalityError: A command failed; carries it and its last line.
    """
    if name == "tap":
        with _taps(server, client, cpus) as process:
            set_addresses(server, client)
            yield Wire(name, process)
        return
    join_by_veth(server, client, len(cpus))
    set_addresses(server, client)
    if name == "veth-rps":
        receive_on(server, cpus, len(cpus))
    elif name == "veth-napi":
        receive_by_threads(server, client, cpus)
    yield Wire(name)


@contextmanager
def _taps(server: Namespace, client: Namespace, cpus: Sequence[int]) -> Iterator[Process]:
    require_taps("--wire veth-rps needs none")
    networks = (f"/proc/{end.pid}/ns/net" for end in (server, client))
    argv = (str(PROGRAM), LINK, *networks, *map(str, cpus))
    # With the caller's mounts: the package may lie below /tmp.
    with server.start(*argv, own_mounts=False) as process:
        deadline = time.monotonic() + START_S
        while process.printed() != READY:
            process.check()
            if time.monotonic() > deadline:
                raise failure(argv, process.printed(), None)
            time.sleep(POLL_S)
        yield process
