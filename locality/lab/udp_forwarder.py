"""A UDP forwarder: N pinned processes, one socket each, all in one reuseport group.

Run as a program (``python -m locality.lab.udp_forwarder ROWS CPU,CPU,...``) in the server's
namespace. The first process makes the sockets, so that socket i is index i of the group, and
forks the workers; worker i keeps socket i alone. A worker reads up to 64 datagrams a call and
sends them on to the sink with another call. A datagram whose first byte is CONTROL is a
keep-alive: it is not forwarded but answered, to where it came from, with the worker's number.
"""

from __future__ import annotations

import socket
import sys
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import numpy as np

from locality.errors import LocalityError
from locality.lab.messages import Batch, connected
from locality.lab.namespaces import POLL_S
from locality.lab.network import CLIENT_ADDRESS, SERVER_ADDRESS
from locality.lab.pinned import run_pinned
from locality.lab.programs import PYTHON, children
from locality.lab.shared_rows import Rows, layout, open_rows
from locality.reuseport.descriptors import held_sockets

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from locality.lab.namespaces import Namespace, Process
    from locality.lab.shared_rows import SharedRows

PORT = 9000
"""Where the group listens."""
SINK_PORT = 9001
"""Where in the client's namespace datagrams are sent on to."""
DATA, CONTROL = 0, 0xC0
"""What the first byte of the payload says the datagram is."""
RECEIVE_BUFFER = 8 << 20
"""Bytes of each socket's receive buffer, as the kernel counts them: with their overhead."""

WORKER = layout(("ready", "received", "control", "forwarded", "cpu_ns"))
"""What a worker counts: datagrams read, those of them that were keep-alives, datagrams sent on;
and, since it started, its time on a CPU."""

READY_S = 60.0
"""How long a program may take until it is ready: Python and numpy, on an emulated machine."""

_SO_RCVBUFFORCE = 33


@dataclass(frozen=True)
class Forwarder:
    """A running forwarder."""

    process: Process
    """The first of its processes, which holds every socket."""
    cpus: tuple[int, ...]
    """The CPU each worker is pinned to."""
    rows: Rows
    """What each worker counted so far; dtype WORKER."""
    workers: tuple[int, ...] = ()
    """Their pids."""

    @property
    def pid(self) -> int:
        """The pid of the process that holds every socket."""
        return self.process.pid

    @property
    def waited_ns(self) -> int:
        """How long the workers have waited for a CPU, being ready to run; 0 where not told.

        The second field of /proc/PID/schedstat (CONFIG_SCHED_INFO).
        """
        waited = 0
        for pid in self.workers:
            with suppress(OSError):
                waited += int(Path(f"/proc/{pid}/schedstat").read_text(encoding="ascii").split()[1])
        return waited

    def sockets(self) -> dict[int, int]:
        """fd to inode of the group's sockets, in the group's order."""
        held = held_sockets(self.pid)
        return {fd: held[fd] for fd in sorted(held)}


@contextmanager
def run_forwarder(
    server: Namespace, cpus: Sequence[int], counted: SharedRows
) -> Iterator[Forwarder]:
    """Start a forwarder in a namespace; it runs until the block ends.

    Args:
        server: Where.
        cpus: One worker for each, pinned to it, in this order.
        counted: Where the workers count; dtype WORKER, as many rows as workers or more. What
            is in it is added to.

    Yields:
        It, when every worker is about to read.

    Raises:
        LocalityError: It did not start; carries the last line it printed.
    """
    rows = counted.rows[: len(cpus)]
    rows["ready"] = 0
    argv = (*PYTHON, "locality.lab.udp_forwarder", counted.path, ",".join(map(str, cpus)))
    with server.start(*argv, own_mounts=False) as process:
        wait_until_ready(process, rows)
        yield Forwarder(process, tuple(cpus), rows, tuple(children(process.pid)))


def wait_until_ready(process: Process, rows: Rows) -> None:
    """Wait until each of a program's processes has written 1 into its row's `ready`.

    Raises:
        LocalityError: The program ended, or it took too long.
    """
    deadline = time.monotonic() + READY_S
    while not rows["ready"].all():
        process.check()
        if time.monotonic() > deadline:
            missing = int((rows["ready"] == 0).sum())
            raise LocalityError(
                f"{process.argv[2]}: {missing} of {len(rows)} processes were not ready after "
                f"{READY_S:.0f} s; is the machine very busy?"
            )
        time.sleep(POLL_S)


def listen(count: int) -> list[socket.socket]:
    """Sockets of one reuseport group, in the order of the group.

    Raises:
        OSError: The kernel refused one.
    """
    made = []
    for _ in range(count):
        listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        # The kernel doubles what it is given; by FORCE it does not ask for the sysctl's limit.
        listener.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, RECEIVE_BUFFER // 2)
        listener.bind((SERVER_ADDRESS, PORT))
        made.append(listener)
    return made


def work(number: int, listener: socket.socket, row: np.void) -> NoReturn:
    """Read, answer, send on: what a worker does until it is killed."""
    batch = Batch()
    sink = connected(CLIENT_ADDRESS, SINK_PORT)
    fd, sink_fd = listener.fileno(), sink.fileno()
    kinds = batch.payload[:, 0]
    row["cpu_ns"] = time.process_time_ns()
    row["ready"] = 1
    while True:
        count = batch.receive(fd)
        batch.keep_lengths(count)
        controls = np.flatnonzero(kinds[:count] == CONTROL)
        forwarded = start = 0
        for control in map(int, controls):
            forwarded += batch.send(sink_fd, start, control)
            start = control + 1
            answer(listener, number, batch, control)
        forwarded += batch.send(sink_fd, start, count)
        row["control"] += len(controls)
        row["forwarded"] += forwarded
        row["cpu_ns"] = time.process_time_ns()
        row["received"] += count


def answer(listener: socket.socket, number: int, batch: Batch, row: int) -> None:
    """Answer a keep-alive: the same bytes, with this worker's number after the first."""
    payload = bytearray(batch.payload[row, : batch.received[row]])
    payload[1:3] = number.to_bytes(2, "big")
    listener.sendto(payload, batch.source(row))


def main(path: str, cpus: Sequence[int]) -> NoReturn:
    """Run the forwarder."""
    rows = open_rows(path, WORKER)
    listeners = listen(len(cpus))

    def worker(number: int) -> NoReturn:
        for other in listeners[:number] + listeners[number + 1 :]:
            other.close()
        work(number, listeners[number], rows[number])

    run_pinned(cpus, worker)


if __name__ == "__main__":
    main(sys.argv[1], [int(cpu) for cpu in sys.argv[2].split(",")])
