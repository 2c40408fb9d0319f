"""Asking the kernel by netlink for all objects of one kind: a dump.

Layouts are those of linux/netlink.h and linux/genetlink.h. Both are part of the kernel's interface
to user space, and do not change. The package pyroute2 does the same and much more, but importing it
takes 0.2 s and 19 MB, which an exporter would keep for as long as it runs.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import sys

#: rtnetlink: links, addresses, routes.
ROUTE = 0
#: Generic netlink: families that the kernel numbers when it boots.
GENERIC = 16

# struct nlmsghdr: length with this header, type, flags, sequence number, port.
_MESSAGE = struct.Struct("=IHHII")
# struct nlattr: length with this header, type.
_ATTRIBUTE = struct.Struct("=HH")
# struct genlmsghdr: command, version, 16 bits that are not used.
_GENERIC = struct.Struct("=BBxx")
_ERROR_NUMBER = struct.Struct("=i")

_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_NLM_F_REQUEST, _NLM_F_DUMP_INTR, _NLM_F_DUMP = 0x1, 0x10, 0x300
#: Of an attribute's type; the two bits above say that it is nested, or in network byte order.
_TYPE_MASK = 0x3FFF

_GENL_ID_CTRL, _CTRL_CMD_GETFAMILY = 0x10, 3
_CTRL_ATTR_FAMILY_ID, _CTRL_ATTR_FAMILY_NAME = 1, 2

#: The kernel hands out no more of a dump at once than half of this (netlink_recvmsg).
_RECEIVE = 1 << 16
#: So often a dump is asked for anew when objects came or went meanwhile.
_TRIES = 8


def dump(protocol: int, kind: int, request: bytes) -> list[bytes]:
    """Ask for all objects of a kind.

    Args:
        protocol: `ROUTE` or `GENERIC`.
        kind: The type of the request, for example RTM_GETLINK.
        request: The header of the protocol, without the one of netlink.

    Returns:
        Each object's message, from the header of the protocol on.

    Raises:
        OSError: The kernel refuses; EAGAIN if objects came or went each time while it answered.
    """
    for sequence in range(1, _TRIES + 1):
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol) as netlink:
            netlink.bind((0, 0))
            size = _MESSAGE.size + len(request)
            flags = _NLM_F_REQUEST | _NLM_F_DUMP
            netlink.sendto(_MESSAGE.pack(size, kind, flags, sequence, 0) + request, (0, 0))
            messages, consistent = _answer(netlink, sequence)
        if consistent:
            return messages
    raise _refused(errno.EAGAIN)


def generic(family: str, command: int) -> list[dict[int, bytes]]:
    """Ask for all objects of a kind of a generic family: the attributes of each.

    Returns:
        Nothing if the kernel has no such family.

    Raises:
        OSError: As `dump`; EOPNOTSUPP if the family has no such command.
    """
    asked = _GENERIC.pack(_CTRL_CMD_GETFAMILY, 1)
    for message in dump(GENERIC, _GENL_ID_CTRL, asked):
        about = attributes(message, _GENERIC.size)
        if text(about.get(_CTRL_ATTR_FAMILY_NAME, b"")) == family:
            kind = int.from_bytes(about[_CTRL_ATTR_FAMILY_ID], sys.byteorder)
            found = dump(GENERIC, kind, _GENERIC.pack(command, 1))
            return [attributes(message, _GENERIC.size) for message in found]
    return []


def attributes(message: bytes, start: int = 0) -> dict[int, bytes]:
    """The attributes of a message, or of a nested attribute, by their type.

    Args:
        message: What has them.
        start: Where the first one begins.
    """
    found = {}
    while start + _ATTRIBUTE.size <= len(message):
        length, kind = _ATTRIBUTE.unpack_from(message, start)
        if length < _ATTRIBUTE.size:
            break
        found[kind & _TYPE_MASK] = message[start + _ATTRIBUTE.size : start + length]
        start += _aligned(length)
    return found


def text(value: bytes) -> str:
    """A string in an attribute, which ends with a zero."""
    return os.fsdecode(value.partition(b"\0")[0])


def number(value: bytes | None) -> int | None:
    """An unsigned number in an attribute; None if that is not there."""
    return None if value is None else int.from_bytes(value, sys.byteorder)


def _answer(netlink: socket.socket, sequence: int) -> tuple[list[bytes], bool]:
    """The messages up to the last, and whether nothing came or went meanwhile."""
    messages: list[bytes] = []
    interrupted = 0
    while True:
        data, _, how, (port, _) = netlink.recvmsg(_RECEIVE)
        if how & socket.MSG_TRUNC:
            raise _refused(errno.EMSGSIZE)
        start = 0
        while start + _MESSAGE.size <= len(data):
            length, kind, flags, of, _ = _MESSAGE.unpack_from(data, start)
            message = data[start + _MESSAGE.size : start + length]
            start += _aligned(max(length, _MESSAGE.size))
            if port != 0 or of != sequence:  # not from the kernel, or not asked for
                continue
            interrupted |= flags & _NLM_F_DUMP_INTR
            if kind not in {_NLMSG_ERROR, _NLMSG_DONE}:
                messages.append(message)
                continue
            (code,) = _ERROR_NUMBER.unpack_from(message)
            if code < 0:
                raise _refused(-code)
            return messages, not interrupted


def _aligned(length: int) -> int:
    return (length + 3) & ~3


def _refused(code: int) -> OSError:
    return OSError(code, os.strerror(code))
