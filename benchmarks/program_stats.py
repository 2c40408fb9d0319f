"""What BPF programs cost, whoever loaded them: the kernel's own count of runs and nanoseconds."""

from __future__ import annotations

import ctypes
import os
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from locality.bpf.abi import ProgramInfo, info_of
from locality.bpf.libbpf import lib
from locality.errors import Unsupported

if TYPE_CHECKING:
    from collections.abc import Iterator

_BPF_STATS_RUN_TIME = 0


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
        info = info_of(fd, ProgramInfo)
        os.close(fd)
        if info is not None:
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
