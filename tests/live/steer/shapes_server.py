"""A server of one of the known shapes: shapes_server.py SHAPE CPU CPU [PORT]; prints its port.

processes: two processes accept on one listener without SO_REUSEPORT.
hand-off:  a thread on the first CPU accepts, one on the second reads.
sockets:   two threads, each with a listener in one group, keep their connections.
datagrams: two threads, each with a UDP socket in one group.
both:      sockets and datagrams on one port; closes each connection once it has answered.
"""

from __future__ import annotations

import os
import queue
import selectors
import socket
import sys
import threading

HOST = "127.0.0.1"


def answer(connection: socket.socket) -> None:
    with connection:
        connection.sendall(connection.recv(1))


def accepting(listener: socket.socket, cpu: int) -> None:
    os.sched_setaffinity(0, {cpu})
    while True:
        answer(listener.accept()[0])


def processes(cpus: list[int], port: int = 0) -> int:
    listener = socket.create_server((HOST, port), backlog=128)
    for cpu in cpus:
        if not os.fork():
            accepting(listener, cpu)
    return int(listener.getsockname()[1])


def hand_off(cpus: list[int], port: int = 0) -> int:
    listener = socket.create_server((HOST, port), backlog=128)
    accepted: queue.SimpleQueue[socket.socket] = queue.SimpleQueue()

    def accept() -> None:
        os.sched_setaffinity(0, {cpus[0]})
        while True:
            accepted.put(listener.accept()[0])

    def read() -> None:
        os.sched_setaffinity(0, {cpus[1]})
        while True:
            answer(accepted.get())

    for work in (accept, read):
        threading.Thread(target=work).start()
    return int(listener.getsockname()[1])


def serving(listener: socket.socket, cpu: int) -> None:
    """Accept, and answer on all connections until they are closed."""
    os.sched_setaffinity(0, {cpu})
    chooser = selectors.DefaultSelector()
    chooser.register(listener, selectors.EVENT_READ)
    while True:
        for key, _ in chooser.select():
            if key.fileobj is listener:
                chooser.register(listener.accept()[0], selectors.EVENT_READ)
                continue
            connection = key.fileobj
            assert isinstance(connection, socket.socket)
            data = connection.recv(1)
            if data:
                connection.sendall(data)
            else:
                chooser.unregister(connection)
                connection.close()


def answering(datagrams: socket.socket, cpu: int) -> None:
    os.sched_setaffinity(0, {cpu})
    while True:
        data, sender = datagrams.recvfrom(1)
        datagrams.sendto(data, sender)


def in_a_group(kind: socket.SocketKind, port: int = 0) -> socket.socket:
    member = socket.socket(socket.AF_INET, kind)
    member.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    member.bind((HOST, port))
    if kind == socket.SOCK_STREAM:
        member.listen(128)
    return member


def sockets(cpus: list[int], port: int = 0) -> int:
    for cpu in cpus:
        listener = in_a_group(socket.SOCK_STREAM, port)
        port = int(listener.getsockname()[1])
        threading.Thread(target=serving, args=(listener, cpu)).start()
    return port


def datagrams(cpus: list[int], port: int = 0) -> int:
    for cpu in cpus:
        member = in_a_group(socket.SOCK_DGRAM, port)
        port = int(member.getsockname()[1])
        threading.Thread(target=answering, args=(member, cpu)).start()
    return port


def both(cpus: list[int], port: int = 0) -> int:
    return datagrams(cpus, sockets(cpus, port))


SHAPES = {
    "processes": processes,
    "hand-off": hand_off,
    "sockets": sockets,
    "datagrams": datagrams,
    "both": both,
}

if __name__ == "__main__":
    serve, on_cpus, on_port = SHAPES[sys.argv[1]], sys.argv[2:4], sys.argv[4:]
    where = serve([int(cpu) for cpu in on_cpus], *map(int, on_port))
    sys.stdout.write(f"{where}\n")
    sys.stdout.flush()
    threading.Event().wait()
