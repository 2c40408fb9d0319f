"""Workloads whose packets and connections can be told beforehand.

They run over loopback, or between two ends of another network (`tests/live/helpers/networks.py`).

On loopback a packet is allocated by the CPU that sends it and handed to the receiving
socket by the same CPU, in the same softirq. So the CPUs on which the two ends are pinned
are the alloc CPU and the consume CPU.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import socket
import struct
import threading
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    import numpy as np

CPUS = sorted(os.sched_getaffinity(0))
HERE, THERE = CPUS[0], CPUS[-1]

#: An emulated CPU takes some 3 ms for a round trip, a real one 10 microseconds. tests/vm/start.sh
#: says so: the CPU itself may look like a real one.
EMULATED = os.environ.get("LOCALITY_EMULATED") == "1"
ROUND_TRIPS = 1_000 if EMULATED else 5_000

PATIENCE = 60.0  # seconds; a test that hangs is worse than one that fails

#: The smallest ring: where pages have 16 KiB, the kernel takes no smaller one.
PAGE = mmap.PAGESIZE

CLONE_NEWNET = 0x40000000

_libc = ctypes.CDLL(None, use_errno=True)


@contextmanager
def pinned(cpu: int) -> Iterator[None]:
    """Run this thread on one CPU."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {cpu})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@dataclass(frozen=True)
class Network:
    """Where the two ends of a workload are.

    Attributes:
        name: How a table calls it.
        address: Where the server is.
        server: A pid in the server's network namespace; None for our own.
        client: A pid in the client's network namespace; None for our own. The kernel chooses the
            client's address.
    """

    name: str = "loopback"
    address: str = "127.0.0.1"
    server: int | None = None
    client: int | None = None

    def at_server(self) -> AbstractContextManager[None]:
        """Sockets that this thread makes in the block are the server's."""
        return _inside(self.server)

    def at_client(self) -> AbstractContextManager[None]:
        """Sockets that this thread makes in the block are the client's."""
        return _inside(self.client)


LOOPBACK = Network()


@contextmanager
def _inside(pid: int | None) -> Iterator[None]:
    """Have this thread in another network namespace; a socket stays where it was made."""
    if pid is None:
        yield
        return
    with Path("/proc/thread-self/ns/net").open() as ours, Path(f"/proc/{pid}/ns/net").open() as its:
        _set_namespace(its.fileno())
        try:
            yield
        finally:
            _set_namespace(ours.fileno())


def _set_namespace(fd: int) -> None:
    if _libc.setns(fd, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


@contextmanager
def in_thread(work: Callable[[], object]) -> Iterator[threading.Thread]:
    """Work that goes on beside the block; its error, if any, becomes the block's."""
    errors: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - raised again below
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield thread
    finally:
        thread.join(PATIENCE)
    if errors:
        raise errors[0]
    assert not thread.is_alive()


def tcp_ping_pong(
    server_cpu: int,
    client_cpu: int,
    round_trips: int,
    after_each: Callable[[], object] = lambda: None,
    network: Network = LOOPBACK,
) -> None:
    """One connection, each message answered: two data packets a round trip, each with an ACK.

    Args:
        server_cpu: Where the answering end runs.
        client_cpu: Where the asking end runs.
        round_trips: How many.
        after_each: Called by the asking end after each round trip.
        network: Between which ends.
    """
    with _listener(network) as listener:

        def serve() -> None:
            with pinned(server_cpu), listener.accept()[0] as accepted:
                _prepare(accepted)
                while message := accepted.recv(64):
                    accepted.send(message)

        with (
            in_thread(serve),
            pinned(client_cpu),
            _connected(listener, network) as client,
        ):
            _prepare(client)
            for _ in range(round_trips):
                client.send(b"x" * 32)
                client.recv(64)
                after_each()


def _listener(network: Network) -> socket.socket:
    with network.at_server():
        listener = socket.create_server((network.address, 0))
    listener.settimeout(PATIENCE)
    return listener


def _connected(listener: socket.socket, network: Network) -> socket.socket:
    with network.at_client():
        return socket.create_connection(listener.getsockname(), PATIENCE)


def _prepare(connection: socket.socket) -> None:
    connection.settimeout(PATIENCE)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def udp_ping_pong(
    server_cpu: int,
    client_cpu: int,
    round_trips: int,
    after_each: Callable[[], object] = lambda: None,
    network: Network = LOOPBACK,
) -> None:
    """Two datagrams a round trip; the arguments are those of `tcp_ping_pong`."""
    with _datagrams(network) as (server, client):

        def serve() -> None:
            with pinned(server_cpu):
                for _ in range(round_trips):
                    server.sendto(*server.recvfrom(64))

        with in_thread(serve), pinned(client_cpu):
            for _ in range(round_trips):
                client.send(b"x" * 32)
                client.recv(64)
                after_each()


def udp_one_way(server_cpu: int, client_cpu: int, count: int, network: Network = LOOPBACK) -> None:
    """Datagrams that are read and not answered; no more are on their way than a queue holds."""
    on_their_way = threading.Semaphore(20)
    with _datagrams(network) as (server, client):

        def serve() -> None:
            with pinned(server_cpu):
                for _ in range(count):
                    server.recv(64)
                    on_their_way.release()

        with in_thread(serve), pinned(client_cpu):
            for _ in range(count):
                assert on_their_way.acquire(timeout=PATIENCE)
                client.send(b"x" * 32)


@contextmanager
def _datagrams(network: Network) -> Iterator[tuple[socket.socket, socket.socket]]:
    """The server's socket and the client's, which is connected to it."""
    with network.at_server():
        server = socket.socket(type=socket.SOCK_DGRAM)
    with network.at_client():
        client = socket.socket(type=socket.SOCK_DGRAM)
    with server, client:
        for end in (server, client):
            end.settimeout(PATIENCE)
        server.bind((network.address, 0))
        client.connect(server.getsockname())
        yield server, client


def tcp_stream(server_cpu: int, client_cpu: int, size: int, network: Network = LOOPBACK) -> None:
    """A connection that carries data one way, in large writes."""
    with _listener(network) as listener:

        def serve() -> None:
            with pinned(server_cpu), listener.accept()[0] as accepted:
                accepted.settimeout(PATIENCE)
                while accepted.recv(1 << 16):
                    pass

        with (
            in_thread(serve),
            pinned(client_cpu),
            _connected(listener, network) as client,
        ):
            client.sendall(bytes(size))


def flush_deferred() -> None:
    """Have each CPU free the packets whose free was deferred to it: receiving makes it do so.

    One datagram for each CPU, sent and read there: `len(CPUS)` received packets, all local.
    """
    with socket.socket(type=socket.SOCK_DGRAM) as own:
        own.settimeout(PATIENCE)
        own.bind(("127.0.0.1", 0))
        for cpu in CPUS:
            with pinned(cpu):
                own.sendto(b"x", own.getsockname())
                own.recv(1)


def unix_messages(count: int) -> None:
    """Messages over a unix socket pair: sk_buffs that are no packets."""
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with one, other:
        for _ in range(count):
            one.send(b"x" * 32)
            other.recv(64)


def netlink_requests(count: int) -> None:
    """Questions to the kernel and its answers: sk_buffs too, and no packets either."""
    # struct nlmsghdr of RTM_GETLINK, then struct ifinfomsg with index 1: the loopback device.
    header = struct.pack("=IHHII", 32, 18, 1, 0, 0)
    request = header + struct.pack("=BBHiII", socket.AF_UNSPEC, 0, 0, 1, 0, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as connection:
        connection.settimeout(PATIENCE)
        for _ in range(count):
            connection.send(request)
            connection.recv(1 << 16)


@dataclass(frozen=True)
class Accepted:
    """What the accepting program itself knows of a connection, in the words of a record."""

    cpu: int
    rxcpu: int
    pid: int
    tid: int
    listen_fd: int
    fd: int
    family: int
    laddr: bytes
    lport: int
    raddr: bytes
    rport: int


def accept4(listener: socket.socket) -> socket.socket:
    """Accept by the system call accept4, which is what Python uses."""
    return listener.accept()[0]


def accept(listener: socket.socket) -> socket.socket:
    """Accept by the system call accept."""
    fd = _libc.accept(listener.fileno(), None, None)
    if fd < 0:
        raise OSError(ctypes.get_errno(), "accept")
    return socket.socket(fileno=fd)


def connect_and_accept(
    listener: socket.socket,
    connections: int,
    *,
    to: tuple[str, int] | None = None,
    client_cpus: tuple[int, ...] = (HERE,),
    accept_cpu: int = THERE,
    how: Callable[[socket.socket], socket.socket] = accept4,
) -> list[Accepted]:
    """Make connections and accept them in this thread, a hundred at a time.

    Args:
        listener: Where to accept; its backlog is 128 or more.
        connections: How many.
        to: Where to connect; by default the listener's own address.
        client_cpus: The CPUs that connect, in turn: they process the packets too.
        accept_cpu: The CPU that accepts.
        how: `accept4` or `accept`.
    """
    known: list[Accepted] = []
    while len(known) < connections:
        with ExitStack() as stack:
            batch = min(100, connections - len(known))
            for number in range(batch):
                with pinned(client_cpus[(len(known) + number) % len(client_cpus)]):
                    address = to or listener.getsockname()[:2]
                    stack.enter_context(socket.create_connection(address, PATIENCE))
            with pinned(accept_cpu):
                known += [
                    describe(listener, stack.enter_context(how(listener)), accept_cpu)
                    for _ in range(batch)
                ]
    return known


def describe(listener: socket.socket, accepted: socket.socket, cpu: int) -> Accepted:
    """What getsockopt and getsockname say of a connection just accepted on this CPU."""
    local, remote = accepted.getsockname(), accepted.getpeername()
    family, laddr = _address(local[0])
    return Accepted(
        cpu=cpu,
        rxcpu=accepted.getsockopt(socket.SOL_SOCKET, socket.SO_INCOMING_CPU),
        pid=os.getpid(),
        tid=threading.get_native_id(),
        listen_fd=listener.fileno(),
        fd=accepted.fileno(),
        family=family,
        laddr=laddr,
        lport=local[1],
        raddr=_address(remote[0])[1],
        rport=remote[1],
    )


def _address(text: str) -> tuple[int, bytes]:
    """The IP version and the 16 bytes that a record has for an address."""
    text = text.removeprefix("::ffff:")
    if ":" in text:
        return 6, socket.inet_pton(socket.AF_INET6, text)
    return 4, socket.inet_pton(socket.AF_INET, text).ljust(16, b"\0")


def room(record: np.dtype[np.void]) -> int:
    """How many records of a kind the smallest ring takes, each with its struct bpf_ringbuf_hdr."""
    return PAGE // (record.itemsize + 8)


def from_record(record: Any) -> Accepted:  # noqa: ANN401 - a row of a structured array
    """An accepted connection, from a record that the probe wrote."""
    numbers = {
        name: int(record[name])
        for name in ("cpu", "rxcpu", "pid", "tid", "listen_fd", "fd", "family", "lport", "rport")
    }
    return Accepted(**numbers, laddr=record["laddr"].tobytes(), raddr=record["raddr"].tobytes())
