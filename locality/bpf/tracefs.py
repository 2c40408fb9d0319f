"""Tracepoints by name, also where nobody has mounted tracefs.

A perf event for a tracepoint is opened by a number that only tracefs tells. On a
small or hardened system it is often not mounted. Mounting it on the user's file
system would be a change that outlives us, so a mount of our own is made that is
attached nowhere (fsmount(2), Linux 5.2), read through its descriptor and dropped.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from contextlib import contextmanager
from typing import TYPE_CHECKING

from locality.errors import Unsupported
from locality.machine.limits import PassingOver, raise_if_ours
from locality.machine.syscalls import number

if TYPE_CHECKING:
    from collections.abc import Iterator

MOUNT_POINTS = ("/sys/kernel/tracing", "/sys/kernel/debug/tracing")

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long

_FSOPEN_CLOEXEC = _FSMOUNT_CLOEXEC = 1
_FSCONFIG_CMD_CREATE = 6
_PERF_TYPE_TRACEPOINT = 2
_PERF_FLAG_FD_CLOEXEC = 8
_PERF_ATTR_SIZE = 64  # PERF_ATTR_SIZE_VER0


def _syscall(name: str, *arguments: object) -> int:
    call = number(name)
    if call is None:
        raise OSError(errno.ENOSYS, f"the number of {name}() is not known on this architecture")
    result: int = _libc.syscall(call, *arguments)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


@contextmanager
def _root() -> Iterator[int]:
    """A descriptor of tracefs's root: the mounted one, else a detached mount."""
    for path in MOUNT_POINTS:
        with PassingOver():
            fd = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            if _holds_events(fd):
                break
            os.close(fd)
    else:
        context = _syscall("fsopen", b"tracefs", _FSOPEN_CLOEXEC)
        try:
            _syscall("fsconfig", context, _FSCONFIG_CMD_CREATE, None, None, 0)
            fd = _syscall("fsmount", context, _FSMOUNT_CLOEXEC, 0)
        finally:
            os.close(context)
    try:
        yield fd
    finally:
        os.close(fd)


def _holds_events(root: int) -> bool:
    try:
        os.stat("events", dir_fd=root)
    except OSError:
        return False
    return True


def tracepoint_id(name: str) -> int:
    """The number of a tracepoint, given as ``category/name``.

    Raises:
        Unsupported: No such tracepoint, or tracefs cannot be read.
    """
    try:
        with _root() as root:
            fd = os.open(f"events/{name}/id", os.O_RDONLY | os.O_CLOEXEC, dir_fd=root)
            with os.fdopen(fd) as file:
                return int(file.read())
    except FileNotFoundError:
        raise Unsupported(f"this kernel has no tracepoint {name}") from None
    except OSError as error:
        raise_if_ours(error.errno)
        raise Unsupported(
            f"tracefs cannot be read ({error.strerror}), so tracepoint {name} cannot be found: "
            f"mount -t tracefs tracefs {MOUNT_POINTS[0]}"
        ) from None


def perf_event_open(attributes: bytes, cpu: int) -> int:
    """Open a perf event of one CPU, for every process; the descriptor.

    Args:
        attributes: A struct perf_event_attr.
        cpu: Must be online.

    Raises:
        OSError: The kernel refused it.
    """
    return _syscall("perf_event_open", attributes, -1, cpu, -1, _PERF_FLAG_FD_CLOEXEC)


@contextmanager
def perf_event(name: str) -> Iterator[int]:
    """A perf event on a tracepoint, for a BPF program to be attached to.

    One event on one CPU serves all: a tracepoint's BPF programs hang on the tracepoint
    itself and run wherever it fires (kernel/trace/bpf_trace.c, perf_event_attach_bpf_prog).

    Raises:
        Unsupported: The kernel refused it.
    """
    # struct perf_event_attr: type, size, config, sample_period = 1, then zeros.
    attributes = struct.pack(
        "=IIQQ", _PERF_TYPE_TRACEPOINT, _PERF_ATTR_SIZE, tracepoint_id(name), 1
    ).ljust(_PERF_ATTR_SIZE, b"\0")
    try:
        # pid -1 and a CPU: every process. Any online CPU will do; CPU 0 may be offline.
        cpu = min(os.sched_getaffinity(0))
        fd = perf_event_open(attributes, cpu)
    except OSError as error:
        raise_if_ours(error.errno)
        hint = " (CAP_PERFMON is needed)" if error.errno in {errno.EACCES, errno.EPERM} else ""
        raise Unsupported(f"perf event for tracepoint {name}: {error.strerror}{hint}") from None
    try:
        yield fd
    finally:
        os.close(fd)
