"""The programs and maps of an object that libbpf has opened: their handles, which are addresses."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING

from locality.bpf.libbpf import lib

if TYPE_CHECKING:
    from collections.abc import Iterator


def programs(obj: int) -> Iterator[int]:
    """The handles of an object's programs."""
    program = lib.bpf_object__next_program(obj, None)
    while program:
        yield program
        program = lib.bpf_object__next_program(obj, program)


def maps(obj: int) -> Iterator[int]:
    """The handles of an object's maps."""
    found = lib.bpf_object__next_map(obj, None)
    while found:
        yield found
        found = lib.bpf_object__next_map(obj, found)


def initial_value(map_: int) -> ctypes.Array[ctypes.c_char]:
    """The memory of a data section's map before its object is loaded, to read and write."""
    size = ctypes.c_size_t()
    address = lib.bpf_map__initial_value(map_, ctypes.byref(size))
    return (ctypes.c_char * size.value).from_address(address)
