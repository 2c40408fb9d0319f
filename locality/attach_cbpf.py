"""Give another process's reuseport group a classic BPF program, or take it away.

`pidfd_open` and `pidfd_getfd` lend us a duplicate of the other process's socket;
the option set on it belongs to the group, whichever member it was set through.
The duplicate is closed at once: while it lives, the socket stays in the group even
after its owner closes it, and connections sent to it wait for a reader forever.

Permission is ptrace's: root or CAP_SYS_PTRACE, or the same user where the target is
dumpable and Yama allows it. Setting the option needs none.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
from contextlib import contextmanager
from typing import TYPE_CHECKING

from locality.errors import LocalityError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from locality.cbpf import Program

SO_ATTACH_REUSEPORT_CBPF = 51  # asm-generic/socket.h, as the next one
SO_DETACH_REUSEPORT_BPF = 68

_PIDFD_GETFD = 438  # the same number on every architecture we build for
_INT_MAX = 2**31 - 1

# What to do, for each error a step is known to give (sys_pidfd_open, sys_pidfd_getfd,
# and sk_reuseport_attach_filter with what it calls). {pid} and {fd} are filled in.
_ADVICE = {
    ("pidfd_open", errno.ESRCH): "pgrep -a NAME finds the pid",
    ("pidfd_open", errno.EINVAL): "a pid is 1 or more, and a process, not one of its threads",
    ("pidfd_open", errno.ENOENT): "{pid} is a thread; give the pid of its process",
    ("pidfd_getfd", errno.EBADF): "ls -l /proc/{pid}/fd lists what the process has open",
    ("pidfd_getfd", errno.ESRCH): "the process has ended; pgrep -a NAME finds its successor",
    ("pidfd_getfd", errno.EPERM): "reaching into the process needs root or CAP_SYS_PTRACE",
    ("socket", errno.ENOTSOCK): "ls -l /proc/{pid}/fd shows what fd {fd} is; give a socket",
    ("attach", errno.EINVAL): "the kernel wants a TCP or UDP socket that set SO_REUSEPORT"
    " before bind() and is not a connection",
    ("attach", errno.EPERM): "the socket has SO_LOCK_FILTER set; try another socket of its group",
    ("attach", errno.EOPNOTSUPP): "an MPTCP listener takes no program; listen with plain TCP",
    ("attach", errno.ENOMEM): "the program is too long for the sysctl net.core.optmem_max of"
    " this machine; raise it or map fewer CPUs",
    ("detach", errno.ENOENT): "no program is attached to this group; nothing to do",
    ("detach", errno.EINVAL): "the socket is in no reuseport group",
}
_CALL = {
    "pidfd_open": "pidfd_open({pid})",
    "pidfd_getfd": "pidfd_getfd({pid}, {fd})",
    "socket": "getsockopt({pid}:{fd}, SO_DOMAIN)",
    "attach": "setsockopt({pid}:{fd}, SO_ATTACH_REUSEPORT_CBPF)",
    "detach": "setsockopt({pid}:{fd}, SO_DETACH_REUSEPORT_BPF)",
}


def attach(pid: int, fd: int, program: Program) -> None:
    """Attach a program to the reuseport group of a socket; replaces what was attached.

    Args:
        pid: Process that owns the socket.
        fd: The socket's number there; any member of the group does.
        program: The answer it gives is an index into the group's order.

    Raises:
        LocalityError: The kernel refused; nothing has changed.
    """
    filters = ctypes.create_string_buffer(program.assemble())
    # struct sock_fprog: a 16-bit length, padding, a pointer.
    option = struct.pack("@HP", len(program), ctypes.addressof(filters))
    with borrowed_socket(pid, fd) as borrowed, _explained("attach", pid, fd):
        borrowed.setsockopt(socket.SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, option)


def detach(pid: int, fd: int) -> None:
    """Take the program away from the reuseport group of a socket: back to the hash.

    Raises:
        LocalityError: The kernel refused, or nothing was attached.
    """
    with borrowed_socket(pid, fd) as borrowed, _explained("detach", pid, fd):
        borrowed.setsockopt(socket.SOL_SOCKET, SO_DETACH_REUSEPORT_BPF, 0)


def attached_line(pid: int, fd: int, group: int) -> str:
    """The line that has announced an attached program since 2017."""
    return f"[+] Pid={pid} fd={fd} group_size={group} setsockopt(SO_ATTACH_REUSEPORT_CBPF)=0"


def detached_line(pid: int, fd: int) -> str:
    """The same for a program taken away."""
    return f"[+] Pid={pid} fd={fd} setsockopt(SO_DETACH_REUSEPORT_BPF)=0"


@contextmanager
def borrowed_socket(pid: int, fd: int) -> Iterator[socket.socket]:
    """Another process's socket, for as long as the block runs. Keep it short.

    Raises:
        LocalityError: No such process or fd, no permission, or not a socket.
    """
    pidfd = _pidfd_open(pid, fd)
    try:
        duplicate = _pidfd_getfd(pidfd, pid, fd)
    finally:
        os.close(pidfd)
    try:
        with _explained("socket", pid, fd):
            borrowed = socket.socket(fileno=duplicate)
    except LocalityError:
        os.close(duplicate)
        raise
    with borrowed:
        yield borrowed


def _pidfd_open(pid: int, fd: int) -> int:
    with _explained("pidfd_open", pid, fd):
        # A number too big for pid_t is as unknown to the kernel as the biggest that fits.
        return os.pidfd_open(max(-1, min(pid, _INT_MAX)))


def _pidfd_getfd(pidfd: int, pid: int, fd: int) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    with _explained("pidfd_getfd", pid, fd):
        if not 0 <= fd <= _INT_MAX:
            # The kernel reads 32 bits; a larger number must not wrap round to another fd.
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        duplicate: int = libc.syscall(
            ctypes.c_long(_PIDFD_GETFD), ctypes.c_int(pidfd), ctypes.c_int(fd), ctypes.c_uint(0)
        )
        if duplicate < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
    return duplicate


@contextmanager
def _explained(step: str, pid: int, fd: int) -> Iterator[None]:
    """Turn the kernel's refusal of one step into one line."""
    try:
        yield
    except OSError as refusal:
        number = refusal.errno or 0
        call = _CALL[step].format(pid=pid, fd=fd)
        name = errno.errorcode.get(number, f"errno {number}")
        line = f"{call}: {name} ({os.strerror(number)})"
        advice = _ADVICE.get((step, number))
        if advice:
            line += f"; {advice.format(pid=pid, fd=fd)}"
        raise LocalityError(line) from refusal
