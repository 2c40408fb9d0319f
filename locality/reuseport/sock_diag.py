"""Sockets that can be in a reuseport group, as the kernel's sock_diag family lists them.

/proc/PID/net/tcp lists connections, too. To learn that there are no more listeners, the kernel
walks through the table of all connections of the machine: milliseconds, for each table and network
namespace. A dump of sock_diag (sock_diag(7), net/ipv4/inet_diag.c) names the states that are
wanted, and visits those tables alone: some 50 microseconds.
"""

from __future__ import annotations

import ctypes
import os
import socket
import struct
import threading
from typing import TYPE_CHECKING, NamedTuple

from locality.machine.limits import raise_if_ours

if TYPE_CHECKING:
    from collections.abc import Iterator

_NETLINK_SOCK_DIAG = 4
# include/uapi/linux/netlink.h, sock_diag.h
_SOCK_DIAG_BY_FAMILY = 20
_REQUEST_DUMP = 0x301  # NLM_F_REQUEST | NLM_F_DUMP
_ERROR, _DONE = 2, 3
_HEADER = struct.Struct("=IHHII")  # struct nlmsghdr
_REQUEST = struct.Struct("=BBBxI")  # struct inet_diag_req_v2, then struct inet_diag_sockid
_PORTS = struct.Struct("!HH")
_ADDRESSES_AND_COOKIE = bytes(16 + 16 + 4) + b"\xff" * 8  # any address, any interface, no cookie
_MESSAGE = struct.Struct("=BBBBHH16s16sI8sIIIII")  # struct inet_diag_msg
_CLONE_NEWNET = 0x40000000
_RECEIVED = 1 << 18
_PATIENCE_S = 5.0

TCP_LISTEN, UDP_UNCONNECTED = 0x0A, 0x07
"""The states of sockets in a group: TCP_LISTEN and TCP_CLOSE of include/net/tcp_states.h."""

#: Family, protocol and state, by the table of /proc/PID/net that lists the same.
_TABLES = {
    "tcp": (socket.AF_INET, socket.IPPROTO_TCP, TCP_LISTEN),
    "tcp6": (socket.AF_INET6, socket.IPPROTO_TCP, TCP_LISTEN),
    "udp": (socket.AF_INET, socket.IPPROTO_UDP, UDP_UNCONNECTED),
    "udp6": (socket.AF_INET6, socket.IPPROTO_UDP, UDP_UNCONNECTED),
}


class Listed(NamedTuple):
    """A socket; see `locality.reuseport.bound.BoundSocket`, which is made of it."""

    local: str
    state: int
    uid: int
    inode: int
    waiting: int


def sockets(table: str, port: int = 0, pid: int | None = None) -> list[Listed]:
    """The sockets of a network namespace that can be in a group.

    Args:
        table: ``tcp``, ``tcp6``, ``udp`` or ``udp6``.
        port: Only on this local port; on all if 0.
        pid: A process in the namespace; None for our own namespace.

    Raises:
        OSError: The kernel refused: it has no sock_diag, the process has ended, or we may not
            enter its namespace (CAP_SYS_ADMIN).
    """
    family, protocol, state = _TABLES[table]
    request = _REQUEST.pack(family, protocol, 0, 1 << state)
    request += _PORTS.pack(port, 0) + _ADDRESSES_AND_COOKIE
    header = _HEADER.pack(_HEADER.size + len(request), _SOCK_DIAG_BY_FAMILY, _REQUEST_DUMP, 1, 0)
    with _netlink() if pid is None else _netlink_of(pid) as asking:
        asking.send(header + request)
        return [one for one in _answers(asking) if one.state == state]


def _netlink() -> socket.socket:
    netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG)
    netlink.settimeout(_PATIENCE_S)
    return netlink


def _netlink_of(pid: int) -> socket.socket:
    """A socket of the network namespace of a process: it stays there, whoever uses it."""
    made: list[socket.socket | OSError] = []

    def make() -> None:
        # A thread of its own enters the namespace (setns(2)), and ends there.
        try:
            namespace = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
            try:
                if _libc.setns(namespace, _CLONE_NEWNET):
                    code = ctypes.get_errno()
                    raise OSError(code, os.strerror(code))
            finally:
                os.close(namespace)
            made.append(_netlink())
        except OSError as refusal:
            made.append(refusal)

    thread = threading.Thread(target=make, daemon=True)
    thread.start()
    thread.join()
    (netlink,) = made
    if isinstance(netlink, OSError):
        raise_if_ours(netlink.errno)
        raise netlink
    return netlink


_libc = ctypes.CDLL(None, use_errno=True)


def _answers(netlink: socket.socket) -> Iterator[Listed]:
    while True:
        messages = netlink.recv(_RECEIVED)
        at = 0
        while at + _HEADER.size <= len(messages):
            length, kind, *_ = _HEADER.unpack_from(messages, at)
            if kind == _DONE:
                return
            if kind == _ERROR:
                (code,) = struct.unpack_from("=i", messages, at + _HEADER.size)
                raise OSError(-code, os.strerror(-code))
            yield _listed(messages, at + _HEADER.size)
            at += (length + 3) & ~3


def _listed(messages: bytes, at: int) -> Listed:
    family, state, _, _, port, _, source, *_ = fields = _MESSAGE.unpack_from(messages, at)
    waiting, _limit, uid, inode = fields[-4:]
    # As /proc/PID/net/tcp prints it: words of 32 bits, each as a number of this machine.
    words = struct.unpack("=IIII", source)[: 4 if family == socket.AF_INET6 else 1]
    local = "".join(f"{word:08X}" for word in words) + f":{socket.ntohs(port):04X}"
    return Listed(local, state, uid, inode, waiting)
