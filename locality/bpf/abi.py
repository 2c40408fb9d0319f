"""What the kernel tells about a BPF program, map or link, as include/uapi/linux/bpf.h has it.

A structure that one module alone hands to the kernel or to libbpf stands in that module.
"""

from __future__ import annotations

import ctypes
from typing import TypeVar

from locality.bpf.libbpf import lib


class ProgramInfo(ctypes.Structure):
    """struct bpf_prog_info, up to the last field used.

    run_time_ns and run_cnt grow only while kernel.bpf_stats_enabled is 1; recursion_misses
    are runs the kernel skipped because the program, or for kprobes any program, was running
    on that CPU already. map_ids is where the kernel shall write the ids of nr_map_ids maps.
    """

    _fields_ = (
        ("type", ctypes.c_uint32),
        ("id", ctypes.c_uint32),
        ("until_maps", ctypes.c_uint8 * 44),
        ("nr_map_ids", ctypes.c_uint32),
        ("map_ids", ctypes.c_uint64),
        ("name", ctypes.c_char * 16),
        ("until_run_time", ctypes.c_uint8 * 112),
        ("run_time_ns", ctypes.c_uint64),
        ("run_cnt", ctypes.c_uint64),
        ("recursion_misses", ctypes.c_uint64),
    )


class MapInfo(ctypes.Structure):
    """struct bpf_map_info, up to the last field used."""

    _fields_ = (
        ("type", ctypes.c_uint32),
        ("id", ctypes.c_uint32),
        ("key_size", ctypes.c_uint32),
        ("value_size", ctypes.c_uint32),
        ("max_entries", ctypes.c_uint32),
        ("map_flags", ctypes.c_uint32),
        ("name", ctypes.c_char * 16),
    )


class _Xdp(ctypes.Structure):
    """An interface; 0 once it has gone."""

    _fields_ = (("ifindex", ctypes.c_uint32),)


class _PerfEvent(ctypes.Structure):
    """A perf event; `missed` is a kprobe's: the hits that never got to its program (Linux 6.7)."""

    _fields_ = (
        ("type", ctypes.c_uint32),
        ("until_missed", ctypes.c_uint8 * 28),
        ("missed", ctypes.c_uint64),
        ("cookie", ctypes.c_uint64),
    )


class _Target(ctypes.Union):
    _fields_ = (("xdp", _Xdp), ("perf_event", _PerfEvent))


class LinkInfo(ctypes.Structure):
    """struct bpf_link_info: the part that all links have, then what its `type` says."""

    _anonymous_ = ("target",)
    _fields_ = (
        ("type", ctypes.c_uint32),
        ("id", ctypes.c_uint32),
        ("prog_id", ctypes.c_uint32),
        ("target", _Target),
    )


LINK_TYPE_PERF_EVENT = 7
PERF_EVENT_KPROBES = (3, 4)  # at a function's entry, at its return

_Info = TypeVar("_Info", ProgramInfo, MapInfo, LinkInfo)


def info_of(fd: int, kind: type[_Info]) -> _Info | None:
    """What the kernel tells of a program, map or link of this process; None if it refuses.

    Fields that this kernel does not know stay 0.
    """
    info = kind()
    return info if _ask(fd, info) else None


def map_ids_of(program: int) -> list[int]:
    """The ids of the maps that a program of this process uses; none if the kernel refuses."""
    first = info_of(program, ProgramInfo)
    if first is None or not first.nr_map_ids:
        return []
    ids = (ctypes.c_uint32 * first.nr_map_ids)()
    info = ProgramInfo(nr_map_ids=first.nr_map_ids, map_ids=ctypes.addressof(ids))
    return list(ids) if _ask(program, info) else []


def _ask(fd: int, info: ctypes.Structure) -> bool:
    size = ctypes.c_uint32(ctypes.sizeof(info))
    return not lib.bpf_obj_get_info_by_fd(fd, ctypes.byref(info), ctypes.byref(size))
