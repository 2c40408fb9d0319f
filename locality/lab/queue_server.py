"""A TCP server whose workers each serve one connection at a time, for as long as it asks.

Run as a program (``python -m locality.lab.queue_server ROWS CPU,CPU,...``) in the server's
namespace. The first process makes the listeners, so that listener i is index i of the group, and
forks the workers; worker i keeps listener i alone. A connection brings a number of microseconds.
The worker waits so long, as it would for a disk or a backend, answers with the RX CPU of the
connection, and closes it. Meanwhile others wait in the accept queue. A worker that waits takes no
CPU from the client or from other programs of this machine, so the length of its work is the same
on a busy machine.
"""

from __future__ import annotations

import socket
import struct
import sys
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

from locality.lab.network import SERVER_ADDRESS
from locality.lab.pinned import run_pinned
from locality.lab.programs import PYTHON, children
from locality.lab.realtime import run_first
from locality.lab.shared_rows import Rows, layout, open_rows, shared_rows
from locality.lab.udp_forwarder import wait_until_ready
from locality.reuseport.descriptors import held_sockets

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np

    from locality.lab.namespaces import Namespace, Process

PORT = 8000
BACKLOG = 511
"""As nginx has it; net.core.somaxconn may make it less."""
WORK = struct.Struct("=I")
"""A request: microseconds of work. An answer: the RX CPU."""
PATIENCE_S = 5.0
"""For a request that does not come."""

WORKER = layout(("ready", "served", "busy_ns", "broken"))
"""What a worker counts: connections answered, the time from accept() to the end of these, and
connections without a request or that could not be answered."""


@dataclass(frozen=True)
class QueueServer:
    """A running server."""

    process: Process
    """The first of its processes, which holds every listener."""
    cpus: tuple[int, ...]
    """The CPU of each worker."""
    rows: Rows
    """What each worker counted so far; dtype WORKER."""
    workers: tuple[int, ...]
    """Their pids."""

    @property
    def pid(self) -> int:
        """The process that holds every listener."""
        return self.process.pid

    def sockets(self) -> dict[int, int]:
        """fd to inode of the listeners, in the group's order."""
        held = held_sockets(self.pid)
        return {fd: held[fd] for fd in sorted(held)}


@contextmanager
def run_server(server: Namespace, cpus: Sequence[int]) -> Iterator[QueueServer]:
    """Start a server in a namespace; it runs until the block ends.

    Args:
        server: Where.
        cpus: One worker for each, pinned to it, in this order.

    Raises:
        LocalityError: It did not start; carries the last line it printed.
    """
    with shared_rows(WORKER, len(cpus)) as counted:
        argv = (*PYTHON, "locality.lab.queue_server", counted.path, ",".join(map(str, cpus)))
        with server.start(*argv, own_mounts=False) as process:
            wait_until_ready(process, counted.rows)
            workers = tuple(children(process.pid))
            yield QueueServer(process, tuple(cpus), counted.rows, workers)


def listen(count: int, address: str = SERVER_ADDRESS) -> list[socket.socket]:
    """Listeners of one reuseport group, in its order; OSError if the kernel refuses one."""
    return [
        socket.create_server((address, PORT), reuse_port=True, backlog=BACKLOG)
        for _ in range(count)
    ]


def work(listener: socket.socket, row: np.void) -> NoReturn:
    """What a worker does until it is killed."""
    row["ready"] = 1
    while True:
        connection, _ = listener.accept()
        begun = time.monotonic_ns()
        with connection:
            connection.settimeout(PATIENCE_S)
            answered = False
            with suppress(OSError, struct.error):
                (microseconds,) = WORK.unpack(connection.recv(WORK.size))
                time.sleep(microseconds / 1e6)
                rx_cpu = connection.getsockopt(socket.SOL_SOCKET, socket.SO_INCOMING_CPU)
                connection.sendall(WORK.pack(rx_cpu))
                answered = True
        row["broken"] += not answered
        row["busy_ns"] += answered * (time.monotonic_ns() - begun)
        row["served"] += answered


def main(path: str, cpus: Sequence[int]) -> NoReturn:
    """Run the server."""
    rows = open_rows(path, WORKER)
    run_first()
    listeners = listen(len(cpus))

    def worker(number: int) -> NoReturn:
        for other in listeners[:number] + listeners[number + 1 :]:
            other.close()
        work(listeners[number], rows[number])

    run_pinned(cpus, worker)


if __name__ == "__main__":
    main(sys.argv[1], [int(cpu) for cpu in sys.argv[2].split(",")])
