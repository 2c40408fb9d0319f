"""What a socket says of itself: its kind, its addresses, its options.

It is another process's, duplicated for a moment (`borrow`).
"""

from __future__ import annotations

import os
import socket
import struct
from contextlib import suppress

from locality.reuseport.group import Member

_IPPROTO_MPTCP = 262
_SO_REUSEPORT = 15  # Python leaves the name out where its C library has none
_INTERFACE_BYTES = 16  # IFNAMSIZ
# struct tcp_info: eight bytes and four words, then tcpi_unacked and tcpi_sacked, which a
# listener uses for its backlog and its limit (tcp_get_info of net/ipv4/tcp.c).
_TCP_INFO_BACKLOG, _TCP_INFO_BYTES = 24, 32


def shares_port(sock: socket.socket) -> bool:
    """Whether SO_REUSEPORT is set."""
    return bool(sock.getsockopt(socket.SOL_SOCKET, _SO_REUSEPORT))


def is_mptcp(sock: socket.socket) -> bool:
    """Whether it is an MPTCP socket."""
    return sock.proto == _IPPROTO_MPTCP


def as_member(sock: socket.socket) -> Member:
    """The socket as a member of a group, without its workers."""
    incoming, backlog, limit = -1, None, None
    with suppress(OSError):  # not on every kernel for MPTCP
        incoming = sock.getsockopt(socket.SOL_SOCKET, socket.SO_INCOMING_CPU)
    with suppress(OSError):  # UDP
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_BYTES)
        backlog, limit = struct.unpack_from("=II", info, _TCP_INFO_BACKLOG)
    inode = os.fstat(sock.fileno()).st_ino
    return Member(inode, (), incoming if incoming >= 0 else None, backlog, limit)


def interface_of(sock: socket.socket) -> str:
    """The interface that it is bound to (SO_BINDTODEVICE); empty if it is bound to none."""
    name = b""
    with suppress(OSError):  # the interface has gone
        name = sock.getsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, _INTERFACE_BYTES)
    return name.rstrip(b"\0").decode(errors="backslashreplace")


def kind_of(sock: socket.socket) -> str:
    """``tcp``, ``udp``, ``mptcp``, or the socket's family in lower case."""
    if sock.family not in {socket.AF_INET, socket.AF_INET6}:
        return getattr(sock.family, "name", f"family {sock.family}").removeprefix("AF_").lower()
    if is_mptcp(sock):
        return "mptcp"
    known = {socket.SOCK_STREAM: "tcp", socket.SOCK_DGRAM: "udp"}
    return known.get(sock.type, f"type {sock.type}")


def address_of(sock: socket.socket) -> str:
    """Bound address and port as ``127.0.0.1:80`` or ``[::]:80``; empty of other families."""
    if sock.family not in {socket.AF_INET, socket.AF_INET6}:
        return ""
    host, port = sock.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_connected(sock: socket.socket) -> bool:
    """Whether it has a peer."""
    try:
        sock.getpeername()
    except OSError:
        return False
    return True
