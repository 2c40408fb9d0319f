"""Would the kernel let a function be hooked? Asked with a program that does nothing.

A kernel that allows no fentry refuses every such program when it is loaded. To learn that
from a real object takes libbpf 20 ms, most of it for reading the kernel's types once more.
"""

from __future__ import annotations

import ctypes
import os
from functools import cache

from locality.bpf import btf
from locality.bpf.btf import Kind
from locality.bpf.libbpf import lib
from locality.errors import Unsupported
from locality.machine.limits import raise_if_ours

# include/uapi/linux/bpf.h
_TRACING = 26
_FENTRY = 24
_RETURN_0 = bytes((0xB7, 0, 0, 0, 0, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0))  # r0 = 0; exit


class _Options(ctypes.Structure):
    """struct bpf_prog_load_opts of libbpf's bpf.h, up to the last field used."""

    _fields_ = (
        ("sz", ctypes.c_size_t),
        ("attempts", ctypes.c_int),
        ("expected_attach_type", ctypes.c_uint32),
        ("prog_btf_fd", ctypes.c_uint32),
        ("prog_flags", ctypes.c_uint32),
        ("prog_ifindex", ctypes.c_uint32),
        ("kern_version", ctypes.c_uint32),
        ("attach_btf_id", ctypes.c_uint32),
    )


@cache
def fentry(function: str) -> None:
    """Load a program for the entry of a function, and forget it.

    Raises:
        Unsupported: The kernel refused.
    """
    type_id = btf.kernel().find(function, Kind.FUNC)
    if type_id is None:
        return  # libbpf says better what is missing
    options = _Options(
        sz=ctypes.sizeof(_Options), expected_attach_type=_FENTRY, attach_btf_id=type_id
    )
    fd = lib.bpf_prog_load(_TRACING, b"trial", b"GPL", _RETURN_0, 2, ctypes.byref(options))
    if fd < 0:
        raise_if_ours(ctypes.get_errno())
        answer = os.strerror(ctypes.get_errno())
        raise Unsupported(f"the kernel refused fentry/{function}: {answer}", answer=answer)
    os.close(fd)
