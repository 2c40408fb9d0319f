"""UDP workloads whose datagrams can be told beforehand, socket by socket, and what is seen."""

from __future__ import annotations

import ctypes
import os
import select
import socket
import struct
import threading
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from locality.udp.source import UdpFilter, UdpSource
from tests.live.helpers.traffic import PATIENCE, in_thread, pinned

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from locality.udp.interval import UdpInterval

LOOPBACK = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}
PAYLOAD = b"x" * 40
#: Sent and not yet read: never enough to fill a receive buffer.
ON_THE_WAY = 32
RECEIVE_BUFFER = 4 << 20

_SO_MEMINFO, _DROPS = 55, 8
SO_RCVBUFFORCE = 33

_libc = ctypes.CDLL(None, use_errno=True)


class _Iovec(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


class _Header(ctypes.Structure):
    """struct msghdr of the C library, as on x86-64."""

    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_length", ctypes.c_uint32),
        ("iov", ctypes.POINTER(_Iovec)),
        ("iov_length", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )


class _Message(ctypes.Structure):
    """struct mmsghdr."""

    _fields_ = (("header", _Header), ("length", ctypes.c_uint32))


class Vector:
    """Room for several datagrams that one recvmmsg() fills."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._buffers = [ctypes.create_string_buffer(2048) for _ in range(size)]
        self._iovecs = [_Iovec(ctypes.addressof(one), 2048) for one in self._buffers]
        self._messages = (_Message * size)(
            *(_Message(_Header(iov=ctypes.pointer(one), iov_length=1)) for one in self._iovecs)
        )

    def receive(self, sock: socket.socket, flags: int = 0) -> int:
        """One call; returns how many datagrams it gave."""
        got: int = _libc.recvmmsg(sock.fileno(), self._messages, self.size, flags, None)
        if got < 0:
            raise OSError(ctypes.get_errno(), "recvmmsg")
        return got


class Receiver(socket.socket):
    """A bound socket that is still known by its port and inode when it is closed."""

    port: int
    inode: int

    def bind(self, address: Any) -> None:  # noqa: ANN401 - as in socket
        """Bind, and note what it is known by."""
        super().bind(address)
        self.port = self.getsockname()[1]
        self.inode = os.fstat(self.fileno()).st_ino


@contextmanager
def receiver(
    family: socket.AddressFamily = socket.AF_INET, *, port: int = 0, shared: bool = False
) -> Iterator[Receiver]:
    """A socket on loopback, with room for all that a test sends."""
    with Receiver(family, socket.SOCK_DGRAM) as sock:
        # Blocking for the kernel too, as a timeout of Python's is not.
        timeout = struct.pack("=qq", int(PATIENCE), 0)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, timeout)
        sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER)
        if shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind((LOOPBACK[family], port))
        yield sock


@contextmanager
def group(size: int) -> Iterator[list[Receiver]]:
    """A reuseport group in the order of its indexes."""
    with ExitStack() as stack:
        first = stack.enter_context(receiver(shared=True))
        yield [
            first,
            *(stack.enter_context(receiver(port=first.port, shared=True)) for _ in range(size - 1)),
        ]


@contextmanager
def sender(to: socket.socket) -> Iterator[socket.socket]:
    """A socket connected to another: one flow."""
    with socket.socket(to.family, socket.SOCK_DGRAM) as sock:
        sock.bind((LOOPBACK[socket.AddressFamily(to.family)], 0))
        sock.connect(to.getsockname())
        yield sock


def fill(to: socket.socket, count: int, flows: int = 1) -> None:
    """Send without anybody reading."""
    with ExitStack() as stack:
        senders = [stack.enter_context(sender(to)) for _ in range(flows)]
        for number in range(count):
            senders[number % flows].send(PAYLOAD)


@contextmanager
def watching(*ports: int, rung: str, sample: int = 1) -> Iterator[UdpSource]:
    """What `locality udp` has of these ports, for the time of the block."""
    with UdpSource(UdpFilter(ports=ports), rung=rung, sample=sample) as source:
        yield source


def of(sock: Receiver, interval: UdpInterval) -> Any:  # noqa: ANN401 - numpy.void
    """The row of a socket."""
    (row,) = interval.sockets[interval.sockets["inode"] == sock.inode]
    return row


def dropped(sock: socket.socket) -> int:
    """What the kernel's own account of a socket says (SK_MEMINFO_DROPS)."""
    words = struct.unpack("=9I", sock.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, 36))
    return int(words[_DROPS])


def by_recv(sock: socket.socket, _vector: Vector) -> int:
    sock.recv(2048)
    return 1


def by_recvmsg(sock: socket.socket, _vector: Vector) -> int:
    sock.recvmsg(2048)
    return 1


def by_read(sock: socket.socket, _vector: Vector) -> int:
    os.read(sock.fileno(), 2048)
    return 1


def by_epoll(sock: socket.socket, _vector: Vector) -> int:
    with select.epoll() as poll:
        poll.register(sock, select.EPOLLIN)
        assert poll.poll(PATIENCE)
    sock.recv(2048, socket.MSG_DONTWAIT)
    return 1


def by_spinning(sock: socket.socket, _vector: Vector) -> int:
    while True:
        try:
            sock.recv(2048, socket.MSG_DONTWAIT)
        except BlockingIOError:
            continue
        return 1


def by_recvmmsg(sock: socket.socket, vector: Vector) -> int:
    select.select([sock], [], [], PATIENCE)
    return vector.receive(sock, socket.MSG_DONTWAIT)


WAYS: dict[str, Callable[[socket.socket, Vector], int]] = {
    "recv": by_recv,
    "recvmsg": by_recvmsg,
    "read": by_read,
    "epoll": by_epoll,
    "spinning": by_spinning,
    "recvmmsg": by_recvmmsg,
}


def exchange(
    to: socket.socket,
    by: socket.socket,
    count: int,
    *,
    reader_cpu: int,
    sender_cpu: int,
    way: str = "recv",
    payload: bytes = PAYLOAD,
) -> None:
    """Send datagrams from one CPU and read them all, in a thread of its own, on another."""
    room = threading.Semaphore(ON_THE_WAY)
    vector = Vector(8)

    def read() -> None:
        with pinned(reader_cpu):
            left = count
            while left:
                got = WAYS[way](to, vector)
                left -= got
                room.release(got)

    with in_thread(read), pinned(sender_cpu):
        for _ in range(count):
            assert room.acquire(timeout=PATIENCE)
            by.send(payload)


def drain(sock: socket.socket) -> int:
    """Read what waits; returns how many datagrams it was."""
    count = 0
    while True:
        try:
            sock.recv(2048, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return count
        count += 1
