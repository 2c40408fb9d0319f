"""What BPF programs cost, whoever loaded them: the kernel's own count of runs and nanoseconds."""

from __future__ import annotations

import ctypes
import os
from dataclasses import dataclass

from locality.bpf.abi import ProgramInfo, info_of
from locality.bpf.libbpf import lib
from locality.bpf.run_times import counted

__all__ = ["Runs", "counted", "programs"]


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
