"""Known reads by known threads on known CPUs."""

from __future__ import annotations

import socket
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.live.helpers.traffic import pinned

if TYPE_CHECKING:
    from collections.abc import Iterator

READS = 200


@contextmanager
def connected(listener: socket.socket) -> Iterator[tuple[socket.socket, socket.socket]]:
    """The client's end of a connection, and the server's."""
    client = socket.create_connection(listener.getsockname())
    with client, listener.accept()[0] as server:
        yield client, server


@contextmanager
def connection() -> Iterator[tuple[socket.socket, socket.socket]]:
    """The client's end and the server's; the listener is their own."""
    with socket.create_server(("127.0.0.1", 0)) as listener, connected(listener) as ends:
        yield ends


@contextmanager
def datagrams() -> Iterator[tuple[socket.socket, socket.socket]]:
    """The client's socket and the server's, whose port was asked for, as a server's is."""
    with (
        socket.socket(type=socket.SOCK_DGRAM) as client,
        socket.socket(type=socket.SOCK_DGRAM) as server,
    ):
        with socket.socket(type=socket.SOCK_DGRAM) as free:
            free.bind(("127.0.0.1", 0))
            address = free.getsockname()
        server.bind(address)
        client.connect(address)
        yield client, server


def read_from(
    client: socket.socket, server: socket.socket, *, sender: int, reader: int, reads: int = READS
) -> int:
    """So many reads of 10 bytes on one CPU, each sent on another; the reader's number."""
    numbers = set()
    turn = threading.Barrier(2)

    def send() -> None:
        with pinned(sender):
            for _ in range(reads):
                client.sendall(b"0123456789")
                turn.wait()
                turn.wait()

    def receive() -> None:
        numbers.add(threading.get_native_id())
        with pinned(reader):
            for _ in range(reads):
                turn.wait()
                server.recv(100)
                turn.wait()

    threads = [threading.Thread(target=work, daemon=True) for work in (send, receive)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return numbers.pop()
