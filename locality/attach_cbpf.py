"""Give another process's reuseport group a classic BPF program, or take it away.

The option is set on a duplicate of the other process's socket (`reuseport.borrow`, which
says what permission that takes). It belongs to the group, whichever member it was set
through. Setting the option itself needs no permission.
"""

from __future__ import annotations

import ctypes
import errno
import socket
import struct
from typing import TYPE_CHECKING

from locality.reuseport.borrow import Call, borrowed_socket

if TYPE_CHECKING:
    from collections.abc import Collection

    from locality.cbpf import Program

SO_ATTACH_REUSEPORT_CBPF = 51  # asm-generic/socket.h, as the next one
SO_DETACH_REUSEPORT_BPF = 68

# Their errors: sk_reuseport_attach_filter and reuseport_detach_prog with what they call.
REFUSED = {
    errno.EINVAL: "the kernel wants a TCP or UDP socket that set SO_REUSEPORT"
    " before bind() and is not a connection",
    errno.EPERM: "the socket has SO_LOCK_FILTER set; try another socket of its group",
    errno.EOPNOTSUPP: "an MPTCP listener takes no program; listen with plain TCP",
}
"""What helps when a group takes no program, classic or not."""
_ATTACH = Call(
    "setsockopt({pid}:{fd}, SO_ATTACH_REUSEPORT_CBPF)",
    {
        **REFUSED,
        errno.ENOMEM: "the program is too long for the sysctl net.core.optmem_max of"
        " this machine; raise it or map fewer CPUs",
    },
)
_DETACH = Call(
    "setsockopt({pid}:{fd}, SO_DETACH_REUSEPORT_BPF)",
    {
        errno.ENOENT: "no program is attached to this group; nothing to do",
        errno.EINVAL: "the socket is in no reuseport group",
    },
)


def attach(pid: int, fd: int, program: Program, among: Collection[int] = ()) -> None:
    """Attach a program to the reuseport group of a socket; replaces what was attached.

    Args:
        pid: Process that owns the socket.
        fd: The socket's number there; any member of the group does.
        program: The answer it gives is an index into the group's order.
        among: The inodes of the sockets that were looked at before; any socket if empty.

    Raises:
        LocalityError: The kernel refused, or it is another socket; nothing has changed.
    """
    filters = ctypes.create_string_buffer(program.assemble())
    # struct sock_fprog: a 16-bit length, padding, a pointer.
    option = struct.pack("@HP", len(program), ctypes.addressof(filters))
    with borrowed_socket(pid, fd, among) as borrowed, _ATTACH.explained(pid, fd):
        borrowed.setsockopt(socket.SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, option)


def detach(pid: int, fd: int, among: Collection[int] = ()) -> None:
    """Take the program away from the reuseport group of a socket: back to the hash.

    Args:
        pid: Process that owns the socket.
        fd: The socket's number there; any member of the group does.
        among: The inodes of the sockets that were looked at before; any socket if empty.

    Raises:
        LocalityError: The kernel refused, nothing was attached, or it is another socket.
    """
    with borrowed_socket(pid, fd, among) as borrowed, _DETACH.explained(pid, fd):
        borrowed.setsockopt(socket.SOL_SOCKET, SO_DETACH_REUSEPORT_BPF, 0)


def attached_line(pid: int, fd: int, group: int, kind: str = "CBPF") -> str:
    """The line that has announced an attached program since 2017."""
    return f"[+] Pid={pid} fd={fd} group_size={group} setsockopt(SO_ATTACH_REUSEPORT_{kind})=0"


def detached_line(pid: int, fd: int) -> str:
    """The line that announces that a program was taken away."""
    return f"[+] Pid={pid} fd={fd} setsockopt(SO_DETACH_REUSEPORT_BPF)=0"
