"""Many datagrams a system call: recvmmsg and sendmmsg on buffers that are made once.

Python's socket module has neither. Through ctypes a call costs about a microsecond, whatever
the batch; with 64 datagrams a call that is little beside what the kernel does for each. The
headers are numpy arrays over the memory that the kernel reads and writes, so that no Python
runs for a single datagram.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from typing import Any

BATCH = 64
"""Datagrams a call."""
LARGEST = 9000
"""Bytes of the longest datagram that is received whole."""
MSG_WAITFORONE = 0x10000
"""recvmmsg: wait for the first datagram, then take what is there."""

# struct sockaddr_in of linux/in.h, struct iovec of linux/uio.h, struct mmsghdr of
# linux/socket.h; pointers and size_t are 64 bits wide wherever this is built.
_NAME = np.dtype([("family", "u2"), ("port", ">u2"), ("address", "u1", 4), ("zero", "u8")])
_IOVEC = np.dtype([("base", "u8"), ("len", "u8")])
_MMSGHDR = np.dtype(
    [
        ("name", "u8"),
        ("namelen", "u4"),
        ("iov", "u8"),
        ("iovlen", "u8"),
        ("control", "u8"),
        ("controllen", "u8"),
        ("flags", "i4"),
        ("padding", "u4"),  # struct msghdr ends with msg_flags, at a multiple of 8
        ("len", "u4"),
    ],
    align=True,
)

_libc = ctypes.CDLL(None, use_errno=True)


class Batch:
    """Buffers for so many datagrams, and the two calls on them.

    Attributes:
        payload: One row a datagram; uint8, shape (count, LARGEST).
        received: Length of each datagram that `receive` got, in bytes; 0 to 65,535.

    Args:
        count: The most datagrams a call.
    """

    def __init__(self, count: int = BATCH) -> None:
        self.count = count
        self.payload = np.zeros((count, LARGEST), np.uint8)
        self._names = np.zeros(count, _NAME)
        self._into, self._receiving = self._headers(LARGEST)
        self._from, self._sending = self._headers(0)
        self._receiving["name"] = _addresses(self._names)
        self._receiving["namelen"] = _NAME.itemsize
        self.received = self._receiving["len"]
        self._lengths = self._from["len"]
        self._receive_at = ctypes.c_void_p(self._receiving.ctypes.data)
        self._send_at = self._sending.ctypes.data

    def _headers(self, length: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """An iovec and a header for each row of the payload."""
        vectors, headers = np.zeros(self.count, _IOVEC), np.zeros(self.count, _MMSGHDR)
        vectors["base"], vectors["len"] = _addresses(self.payload), length
        headers["iov"], headers["iovlen"] = _addresses(vectors), 1
        return vectors, headers

    def receive(self, fd: int, flags: int = MSG_WAITFORONE) -> int:
        """Receive at least one datagram, and as many more as are there and have room.

        Returns:
            How many; 0 where MSG_DONTWAIT found none, or a signal came first.

        Raises:
            OSError: The kernel refused.
        """
        got: int = _libc.recvmmsg(fd, self._receive_at, self.count, flags, None)
        if got < 0:
            return _nothing(errno.EAGAIN, errno.EINTR)
        return got

    def source(self, row: int) -> tuple[str, int]:
        """Address and port that a received datagram came from."""
        name = self._names[row]
        return ".".join(map(str, name["address"])), int(name["port"])

    def keep_lengths(self, count: int) -> None:
        """Send the first so many rows as long as they were received."""
        self._lengths[:count] = self.received[:count]

    def set_length(self, length: int) -> None:
        """Send every row with this length, in bytes."""
        self._lengths[:] = length

    def send(self, fd: int, first: int, end: int) -> int:
        """Send rows first to end - 1 on a connected socket.

        Returns:
            How many the kernel took. One that it refuses is skipped: who sends loses
            datagrams and goes on.
        """
        taken = 0
        while first < end:
            at = ctypes.c_void_p(self._send_at + first * _MMSGHDR.itemsize)
            sent: int = _libc.sendmmsg(fd, at, end - first, 0)
            taken += max(sent, 0)
            first += sent if sent > 0 else 1
        return taken


def connected(address: str, port: int, *, source: tuple[str, int] | None = None) -> socket.socket:
    """A UDP socket that sends to this address.

    Args:
        address: IPv4.
        port: Where to.
        source: Address and port to bind to; the kernel chooses by default.
    """
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    if source is not None:
        made.bind(source)
    made.connect((address, port))
    return made


def _addresses(rows: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The address of each row."""
    return rows.ctypes.data + rows.strides[0] * np.arange(len(rows), dtype=np.uint64)


def _nothing(*expected: int) -> int:
    number = ctypes.get_errno()
    if number not in expected:
        raise OSError(number, os.strerror(number))
    return 0
