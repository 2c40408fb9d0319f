"""What BPF programs cost, whoever loaded them: the kernel's own count of runs and nanoseconds."""

from __future__ import annotations

import ctypes
import os
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from locality.bpf.libbpf import lib
from locality.errors import Unsupported

if TYPE_CHECKING:
    from collections.abc import Iterator

_BPF_STATS_RUN_TIME = 0


class _ProgramInfo(ctypes.Structure):
    """struct bpf_prog_info of include/uapi/linux/bpf.h, up to the last field used."""

    _fields_ = (
        ("type", ctypes.c_uint32),
        ("until_name", ctypes.c_uint8 * 60),
        ("name", ctypes.c_char * 16),
        ("until_run_time", ctypes.c_uint8 * 112),
        ("run_time_ns", ctypes.c_uint64),
        ("run_cnt", ctypes.c_uint64),
    )


@dataclass(frozen=True)
class Runs:
    """What a program did since it was loaded, while runs were counted.

    Attributes:
        name: The kernel keeps 15 characters of it.
        type: A number of `enum bpf_prog_type`.
        ns: Spent in it.
        count: How often it ran.
    """

    name: str
    type: int
    ns: int
    count: int


def programs() -> dict[int, Runs]:
    """Every BPF program of the machine, by its id; ids are not used again soon."""
    found = {}
    number = ctypes.c_uint32()
    while lib.bpf_prog_get_next_id(number, ctypes.byref(number)) == 0:
        fd = lib.bpf_prog_get_fd_by_id(number)
        if fd < 0:  # gone already
            continue
        info = _ProgramInfo()
        size = ctypes.c_uint32(ctypes.sizeof(info))
        failed = lib.bpf_obj_get_info_by_fd(fd, ctypes.byref(info), ctypes.byref(size))
        os.close(fd)
        if not failed:
            found[number.value] = Runs(
                info.name.decode(), info.type, info.run_time_ns, info.run_cnt
            )
    return found


@contextmanager
def counted() -> Iterator[None]:
    """Have the kernel measure every BPF program's run time while the block runs.

    Closing the descriptor ends it, so a crash does too.

    Raises:
        Unsupported: The kernel cannot.
    """
    fd = lib.bpf_enable_stats(_BPF_STATS_RUN_TIME)
    if fd < 0:
        raise Unsupported("the kernel does not measure BPF programs: Linux 5.8 does, for root")
    try:
        yield
    finally:
        os.close(fd)
