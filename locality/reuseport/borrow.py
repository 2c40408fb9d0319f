"""Use another process's socket for a moment: `pidfd_open`, then `pidfd_getfd`.

The kernel hands out a duplicate of the other process's descriptor, so what is asked of it
or set on it is asked of or set on that process's socket. The duplicate is closed at once:
while it lives, the socket stays in its reuseport group even after its owner closes it, and
connections sent to it wait for a reader forever.

Permission is ptrace's: root or CAP_SYS_PTRACE, or the same user where the target is
dumpable and Yama allows it.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from locality.errors import LocalityError
from locality.machine import syscalls
from locality.machine.limits import raise_if_ours

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

_PIDFD_THREAD = os.O_EXCL  # include/uapi/linux/pidfd.h
_INT_MAX = 2**31 - 1


class Call(NamedTuple):
    """A system call on another process's socket, and what helps when the kernel refuses it.

    Attributes:
        text: The call as messages show it.
        advice: What to do next, for each errno that the call is known to give.

    In both, ``{pid}`` and ``{fd}`` are filled in.
    """

    text: str
    advice: Mapping[int, str]

    @contextmanager
    def explained(self, pid: int, fd: int) -> Iterator[None]:
        """Turn the kernel's refusal of this call, made in the block, into one line.

        Raises:
            LocalityError: The call, the error, and the advice there is for it.
        """
        try:
            yield
        except OSError as refusal:
            raise_if_ours(refusal.errno)
            number = refusal.errno or 0
            name = errno.errorcode.get(number, f"errno {number}")
            line = f"{self.text.format(pid=pid, fd=fd)}: {name} ({os.strerror(number)})"
            if advice := self.advice.get(number):
                line += f"; {advice.format(pid=pid, fd=fd)}"
            raise LocalityError(line) from refusal


# Their errors: sys_pidfd_open, sys_pidfd_getfd, and getsockopt of what is no socket.
_PIDFD_OPEN = Call(
    "pidfd_open({pid})",
    {
        errno.ESRCH: "pgrep -a NAME finds the pid",
        errno.EINVAL: "a pid is 1 or more, and a process, not one of its threads",
        errno.ENOENT: "{pid} is a thread; give the pid of its process",
    },
)
_PIDFD_GETFD = Call(
    "pidfd_getfd({pid}, {fd})",
    {
        errno.EBADF: "ls -l /proc/{pid}/fd lists what the process has open",
        errno.ESRCH: "the process has ended; pgrep -a NAME finds its successor",
        errno.EPERM: "reaching into the process needs root or CAP_SYS_PTRACE",
    },
)
_SOCKET = Call(
    "getsockopt({pid}:{fd}, SO_DOMAIN)",
    {errno.ENOTSOCK: "ls -l /proc/{pid}/fd shows what fd {fd} is; give a socket"},
)


@contextmanager
def borrowed_socket(pid: int, fd: int, among: Collection[int] = ()) -> Iterator[socket.socket]:
    """Another process's socket, for as long as the block runs. Keep it short.

    Args:
        pid: The process.
        fd: The socket's number there.
        among: The inodes of the sockets that were looked at before; it must be one of them,
            for the process may have closed it and opened another one. Any will do if empty.

    Raises:
        LocalityError: No such process or fd, no permission, not a socket, or another one.
    """
    pidfd = _pidfd_open(pid, fd)
    try:
        duplicate = _pidfd_getfd(pidfd, pid, fd)
    finally:
        os.close(pidfd)
    try:
        with _SOCKET.explained(pid, fd):
            borrowed = socket.socket(fileno=duplicate)
    except LocalityError:
        os.close(duplicate)
        raise
    with borrowed:
        inode = os.fstat(borrowed.fileno()).st_ino
        if among and inode not in among:
            raise LocalityError(
                f"fd {fd} of pid {pid} is another socket now ({inode}) than the one that was "
                "looked at: the process has closed that; nothing was changed through it, run the "
                "command again"
            )
        yield borrowed


def _pidfd_open(pid: int, fd: int) -> int:
    with _PIDFD_OPEN.explained(pid, fd):
        # A number too big for pid_t is as unknown to the kernel as the biggest that fits.
        number = max(-1, min(pid, _INT_MAX))
        try:
            return os.pidfd_open(number)
        except OSError:
            if _has_alone(number, fd):
                with suppress(OSError):  # before Linux 6.9
                    return os.pidfd_open(number, _PIDFD_THREAD)
            raise


def _has_alone(tid: int, fd: int) -> bool:
    """Whether a thread has a descriptor that the main thread of its process has not.

    A thread can have descriptors of its own (CLONE_FILES), or outlive the main one.
    """
    try:
        status = Path(f"/proc/{tid}/status").read_bytes()
        pid = int(status.partition(b"\nTgid:\t")[2].partition(b"\n")[0])
        own = Path(f"/proc/{tid}/fd/{fd}").readlink()
    except (OSError, ValueError):
        return False
    try:
        return pid != tid and Path(f"/proc/{pid}/fd/{fd}").readlink() != own
    except OSError:
        return True


def _pidfd_getfd(pidfd: int, pid: int, fd: int) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    with _PIDFD_GETFD.explained(pid, fd):
        if not 0 <= fd <= _INT_MAX:
            # The kernel reads 32 bits; a larger number must not wrap round to another fd.
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        call = syscalls.number("pidfd_getfd")
        if call is None:
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
        duplicate: int = libc.syscall(
            ctypes.c_long(call),
            ctypes.c_int(pidfd),
            ctypes.c_int(fd),
            ctypes.c_uint(0),
        )
        if duplicate < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
    return duplicate
