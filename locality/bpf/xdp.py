"""XDP programs of a network interface: what is there, and a link that puts one there.

The link is a descriptor of this process. When it is closed the program goes, and it is
closed on every way out: also by SIGKILL, which no clean-up code survives (Linux 5.9).
The kernel itself refuses a second program, so nothing of somebody else's is replaced.
"""

from __future__ import annotations

import ctypes
import errno
import os
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

from locality.bpf.abi import LinkInfo, ProgramInfo, info_of
from locality.bpf.libbpf import lib
from locality.errors import LocalityError, Unsupported
from locality.text import printable

if TYPE_CHECKING:
    from locality.bpf.object import Object

_BPF_XDP = 37  # enum bpf_attach_type


class Mode(Enum):
    """Where a program runs. The value is what it is called in the output."""

    NATIVE = "native"
    """In the driver, before there is an sk_buff."""
    GENERIC = "generic"
    """In the stack, on the sk_buff."""


_FLAGS = {Mode.GENERIC: 1 << 1, Mode.NATIVE: 1 << 2}  # XDP_FLAGS_SKB_MODE, _DRV_MODE


class _LinkOptions(ctypes.Structure):
    """struct bpf_link_create_opts of libbpf's bpf.h, up to the last field used."""

    _fields_ = (("sz", ctypes.c_size_t), ("flags", ctypes.c_uint32), ("zero", ctypes.c_uint32))


class _Query(ctypes.Structure):
    """struct bpf_xdp_query_opts of libbpf.h, up to the last field used."""

    _fields_ = (
        ("sz", ctypes.c_size_t),
        ("prog_id", ctypes.c_uint32),
        ("drv_prog_id", ctypes.c_uint32),
        ("hw_prog_id", ctypes.c_uint32),
        ("skb_prog_id", ctypes.c_uint32),
        ("attach_mode", ctypes.c_uint8),
        ("zero", ctypes.c_uint8 * 7),
    )


class Attached(NamedTuple):
    """A program of an interface."""

    mode: str
    program_id: int
    name: str
    """As its author called it, 15 bytes, printable; empty if it cannot be asked."""

    def __str__(self) -> str:
        called = f" ({self.name})" if self.name else ""
        return f"{self.mode} program {self.program_id}{called}"


class Link:
    """A program on an interface, until it is closed or the process ends."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    @property
    def holds(self) -> bool:
        """Whether the program is still there: not when the interface has gone."""
        info = info_of(self._fd, LinkInfo)
        return info is not None and bool(info.xdp.ifindex)

    def close(self) -> None:
        """Take the program away. Safe to call twice."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def attach(obj: Object, program: str, ifindex: int, mode: Mode) -> Link:
    """Put a loaded program on an interface of this network namespace.

    Raises:
        LocalityError: A program is there already; names it.
        Unsupported: The driver or the kernel refused this mode.
    """
    options = _LinkOptions(sz=ctypes.sizeof(_LinkOptions), flags=_FLAGS[mode])
    fd = lib.bpf_link_create(
        lib.bpf_program__fd(obj.programs[program]), ifindex, _BPF_XDP, ctypes.byref(options)
    )
    if fd >= 0:
        return Link(fd)
    code = ctypes.get_errno()
    if code in {errno.EBUSY, errno.EEXIST}:
        there = ", ".join(map(str, attached(ifindex))) or "on a device above it, such as a bond"
        raise LocalityError(f"the interface has an XDP program already: {there}; it is kept")
    answer = os.strerror(code)
    raise Unsupported(f"the interface takes no {mode.value} XDP program: {answer}", answer=answer)


def attached(ifindex: int) -> list[Attached]:
    """The programs of an interface; at most one, or one on the card beside it."""
    query = _Query(sz=ctypes.sizeof(_Query))
    if lib.bpf_xdp_query(ifindex, 0, ctypes.byref(query)):
        return []
    by_mode = {
        Mode.NATIVE.value: query.drv_prog_id,
        Mode.GENERIC.value: query.skb_prog_id,
        "offloaded": query.hw_prog_id,
    }
    return [Attached(mode, number, _name(number)) for mode, number in by_mode.items() if number]


def _name(program_id: int) -> str:
    fd = lib.bpf_prog_get_fd_by_id(program_id)
    if fd < 0:
        return ""
    try:
        info = info_of(fd, ProgramInfo)
        return "" if info is None else printable(info.name)
    finally:
        os.close(fd)
