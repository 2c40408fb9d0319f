"""A server in which a remote read costs more, on purpose: the truth that a trial has to find.

    python -m locality.lab.dear_server PORT SPIN_US CPU...

One process for each CPU, pinned to it, with a listener of one reuseport group. A process takes a
connection, waits for its request, answers and closes. Where the request was received on another
CPU, it spins before it reads: the read comes that much later, and costs that much CPU time.
"""

from __future__ import annotations

import select
import socket
import sys
import time
from typing import NoReturn

from locality.lab.pinned import run_pinned

READY = "ready\n"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nlocal\n"
_BACKLOG = 1024
_PATIENCE_S = 5.0


def serve(listener: socket.socket, cpu: int, spin_us: float) -> NoReturn:
    """Answer one connection after the other."""
    ready = select.poll()
    while True:
        connection, _ = listener.accept()
        with connection:
            connection.settimeout(_PATIENCE_S)
            ready.register(connection, select.POLLIN)
            ready.poll(_PATIENCE_S * 1000)
            ready.unregister(connection)
            if connection.getsockopt(socket.SOL_SOCKET, socket.SO_INCOMING_CPU) != cpu:
                _spin(spin_us)
            try:
                if connection.recv(4096):
                    connection.sendall(ANSWER)
            except OSError:  # the client has gone
                pass


def _spin(spin_us: float) -> None:
    until = time.perf_counter_ns() + int(spin_us * 1000)
    while time.perf_counter_ns() < until:
        pass


def main() -> NoReturn:
    """Listen, say so, and serve."""
    port, spin_us, cpus = int(sys.argv[1]), float(sys.argv[2]), [int(cpu) for cpu in sys.argv[3:]]
    listeners = []
    for _ in cpus:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind(("", port))
        listener.listen(_BACKLOG)
        listeners.append(listener)
    sys.stdout.write(READY)
    sys.stdout.flush()

    def work(number: int) -> NoReturn:
        for other, listener in enumerate(listeners):
            if other != number:  # so that each is served by the one that holds it
                listener.close()
        serve(listeners[number], cpus[number], spin_us)

    run_pinned(cpus, work)


if __name__ == "__main__":
    main()
