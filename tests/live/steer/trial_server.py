"""A server with a listener and a process for each CPU: trial_server.py BACKLOG CPU...

Prints its port. For each connection it prints the CPU that accepted and the client's port, reads a
byte, answers and closes. A process that gets SIGUSR1 accepts nothing more.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading

HOST = "127.0.0.1"


def serve(listener: socket.socket, cpu: int) -> None:
    os.sched_setaffinity(0, {cpu})
    signal.signal(signal.SIGUSR1, lambda _number, _frame: signal.pause())
    while True:
        connection, (_, port) = listener.accept()
        with connection:
            os.write(1, f"{cpu} {port}\n".encode())
            if connection.recv(1):
                connection.sendall(b"x")


def main(backlog: int, cpus: list[int]) -> None:
    port, listeners = 0, []
    for _ in cpus:
        member = socket.socket()
        member.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        member.bind((HOST, port))
        member.listen(backlog)
        port = int(member.getsockname()[1])
        listeners.append(member)
    os.write(1, f"{port}\n".encode())
    for listener, cpu in zip(listeners, cpus, strict=True):
        if not os.fork():
            serve(listener, cpu)
    for listener in listeners:
        listener.close()
    threading.Event().wait()


if __name__ == "__main__":
    main(int(sys.argv[1]), [int(cpu) for cpu in sys.argv[2:]])
