"""A TCP client made by hand, whose segments come when and in which order a test wants.

It is the other end of a tun device in a network namespace: what the kernel sends there is read
from the device, and what is written to it is received. RFC 9293, RFC 2018 (selective
acknowledgements, which the client offers).
"""

from __future__ import annotations

import fcntl
import os
import select
import socket
import struct
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from locality.lab.namespaces import namespace
from tests.live.helpers.traffic import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Iterator

# include/uapi/linux/if_tun.h
TUNSETIFF = 0x400454CA
IFF_TUN, IFF_NO_PI = 0x0001, 0x1000
DEVICE = Path("/dev/net/tun")

SYN, PSH, ACK = 0x02, 0x08, 0x10
SACK_PERMITTED = b"\x04\x02\x01\x01"

SERVER, CLIENT = "198.18.0.1", "198.18.0.2"
CLIENT_PORT = 40_000
FIRST = 1_000_000


def checksum(data: bytes) -> int:
    """RFC 1071."""
    padded = data + b"\0" * (len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(padded) // 2}H", padded))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


class HandmadeClient:
    """A connection to a port of the namespace, which reads nothing but what it must.

    Args:
        device: Of the tun.
        port: Of the server, which listens.
    """

    def __init__(self, device: int, port: int) -> None:
        self._device = device
        self._port = port
        self._ack = 0
        self._send(FIRST - 1, SYN, options=SACK_PERMITTED)
        deadline = time.monotonic() + PATIENCE
        while not self._ack:
            assert select.select([device], [], [], max(0.0, deadline - time.monotonic()))[0]
            self._take(os.read(device, 65_536))
        self._send(FIRST, ACK)

    def _take(self, packet: bytes) -> None:
        """Look for the SYN-ACK."""
        if packet[0] >> 4 != 4 or packet[9] != socket.IPPROTO_TCP:
            return
        segment = packet[(packet[0] & 15) * 4 :]
        _, to, seq, _, _, flags = struct.unpack("!HHIIBB", segment[:14])
        if to == CLIENT_PORT and flags & (SYN | ACK) == SYN | ACK:
            self._ack = seq + 1

    def send(self, offset: int, data: bytes) -> None:
        """Send these bytes, so many behind the first one of the connection."""
        self._send(FIRST + offset, ACK | PSH, data)

    def _send(self, seq: int, flags: int, data: bytes = b"", options: bytes = b"") -> None:
        ends = socket.inet_aton(CLIENT) + socket.inet_aton(SERVER)
        words = (5 + len(options) // 4) << 4
        head = struct.pack(
            "!HHIIBBHHH", CLIENT_PORT, self._port, seq, self._ack, words, flags, 65_535, 0, 0
        )
        segment = head + options + data
        pseudo = ends + struct.pack("!BBH", 0, socket.IPPROTO_TCP, len(segment))
        segment = segment[:16] + struct.pack("!H", checksum(pseudo + segment)) + segment[18:]
        ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(segment), 0, 0, 64, socket.IPPROTO_TCP, 0)
        ip = ip[:10] + struct.pack("!H", checksum(ip + ends)) + ends
        os.write(self._device, ip + segment)


@contextmanager
def handmade_connection() -> Iterator[tuple[HandmadeClient, socket.socket]]:
    """The client, and the server's end."""
    if not DEVICE.exists():
        pytest.skip(f"limitation: there is no {DEVICE}")
    with ExitStack() as stack:
        inside = stack.enter_context(namespace())
        with inside.joined():  # where it is opened, there the device will be
            device = os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC)
            stack.callback(os.close, device)
            fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH", b"wire", IFF_TUN | IFF_NO_PI))
            listener = stack.enter_context(socket.socket())
        inside.run("ip", "address", "add", f"{SERVER}/24", "dev", "wire")
        inside.run("ip", "link", "set", "wire", "up")
        listener.bind((SERVER, 0))
        listener.listen()
        listener.settimeout(PATIENCE)
        client = HandmadeClient(device, listener.getsockname()[1])
        server = stack.enter_context(listener.accept()[0])
        server.settimeout(PATIENCE)
        yield client, server
